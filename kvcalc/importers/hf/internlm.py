"""InternLM 1 to 3: Llama's layer. `bias` is that of all four projections of attention; in InternLM3 of the MLP too, and
`qkv_bias` must say the same."""

from kvcalc.importers.config import Config
from kvcalc.importers.hf.gpt2 import even_heads, multi_head
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import KV_HEADS, decoder, grouped_query, mlp

TYPES = ("internlm", "internlm2", "internlm3")


def read(c: Config) -> Layout:
    if c.model_type == "internlm3":
        return _third(c)
    bias = c.flag("bias", default=True, stated=True)
    if c.model_type == "internlm":
        attention = multi_head(c, qkv_bias=bias, o_bias=bias)
    else:
        attention = grouped_query(c, head_dim=even_heads(c), qkv_bias=bias, o_bias=bias)
    return decoder(c, {"full": attention}, {"mlp": mlp(c)})


def _third(c: Config) -> Layout:
    qkv, bias = c.flag("attention_bias", "qkv_bias"), c.flag("mlp_bias", "bias")
    if qkv != bias:
        raise c.refuse("qkv_bias", "differs from bias: which projections have one is not known")
    width = None if "head_dim" in c.fields else 128
    attention = grouped_query(c, num_key_value_heads=c.count(*KV_HEADS), default_head_dim=width, qkv_bias=bias, o_bias=bias)
    return decoder(c, {"full": attention}, {"mlp": mlp(c, mlp_bias=bias)})
