"""Jais 2: grouped-query attention, a plain MLP with a squared ReLU, LayerNorms; biases unless they are switched off."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import decoder, grouped_query, mlp

TYPES = ("jais2",)


def read(c: Config) -> Layout:
    bias = c.flag("attention_bias", default=True, stated=True)
    block = mlp(c, gated=False, mlp_bias=c.flag("mlp_bias", default=True, stated=True))
    return decoder(c, {"full": grouped_query(c, qkv_bias=bias, o_bias=bias)}, {"mlp": block}, norm_bias=True)
