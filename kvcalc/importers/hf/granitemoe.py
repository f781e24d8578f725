"""Granite 3 MoE: experts of `intermediate_size`, in some a dense block beside them. In the sliding variant every fourth layer, from the
first on, sees everything."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import FULL, SLIDING, decoder, depth, experts, full_and_local, layer_types, pairs

TYPES = ("granitemoe", "granitemoeshared", "granitemoe_swa")


def read(c: Config) -> Layout:
    names, window = ["full"] * depth(c), None
    if c.model_type == "granitemoe_swa":
        names = layer_types(c, depth(c), {FULL: "full", SLIDING: "local"}, lambda place: SLIDING if place % 4 else FULL)
        window = c.window("sliding_window", absent=128)
        c.ignore("layer_rope_theta")
    bias = c.flag("attention_bias")
    shared = None if c.model_type == "granitemoe" else c.count("shared_intermediate_size", default=0, low=0)
    moe = experts(c, width=("intermediate_size",), shared=shared)
    sinks = c.model_type == "granitemoe_swa"
    attention = full_and_local(c, names, window, qkv_bias=bias, o_bias=bias, learned_sinks=sinks)
    return decoder(c, attention, {"moe": moe}, layers=pairs(names, "moe"))
