"""EXAONE 3.0 and 3.5: Llama's layer under other names."""

from kvcalc.importers.config import Config
from kvcalc.importers.hf.gpt2 import even_heads
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import decoder, grouped_query, mlp

TYPES = ("exaone",)


def read(c: Config) -> Layout:
    bias = c.flag("attention_bias", "bias")
    attention = grouped_query(c, head_dim=even_heads(c), qkv_bias=bias, o_bias=bias)
    return decoder(c, {"full": attention}, {"mlp": mlp(c, mlp_bias=c.flag("mlp_bias"))}, tied=True)
