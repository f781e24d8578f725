"""Llama, and what is built like it under other names: grouped-query attention in every layer, a gated MLP."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import decoder, grouped_query, mlp

TYPES = ("llama",)


def read(c: Config) -> Layout:
    bias = c.flag("attention_bias")
    attention = grouped_query(c, qkv_bias=bias, o_bias=bias)
    return decoder(c, {"full": attention}, {"mlp": mlp(c, mlp_bias=c.flag("mlp_bias"))})
