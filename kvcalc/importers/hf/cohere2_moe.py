"""Cohere's MoE: attention and block side by side under one norm, three of four layers slide, experts of `intermediate_size`."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import (
    FULL,
    MAX_LAYERS,
    SLIDING,
    blocks,
    decoder,
    depth,
    experts,
    full_and_local,
    layer_types,
    mlp,
    moe_layers,
    pairs,
    shared_width,
)

TYPES = ("cohere2_moe",)
WIDTH = ("intermediate_size",)


def read(c: Config) -> Layout:
    c.ignore("expert_selection_fn", "shared_expert_combination_strategy", "use_parallel_block", "use_gated_activation")
    count = depth(c)
    first = c.count("first_k_dense_replace", default=0 if c.has("mlp_layer_types") else None, low=0, high=MAX_LAYERS)
    names = slides(c, count, first)
    kinds = moe_layers(c, count, lambda place: place >= first)
    bias = c.flag("attention_bias")
    attention = full_and_local(c, names, c.window("sliding_window"), qkv_bias=bias, o_bias=bias, head_dim=c.count("head_dim"))
    c.ignore("prefix_dense_intermediate_size", "prefix_dense_sliding_window_pattern", "sliding_window_pattern")
    made = blocks(
        kinds,
        dense=lambda: mlp(c, "prefix_dense_intermediate_size"),
        moe=lambda: experts(c, width=WIDTH, shared=shared_width(c, WIDTH, default=None)),
    )
    return decoder(c, attention, made, layers=pairs(names, kinds), norms=1, tied=True)


def slides(c: Config, count: int, first: int) -> list[str]:
    """The list; or by a period, which begins anew after the dense layers, that have one of their own."""
    before = after = 1
    if not c.has("layer_types"):
        before = c.count("prefix_dense_sliding_window_pattern", default=1) if first else 1
        after = c.count("sliding_window_pattern")

    def rule(place: int) -> str:
        step, number = (before, place + 1) if place < first else (after, place - first + 1)
        return SLIDING if number % step else FULL

    return layer_types(c, count, {FULL: "full", SLIDING: "local"}, rule)
