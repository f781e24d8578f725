"""gpt-oss: every other layer slides; biases everywhere, learned sinks; experts of `intermediate_size`."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import FULL, KV_HEADS, SLIDING, decoder, depth, every, experts, full_and_local, layer_types, pairs

TYPES = ("gpt_oss",)


def read(c: Config) -> Layout:
    bias = c.flag("attention_bias", default=True)
    names = layer_types(c, depth(c), {FULL: "full", SLIDING: "local"}, every(2, SLIDING, FULL))
    if not c.has("layer_types"):
        c.caveat("The config does not say which layers slide; as in its class, every other one does, from the first on.")
    more = {"qkv_bias": bias, "o_bias": bias, "learned_sinks": True, "default_head_dim": 64}
    attention = full_and_local(c, names, c.window("sliding_window", absent=128), num_key_value_heads=c.count(*KV_HEADS), **more)
    moe = experts(c, width=("intermediate_size",), expert_bias=True, router={"kind": "linear", "bias": True})
    return decoder(c, attention, {"moe": moe}, layers=pairs(names, "moe"))
