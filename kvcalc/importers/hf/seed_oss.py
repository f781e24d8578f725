"""Seed-OSS: Llama's layer with biases on q, k and v; heads wider than hidden_size / heads."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import decoder, grouped_query, mlp, or_default

TYPES = ("seed_oss",)


def read(c: Config) -> Layout:
    attention = grouped_query(
        c,
        num_key_value_heads=or_default(c, "num_key_value_heads", 8),
        head_dim=or_default(c, "head_dim", 128),
        qkv_bias=c.flag("attention_bias", default=True, stated=True),
        o_bias=c.flag("attention_out_bias"),
    )
    return decoder(c, {"full": attention}, {"mlp": mlp(c, mlp_bias=c.flag("mlp_bias"))})
