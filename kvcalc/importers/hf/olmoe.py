"""OLMoE: norms over all heads of q and k, experts of `intermediate_size`."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import decoder, experts, grouped_query

TYPES = ("olmoe",)


def read(c: Config) -> Layout:
    bias = c.flag("attention_bias")
    attention = grouped_query(c, qkv_bias=bias, o_bias=bias, qk_norm=True, qk_norm_all_heads=True)
    return decoder(c, {"full": attention}, {"moe": experts(c, width=("intermediate_size",))})
