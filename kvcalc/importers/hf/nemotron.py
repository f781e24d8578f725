"""Nemotron-4 and Minitron: grouped-query attention, a plain MLP with a squared ReLU, LayerNorms with biases."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import KV_HEADS, decoder, grouped_query, mlp

TYPES = ("nemotron",)


def read(c: Config) -> Layout:
    bias = c.flag("attention_bias")
    attention = grouped_query(c, num_key_value_heads=c.count(*KV_HEADS), qkv_bias=bias, o_bias=bias)
    block = mlp(c, gated=False, mlp_bias=c.flag("mlp_bias"))
    return decoder(c, {"full": attention}, {"mlp": block}, norm_bias=True)
