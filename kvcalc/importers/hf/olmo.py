"""OLMo, the first: Llama's layer with norms that have no weights."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import decoder, grouped_query, mlp

TYPES = ("olmo",)


def read(c: Config) -> Layout:
    bias = c.flag("attention_bias")
    residual = {"kind": "plain", "norms_per_layer": 0, "no_final_norm": True}
    return decoder(c, {"full": grouped_query(c, qkv_bias=bias, o_bias=bias)}, {"mlp": mlp(c)}, residual=residual)
