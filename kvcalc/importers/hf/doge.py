"""Doge, dense: Llama's layer with norms on queries and keys, scores by which values mask tokens, and learned scales on the stream."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import biases, decoder, grouped_query, mlp

TYPES = ("doge",)


def read(c: Config) -> Layout:
    c.must("is_moe", False)
    c.must("sliding_window", None)
    c.ignore("num_experts", "num_experts_per_tok", "keep_window_size")
    c.caveat("The mask by values leaves out tokens after the scores: all are kept and counted as read.")
    attention = grouped_query(c, qk_norm=True, value_mask=True, **biases(c))
    residual = {"kind": "plain", "stream_scales": True}
    return decoder(c, {"full": attention}, {"mlp": mlp(c, mlp_bias=c.flag("mlp_bias"))}, residual=residual)
