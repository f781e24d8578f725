"""RecurrentGemma (Griffin): a gated linear recurrence in most layers, attention to a window in the others, in the cycle of `block_types`.
`intermediate_size` is the gate's and the up projection's width together."""

from typing import Any

from kvcalc.importers.config import Config, number
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import HEADS, decoder, depth, grouped_query, hidden_size, pairs

TYPES = ("recurrent_gemma",)
LISTS = ("block_types", "_block_types")
USUAL = ["recurrent", "recurrent", "attention"]
NAMES = {"recurrent": "recurrent", "attention": "local"}


def cycle(c: Config) -> list[str]:
    """What repeats; where the config has no list, the class's default."""
    said = c.words(*LISTS, known=NAMES)
    if said is None:
        c.caveat(f"The config has no {LISTS[0]}: {', '.join(USUAL)} is the default of its class.")
    elif not said:
        raise c.refuse(LISTS[0], "is empty")
    return said or USUAL


def read(c: Config) -> Layout:
    c.ignore("layers_block_type", "layer_types", "embeddings_scale_by_sqrt_dim", "final_w_init_variance_scale", "logits_soft_cap")
    heads, words = c.count(*HEADS), cycle(c)
    names = [NAMES[words[place % len(words)]] for place in range(depth(c))]
    recurrent: dict[str, Any] = {
        "kind": "rglru",
        "lru_width": c.maybe("lru_width") or number(hidden_size(c), "hidden_size: lru_width is not in the config"),
        "conv1d_width": c.count("conv1d_width", default=4),
        "num_blocks": number(heads, "num_attention_heads"),
    }
    local = grouped_query(
        c,
        window=c.count("attention_window_size", "sliding_window", default=2048),
        qkv_bias=c.flag("attention_bias"),
        o_bias=True,
    )
    whole = c.count("intermediate_size")
    block = {"kind": "mlp", "intermediate_size": number(whole // 2, "intermediate_size / 2"), "mlp_bias": True}
    return decoder(c, {"recurrent": recurrent, "local": local}, {"mlp": block}, layers=pairs(names, "mlp"), tied=True)
