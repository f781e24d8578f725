"""HY-V4: GLM-5.2's attention with shared indexers, a gate on its output and learned sinks; hyper-connections that mix no streams."""

from kvcalc.importers.config import Config
from kvcalc.importers.hf.glm_moe_dsa import OWN, SPARSE, TAKEN, choices, dense_first, v3_blocks, with_indexer
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import decoder, depth, drafted, layer_types, pairs, residual

TYPES = ("hy_v4",)
GATES = {"elementwise": "per_element", "headwise": "per_head"}
DENSE_FIRST, PERIOD = 1, 4
KINDS = SPARSE | dict.fromkeys(("sparse_attention", "sparse"), "sparse")
WEIGHTS = {"mhc": "fp32"}
"""What the release keeps in 32 bits whatever its dtype."""


def read(c: Config) -> Layout:
    for name in ("enable_ihc", "gated_mla", "learnable_sink", "use_mla", "use_dsa"):
        c.must(name, True)
    c.ignore("enable_lm_head_fp32", "bitwise_backward_align", "hc_magnitude", "mtp_loss_factor")
    count = depth(c)
    layer_types(c, count, KINDS, lambda _: "indexed_attention")
    names = c.words("indexer_types", known=(OWN, TAKEN), length=count, longer=True)
    if names is None:
        c.caveat(
            f"The config does not say which layers have an indexer; as in its class, the first two and every {PERIOD}th after."
        )
        names = [OWN if place == 0 or (place - 1) % PERIOD == 0 else TAKEN for place in range(count)]
    if names[0] != OWN:
        raise c.refuse("indexer_types", "the first layer has no indexer, and there is none before it")
    kinds = dense_first(c, count, DENSE_FIRST)
    gate = GATES[c.text("gating_type", known=GATES, default="elementwise") or "elementwise"]
    part = with_indexer(c, output_gate=gate, learned_sinks=True)
    streams = {"kind": "ihc", "hc_mult": c.count("hc_mult")}
    layers, drafts = pairs(names, kinds), drafted(c, OWN, kinds[-1], residual=residual(2))
    return decoder(c, choices(names, part), v3_blocks(c, kinds), layers=layers, residual=streams, weights=WEIGHTS, draft=drafts)
