"""Trinity (Arcee's AFM MoE): three of four layers slide; gates and norms in attention, four norms in a layer."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import (
    FULL,
    SLIDING,
    blocks,
    decoder,
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

TYPES = ("afmoe",)


def read(c: Config) -> Layout:
    c.ignore(
        "mup_enabled", "route_scale", "route_norm", "score_func", "load_balance_coeff", "use_grouped_mm", "num_expert_groups"
    )
    c.ignore("num_limited_groups", "global_attn_every_n_layers")
    count = depth(c)
    period = 1 if c.has("layer_types") else c.count("global_attn_every_n_layers")
    names = layer_types(c, count, {FULL: "full", SLIDING: "local"}, every(period, SLIDING, FULL))
    first = 0 if c.has("mlp_layer_types") else c.count("num_dense_layers", low=0)
    kinds = moe_layers(c, count, lambda place: place >= first)
    bias = c.flag("attention_bias")
    more = {"qkv_bias": bias, "o_bias": bias, "qk_norm": True, "output_gate": "per_element", "head_dim": c.count("head_dim")}
    attention = full_and_local(c, names, c.window("sliding_window"), **more)
    router = {"kind": "linear", "scoring_func": "sigmoid", "correction_bias": "parameter"}
    made = blocks(kinds, dense=lambda: mlp(c), moe=lambda: experts(c, shared=shared_width(c, default=None), router=router))
    return decoder(c, attention, made, layers=pairs(names, kinds), norms=4)
