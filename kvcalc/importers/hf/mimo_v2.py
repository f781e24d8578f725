"""MiMo-V2-Flash: keys wider than values; window layers with other heads and learned sinks. Layers that draft are dense, with a window."""

from typing import Any

from kvcalc.importers.config import Config, number
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import (
    FULL,
    KV_HEADS,
    SIGMOID_ROUTER,
    SLIDING,
    blocks,
    decoder,
    depth,
    drafted,
    experts,
    grouped_query,
    layer_types,
    mlp,
    moe_after_dense,
    pairs,
    shared_width,
)

TYPES = ("mimo_v2_flash", "mimo_v2")
PERIOD = 6
"""The class's rule: the first layer and the last of every six see everything."""


def names_of(c: Config, count: int) -> list[str]:
    """Which layers slide: `hybrid_layer_pattern` has a 1 for each that does."""
    pattern = c.numbers("hybrid_layer_pattern", length=count, high=1, longer=True)
    if pattern is not None:
        c.ignore("layer_types")
        return ["local" if word else "full" for word in pattern]
    if not c.has("layer_types"):
        c.caveat("The config does not say which layers slide; as in its class, all but the first and every sixth do.")
    rule = lambda place: SLIDING if place and (place + 1) % PERIOD else FULL  # noqa: E731
    return layer_types(c, count, {FULL: "full", SLIDING: "local"}, rule)


def sliding(c: Config, **more: Any) -> dict[str, Any]:
    """A layer with a window. The config says 128 for the tokens before the current one or with it; here it counts the current one."""
    window = c.window("sliding_window_size", "sliding_window")
    if window is None:
        raise c.refuse("sliding_window", "is not in the config, and there are layers that slide")
    heads = c.maybe("swa_num_attention_heads") or c.count("num_attention_heads")
    groups = c.maybe("swa_num_key_value_heads")
    if groups is None:
        groups = number(2 * c.count(*KV_HEADS), "2 x num_key_value_heads")
        c.caveat(
            "swa_num_key_value_heads is not in the config; as in its class, layers that slide have twice the KV heads of the others."
        )
    return grouped_query(
        c,
        num_attention_heads=heads,
        num_key_value_heads=groups,
        head_dim=c.maybe("swa_head_dim") or c.count("head_dim"),
        v_head_dim=c.maybe("swa_v_head_dim") or c.count("v_head_dim"),
        window=window,
        learned_sinks=c.flag("add_swa_attention_sink_bias", default=True),
        **more,
    )


def read(c: Config) -> Layout:
    c.ignore("attention_chunk_size", "attention_value_scale", "sliding_window")
    c.must("attention_projection_layout", "fused_qkv", "split_qkv")
    count = depth(c)
    names = names_of(c, count)
    kinds = moe_after_dense(c, count, default=1)
    bias = c.flag("attention_bias")
    drafts = drafted(c, "local", "dense")
    attention = blocks(
        names + drafts.attention,
        full=lambda: grouped_query(
            c,
            num_key_value_heads=c.count(*KV_HEADS),
            head_dim=c.count("head_dim"),
            v_head_dim=c.count("v_head_dim"),
            qkv_bias=bias,
            learned_sinks=c.flag("add_full_attention_sink_bias"),
        ),
        local=lambda: sliding(c, qkv_bias=bias),
    )
    c.ignore("add_full_attention_sink_bias", "add_swa_attention_sink_bias")
    made = blocks(
        kinds + drafts.feedforward,
        dense=lambda: mlp(c),
        moe=lambda: experts(c, shared=shared_width(c), router=SIGMOID_ROUTER),
    )
    return decoder(c, attention, made, layers=pairs(names, kinds), draft=drafts)
