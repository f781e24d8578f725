"""StarCoder and SantaCoder: GPT-2 with one KV head for all query heads, unless `multi_query` is false."""

from kvcalc.importers.config import Config, number
from kvcalc.importers.hf.gpt2 import four_times, multi_head, positions
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import HEADS, decoder

TYPES = ("gpt_bigcode",)


def read(c: Config) -> Layout:
    c.must("add_cross_attention", False)
    c.ignore("num_key_value_heads")
    groups = number(1, "multi_query") if c.flag("multi_query", default=True, stated=True) else c.count(*HEADS)
    attention = multi_head(c, num_key_value_heads=groups, qkv_bias=True, o_bias=True)
    block = four_times(c, "n_inner", mlp_bias=True)
    return decoder(c, {"full": attention}, {"mlp": block}, tied=True, norm_bias=True, tables=positions(c))
