"""XGLM and BioGPT: multi-head attention and a plain MLP, biases everywhere. BioGPT has a table of learned positions; XGLM's are
calculated."""

from kvcalc.importers.config import Config
from kvcalc.importers.hf.gpt2 import multi_head, positions
from kvcalc.importers.hf.opt import FIRST_ROWS
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import decoder, mlp

TYPES = ("xglm", "biogpt")


def read(c: Config) -> Layout:
    c.must("add_cross_attention", False)
    c.ignore("layerdrop")
    attention = multi_head(c, qkv_bias=True, o_bias=True)
    if c.model_type == "biogpt":
        width, tables = "intermediate_size", positions(c, more=FIRST_ROWS)
    else:
        width, tables = "ffn_dim", {}
    block = mlp(c, width, gated=False, mlp_bias=True)
    return decoder(c, {"full": attention}, {"mlp": block}, tied=True, norm_bias=True, tables=tables)
