"""K-EXAONE: three of four layers slide, norms on q and k, dense layers first, then experts."""

from kvcalc.importers.config import Config
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
    every,
    experts,
    full_and_local,
    layer_types,
    mlp,
    moe_after_dense,
    pairs,
    shared_width,
)

TYPES = ("exaone_moe",)


def read(c: Config) -> Layout:
    c.ignore("is_moe_layer", "first_last_k_dense_replace")
    count = depth(c)
    window = c.window("sliding_window")
    c.ignore("sliding_window_pattern")
    period = 1 if c.has("layer_types") else c.count("sliding_window_pattern")
    names = layer_types(c, count, {FULL: "full", SLIDING: "local"}, every(period, SLIDING, FULL))
    kinds = moe_after_dense(c, count)
    drafts = drafted(c, drafting(c, names), "dense", at_once=True)
    attention = full_and_local(c, names + drafts.attention, window, num_key_value_heads=c.count(*KV_HEADS), qk_norm=True)
    made = blocks(
        kinds + drafts.feedforward,
        dense=lambda: mlp(c),
        moe=lambda: experts(c, shared=shared_width(c, default=None), router=SIGMOID_ROUTER),
    )
    return decoder(c, attention, made, layers=pairs(names, kinds), draft=drafts)


def drafting(c: Config, names: list[str]) -> str | list[str]:
    """The attention of layers that draft: as listed; else, as in engines, that of the first layer."""
    said = c.words("mtp_layer_types", known=(FULL, SLIDING))
    return names[0] if said is None else ["full" if word == FULL else "local" for word in said]
