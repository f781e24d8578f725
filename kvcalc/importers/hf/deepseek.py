"""DeepSeek-V2, V3 and what took their layer over (Kimi-K2): multi-head latent attention, experts after the first layers."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import decoder, dense_first, depth, experts, latent, mlp, pairs, shared_width

TYPES = ("deepseek_v2", "deepseek_v3", "kimi_k2")
V2 = ("deepseek_v2",)


def read(c: Config) -> Layout:
    c.must("moe_layer_freq", 1)
    c.must("attention_bias", False)
    c.ignore("num_nextn_predict_layers")
    router = {"kind": "linear"} if c.model_type in V2 else {"kind": "linear", "scoring_func": "sigmoid", "correction_bias": "buffer"}
    count = depth(c)
    dense = dense_first(c, count)
    blocks = {"dense": mlp(c), "moe": experts(c, shared=shared_width(c), router=router)}
    return decoder(c, {"mla": latent(c)}, blocks, layers=pairs(["mla"] * count, ["dense"] * dense + ["moe"] * (count - dense)))
