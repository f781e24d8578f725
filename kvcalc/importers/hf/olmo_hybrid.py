"""Olmo Hybrid: gated delta nets, and a layer of full attention after every three, with norms over all heads of q and k."""

from typing import Any

from kvcalc.importers.config import Config, number
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import (
    FULL,
    HEADS,
    LINEAR,
    blocks,
    decoder,
    depth,
    every,
    grouped_query,
    hidden_size,
    layer_types,
    mlp,
    pairs,
)

TYPES = ("olmo_hybrid",)
PERIOD = 4
OF_SOME_LAYERS = ("num_key_heads", "num_value_heads", "key_head_dim", "value_head_dim", "conv_kernel_dim")
SIZELESS = ("allow_neg_eigval", "use_gate", "a_log_min", "a_log_max", "dt_min", "dt_max", "dt_init_floor")


def delta_net(c: Config) -> dict[str, Any]:
    """A gated delta net; what the config does not say follows from the heads of full attention."""
    heads = c.count(*HEADS)
    keys = c.maybe("linear_num_key_heads") or number(heads, "num_attention_heads: no field of its own")
    width = c.maybe("linear_key_head_dim") or number(
        int(0.75 * hidden_size(c) / keys), "0.75 x hidden_size / linear_num_key_heads: no field of its own"
    )
    return {
        "kind": "gdn",
        "linear_num_key_heads": keys,
        "linear_num_value_heads": c.maybe("linear_num_value_heads") or number(heads, "num_attention_heads: no field of its own"),
        "linear_key_head_dim": width,
        "linear_value_head_dim": c.maybe("linear_value_head_dim")
        or number(2 * width, "2 x linear_key_head_dim: no field of its own"),
        "linear_conv_kernel_dim": c.count("linear_conv_kernel_dim", default=4),
    }


def read(c: Config) -> Layout:
    c.ignore("num_key_value_heads", *(f"linear_{name}" for name in OF_SOME_LAYERS + SIZELESS))
    count, bias = depth(c), c.flag("attention_bias")
    names = layer_types(c, count, {LINEAR: "linear", FULL: "full"}, every(PERIOD, LINEAR, FULL), longer=False)
    if not c.has("layer_types"):
        c.caveat(f"The config does not list its layers; as in its class every {PERIOD}th has full attention.")
        names = names if "full" in names else [*names[:-1], "full"]
    attention = blocks(
        names,
        linear=lambda: delta_net(c),
        full=lambda: grouped_query(c, qkv_bias=bias, o_bias=bias, qk_norm=True, qk_norm_all_heads=True),
    )
    return decoder(c, attention, {"mlp": mlp(c)}, layers=pairs(names, "mlp"))
