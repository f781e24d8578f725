"""Aria's text model: experts of `intermediate_size` (`moe_intermediate_size` in the first release), shared ones beside them."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import decoder, experts, grouped_query, shared_width

TYPES = ("aria_text", "aria_moe_lm", "aria")
OLD = "aria_moe_lm"


def read(c: Config) -> Layout:
    c.must("mlp_bias", False)
    bias = c.flag("attention_bias")
    width = ("moe_intermediate_size" if c.model_type == OLD else "intermediate_size",)
    c.ignore("intermediate_size")
    moe = experts(c, width=width, shared=shared_width(c, width, default=2))
    return decoder(c, {"full": grouped_query(c, qkv_bias=bias, o_bias=bias)}, {"moe": moe})
