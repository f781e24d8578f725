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
    c.ignore("num_nextn_predict_layers", "num_mtp_layers", "is_moe_layer", "first_last_k_dense_replace")
    count = depth(c)
    window = c.window("sliding_window")
    c.ignore("sliding_window_pattern")
    period = 1 if c.has("layer_types") else c.count("sliding_window_pattern")
    names = layer_types(c, count, {FULL: "full", SLIDING: "local"}, every(period, SLIDING, FULL))
    kinds = moe_after_dense(c, count)
    attention = full_and_local(c, names, window, num_key_value_heads=c.count(*KV_HEADS), qk_norm=True)
    made = blocks(
        kinds, dense=lambda: mlp(c), moe=lambda: experts(c, shared=shared_width(c, default=None), router=SIGMOID_ROUTER)
    )
    return decoder(c, attention, made, layers=pairs(names, kinds))
