"""ZAYA1: compressed convolutional attention and experts behind a small network in every layer."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import CHOSEN, EXPERTS, HEADS, decoder, depth, layer_types, pairs

TYPES = ("zaya",)


def read(c: Config) -> Layout:
    c.must("attention_bias", False)
    c.must("lm_head_bias", False)
    count = depth(c)
    names = layer_types(c, count, {"hybrid": "global", "hybrid_sliding": "local"})
    cca = {
        "kind": "cca",
        "num_attention_heads": c.count(*HEADS),
        "num_key_value_heads": c.count("num_key_value_heads"),
        "head_dim": c.count("head_dim"),
        "cca_time0": c.count("cca_time0"),
        "cca_time1": c.count("cca_time1"),
    }
    attention = {"global": cca}
    if "local" in names:
        attention["local"] = {**cca, "window": c.count("sliding_window")}
    router = {"kind": "mlp", "router_hidden_size": c.count("router_hidden_size"), "skip_expert": True}
    moe = {
        "kind": "moe",
        "num_experts": c.count(*EXPERTS),
        "num_experts_per_tok": c.count(*CHOSEN),
        "moe_intermediate_size": c.count("moe_intermediate_size"),
    }
    blocks = {"first": {**moe, "router": router}, "moe": {**moe, "router": {**router, "states_scale": True}}}
    c.caveat("A token may skip all experts, so weight traffic and active parameters are upper figures.")
    layers = pairs(names, ["first"] + ["moe"] * (count - 1))
    return decoder(c, attention, blocks, layers=layers, tied=True, residual={"kind": "scaled"})
