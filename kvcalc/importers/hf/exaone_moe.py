"""K-EXAONE: three of four layers slide, norms on q and k, dense layers first, then experts."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import (
    FULL,
    SIGMOID_ROUTER,
    SLIDING,
    blocks,
    decoder,
    dense_first,
    depth,
    every,
    experts,
    full_and_local,
    layer_types,
    mlp,
    moe_layers,
    pairs,
    shared_width,
)

TYPES = ("exaone_moe",)


def read(c: Config) -> Layout:
    c.ignore("num_nextn_predict_layers", "num_mtp_layers", "is_moe_layer", "first_last_k_dense_replace")
    count = depth(c)
    window = c.window("sliding_window", absent=4096)
    if c.has("layer_types") or window is None:
        period = 1
        c.ignore("sliding_window_pattern")
    else:
        period = c.count("sliding_window_pattern", default=4)
    names = layer_types(c, count, {FULL: "full", SLIDING: "local"}, every(period, SLIDING, FULL))
    first = dense_first(c, count) if c.has("first_k_dense_replace") else 1
    kinds = moe_layers(c, count, lambda place: place >= first)
    attention = full_and_local(c, names, window, qk_norm=True)
    made = blocks(kinds, dense=lambda: mlp(c), moe=lambda: experts(c, shared=shared_width(c), router=SIGMOID_ROUTER))
    return decoder(c, attention, made, layers=pairs(names, kinds))
