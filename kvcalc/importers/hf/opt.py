"""OPT and Galactica: multi-head attention, a plain MLP, learned positions.

`layer_norm_elementwise_affine` false: norms without weights. `do_layer_norm_before` false (OPT-350m): no final norm.
"""

from kvcalc.importers.config import Config
from kvcalc.importers.hf.gpt2 import multi_head, positions
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import decoder, hidden_size, mlp

TYPES = ("opt",)
FIRST_ROWS = 2
"""Rows of the table before that of the first position."""


def read(c: Config) -> Layout:
    bias = c.flag("enable_bias", default=True)
    affine = c.flag("layer_norm_elementwise_affine", default=True)
    final = c.flag("do_layer_norm_before", default=True) and not c.flag("_remove_final_layer_norm")
    c.ignore("layerdrop", "embed_dim", "intermediate_size")
    width = c.maybe("word_embed_proj_dim")
    tables = positions(c, more=FIRST_ROWS) | ({} if width in (None, hidden_size(c)) else {"dim": width})
    residual = {"kind": "plain", "norm_bias": affine, "no_final_norm": not (affine and final)}
    if not affine:
        residual["norms_per_layer"] = 0
    attention = multi_head(c, qkv_bias=bias, o_bias=bias)
    block = mlp(c, "ffn_dim", gated=False, mlp_bias=bias)
    return decoder(c, {"full": attention}, {"mlp": block}, tied=True, residual=residual, tables=tables)
