"""Aria's text model: experts of `intermediate_size`, shared ones beside them."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import decoder, experts, grouped_query, shared_width

TYPES = ("aria_text", "aria_moe_lm", "aria")
WIDTH = ("intermediate_size",)


def read(c: Config) -> Layout:
    c.must("mlp_bias", False)
    bias = c.flag("attention_bias")
    moe = experts(c, width=WIDTH, shared=shared_width(c, WIDTH, default=2))
    return decoder(c, {"full": grouped_query(c, qkv_bias=bias, o_bias=bias)}, {"moe": moe})
