"""StarCoder2: grouped-query attention with a window, a plain MLP, LayerNorms; biases unless `use_bias` is false."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import KV_HEADS, decoder, grouped_query, mlp

TYPES = ("starcoder2",)


def read(c: Config) -> Layout:
    c.must("mlp_type", "default")
    c.must("norm_type", "layer_norm")
    bias, window = c.flag("use_bias", default=True, stated=True), c.window("sliding_window")
    attention = grouped_query(c, num_key_value_heads=c.count(*KV_HEADS), window=window, qkv_bias=bias, o_bias=bias)
    block = mlp(c, gated=False, mlp_bias=bias)
    return decoder(c, {"full" if window is None else "local": attention}, {"mlp": block}, tied=True, norm_bias=True)
