"""HRM-Text: two stacks of layers, L and H, run in cycles: L `L_cycles` times, then H once, and all of it `H_cycles` times. Each run
of a stack keeps keys and values of its own. No norm has weights."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layer, Layout
from kvcalc.importers.pieces import HEADS, decoder, grouped_query, mlp

TYPES = ("hrm_text",)
MOST = 64


def read(c: Config) -> Layout:
    c.must("attention_bias", False)
    c.ignore("L_bp_cycles", "embedding_scale", "prefix_lm")
    high, low = c.count("H_cycles", high=MOST), c.count("L_cycles", high=MOST)
    said, each = c.count("num_hidden_layers", high=1 << 14), c.maybe("num_layers_per_stack", high=1 << 10)
    count = said if each is None else each
    if each is None:
        c.caveat(
            "The config has no num_layers_per_stack; num_hidden_layers is taken as the layers of one stack, as in its class."
        )
    if each is not None and said not in (each, each * high * (low + 1)):
        raise c.refuse("num_hidden_layers", f"{said:,} is neither num_layers_per_stack nor all passes through both stacks")
    stacks = {"L": range(count), "H": range(count, 2 * count)}
    seen: set[str] = set()
    layers: list[Layer] = []
    for name in (["L"] * low + ["H"]) * high:
        layers += [Layer("full", "mlp", again=place if name in seen else None) for place in stacks[name]]
        seen.add(name)
    heads = c.count(*HEADS)
    c.must("num_key_value_heads", None, heads)
    c.caveat(f"{low * high:,} runs of one stack and {high:,} of the other: weights are stored once, each run has its own cache.")
    c.caveat("Norms have no weights; the vector that is counted as the final norm is the first state of the L stack.")
    attention = grouped_query(c, num_key_value_heads=heads, default_head_dim=128, output_gate="per_element")
    return decoder(
        c,
        {"full": attention},
        {"mlp": mlp(c, mlp_bias=c.flag("mlp_bias"))},
        layers=layers,
        norms=0,
        depth="num_layers_per_stack x 2",
    )
