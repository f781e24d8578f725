"""ERNIE 4.5 MoE: dense layers first, then experts with shared ones; a correction bias that is a parameter."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import (
    KV_HEADS,
    SHARED,
    blocks,
    decoder,
    depth,
    drafted,
    experts,
    grouped_query,
    mlp,
    moe_layers,
    pairs,
    shared_width,
)

TYPES = ("ernie4_5_moe",)
NO_END = -1


def sparse(c: Config, count: int) -> list[str]:
    """Layers from `moe_layer_start_index` to `moe_layer_end_index` whose number, from 1, is a multiple of `moe_layer_interval`."""
    first = c.count("moe_layer_start_index", default=1, low=0)
    last = c.maybe("moe_layer_end_index", low=NO_END)
    step = c.maybe("moe_layer_interval") or 1
    end = count - 1 if last is None or last == NO_END else last
    return moe_layers(c, count, lambda place: first <= place <= end and (place + 1) % step == 0)


def read(c: Config) -> Layout:
    c.ignore(
        "moe_norm_min",
        "moe_capacity",
        "moe_use_aux_free",
        "moe_gate",
        "moe_group",
        "moe_layer_end_index",
    )
    count = depth(c)
    kinds = sparse(c, count)
    bias = c.flag("use_bias")
    if bias and "moe" in kinds and c.maybe(*SHARED, low=0) != 0:
        raise c.refuse("use_bias", "biases on shared experts are not understood")
    router = {"kind": "linear", "correction_bias": "parameter"}
    drafts = drafted(c, "full", "dense", norms=2)
    made = blocks(
        kinds + drafts.feedforward,
        dense=lambda: mlp(c, mlp_bias=bias),
        moe=lambda: experts(c, shared=shared_width(c, default=2), router=router),
    )
    attention = grouped_query(c, num_key_value_heads=c.count(*KV_HEADS), qkv_bias=bias, o_bias=bias)
    layers = pairs(["full"] * count, kinds)
    return decoder(c, {"full": attention}, made, layers=layers, tied=True, head_bias=bias, draft=drafts)
