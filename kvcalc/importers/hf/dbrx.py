"""DBRX: heads in `attn_config`, experts in `ffn_config`; LayerNorm without biases."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import decoder, experts, grouped_query

TYPES = ("dbrx",)


def read(c: Config) -> Layout:
    heads, ffn = c.section("attn_config"), c.section("ffn_config")
    groups = heads.count("kv_n_heads")
    c.must("num_key_value_heads", groups)
    attention = grouped_query(c, num_key_value_heads=groups)
    return decoder(c, {"full": attention}, {"moe": experts(ffn, width=("ffn_hidden_size",))})
