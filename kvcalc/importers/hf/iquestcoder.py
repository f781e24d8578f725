"""IQuest-Coder without loops: Llama's layer."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import biases, decoder, grouped_query, mlp, or_default

TYPES = ("iquestcoder",)


def read(c: Config) -> Layout:
    c.must("clip_qkv")
    c.must("use_sliding_window", False)
    c.ignore("sliding_window", "max_window_layers")
    groups, width = or_default(c, "num_key_value_heads", 8), or_default(c, "head_dim", 128)
    attention = grouped_query(c, num_key_value_heads=groups, head_dim=width, **biases(c))
    return decoder(c, {"full": attention}, {"mlp": mlp(c, mlp_bias=c.flag("mlp_bias"))})
