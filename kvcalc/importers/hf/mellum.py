"""Mellum 2 and Kolibri: experts in every layer, norms on queries and keys, windows in some layers. Kolibri adds norms after the
blocks and a shared expert."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import (
    FULL,
    SIGMOID_ROUTER,
    SLIDING,
    biases,
    blocks,
    decoder,
    every,
    experts,
    full_and_local,
    full_or_local,
    mlp,
    moe_layers,
    pairs,
)

TYPES = ("mellum", "kolibri1")


def read(c: Config) -> Layout:
    kolibri = c.model_type == "kolibri1"
    names = full_or_local(c, every(5, SLIDING, FULL) if kolibri else lambda _: FULL)
    attention = full_and_local(
        c,
        names,
        c.window("sliding_window", absent=513 if kolibri else 1_024),
        num_key_value_heads=c.count("num_key_value_heads", default=4),
        head_dim=c.count("head_dim", default=128),
        qk_norm=True,
        **({} if kolibri else biases(c)),
    )
    if kolibri:
        moe = experts(c, shared=c.count("shared_expert_intermediate_size", default=512, low=0), router=SIGMOID_ROUTER)
        return decoder(c, attention, {"moe": moe}, layers=pairs(names, "moe"), norms=4)
    c.ignore("num_nextn_predict_layers", "num_mtp_layers", "mtp_layer_types", "mtp_mlp_layer_types")
    kinds = moe_layers(c, len(names), lambda _: True)
    made = blocks(kinds, dense=lambda: mlp(c), moe=lambda: experts(c))
    return decoder(c, attention, made, layers=pairs(names, kinds))
