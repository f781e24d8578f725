"""Mixtral: Mistral's layer with routed experts, whose width is `intermediate_size`. Phi-3.5-MoE: the same with LayerNorm and biases."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import KV_HEADS, decoder, experts, grouped_query

TYPES = ("mixtral", "phimoe")


def read(c: Config) -> Layout:
    phi = c.model_type == "phimoe"
    window, bias = c.window("sliding_window"), phi and c.flag("attention_bias")
    attention = grouped_query(c, num_key_value_heads=c.count(*KV_HEADS), window=window, qkv_bias=bias, o_bias=bias)
    return decoder(
        c,
        {"full" if window is None else "local": attention},
        {"moe": experts(c, width=("intermediate_size",))},
        norm_bias=phi,
        head_bias=phi and c.flag("lm_head_bias"),
    )
