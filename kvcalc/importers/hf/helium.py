"""Helium, ERNIE 4.5 (dense) and Hunyuan (dense): Llama's layer. Helium's output projection never has a bias, ERNIE's `use_bias`
is on every matrix, Hunyuan has norms on queries and keys."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import biases, decoder, grouped_query, hidden_size, mlp, or_default

TYPES = ("helium", "ernie4_5", "hunyuan_v1_dense")


def read(c: Config) -> Layout:
    return {"helium": helium, "ernie4_5": ernie, "hunyuan_v1_dense": hunyuan}[c.model_type](c)


def helium(c: Config) -> Layout:
    groups, width = c.count("num_key_value_heads", default=20), c.count("head_dim", default=128)
    attention = grouped_query(c, num_key_value_heads=groups, head_dim=width, qkv_bias=c.flag("attention_bias"))
    if width * attention["num_attention_heads"] != hidden_size(c):
        raise c.refuse("head_dim", f"{width:,} x num_attention_heads is not hidden_size, which its output projection needs")
    return decoder(c, {"full": attention}, {"mlp": mlp(c, mlp_bias=c.flag("mlp_bias"))})


def ernie(c: Config) -> Layout:
    groups, width = or_default(c, "num_key_value_heads", 2), or_default(c, "head_dim", 128)
    attention = grouped_query(c, num_key_value_heads=groups, head_dim=width, **biases(c, "use_bias"))
    return decoder(c, {"full": attention}, {"mlp": mlp(c, mlp_bias=c.flag("use_bias"))}, tied=True)


def hunyuan(c: Config) -> Layout:
    c.must("mlp_bias", False)
    c.must("use_cla", False)
    c.must("use_qk_norm", True)
    c.must("norm_type", "rms")
    c.ignore("cla_share_factor", "dense_list", "org_vocab_size", "class_num", "enable_lm_head_fp32", "use_rotary_pos_emb")
    return decoder(c, {"full": grouped_query(c, qk_norm=True, **biases(c))}, {"mlp": mlp(c)})
