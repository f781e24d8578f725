"""MiniMax-Text-01 and MiniMax-M1: Lightning attention, full attention in the layers that `attn_type_list` marks with 1, and routed
experts in all."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import (
    FULL,
    HEADS,
    KV_HEADS,
    LINEAR,
    blocks,
    decoder,
    depth,
    experts,
    grouped_query,
    head_dim,
    layer_types,
    pairs,
)

TYPES = ("minimax", "minimax_text_01", "minimax_m1")


def attention_names(c: Config, count: int) -> list[str]:
    """`lightning` or `full` for each layer."""
    listed = c.numbers("attn_type_list", length=count, high=1)
    if listed is None:
        return layer_types(c, count, {LINEAR: "lightning", FULL: "full"}, longer=False)
    names = ["full" if kind else "lightning" for kind in listed]
    if c.has("layer_types") and layer_types(c, count, {LINEAR: "lightning", FULL: "full"}) != names:
        raise c.refuse("layer_types", "says other layers than attn_type_list")
    return names


def read(c: Config) -> Layout:
    c.must("shared_intermediate_size", 0)
    if c.window("sliding_window") is not None:
        raise c.refuse("sliding_window", "is not understood: the full layers of MiniMax see every token")
    c.ignore(
        "block_size", "postnorm", "shared_moe_mode", "rotary_dim", *(name for name in c.fields if name.startswith("layernorm_"))
    )
    c.ignore(*(f"{part}_{factor}_factor" for part in ("full_attn", "linear_attn", "mlp") for factor in ("alpha", "beta")))
    c.ignore("num_key_value_heads")
    names = attention_names(c, depth(c))
    heads = c.count(*HEADS)
    width = head_dim(c, heads)
    attention = blocks(
        names,
        lightning=lambda: {"kind": "lightning", "num_attention_heads": heads, "head_dim": width},
        full=lambda: grouped_query(c, num_key_value_heads=c.count(*KV_HEADS)),
    )
    moe = experts(c, width=("intermediate_size",))
    return decoder(c, attention, {"moe": moe}, layers=pairs(names, "moe"))
