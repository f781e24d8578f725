"""Phi-1, Phi-1.5 and Phi-2: attention and a plain MLP side by side behind one LayerNorm, biases everywhere, on the head too. The
first configs (`phi-msft`) have GPT-2's names."""

from kvcalc.importers.config import Config
from kvcalc.importers.hf.gpt2 import even_heads, four_times
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import decoder, grouped_query, mlp

TYPES = ("phi", "phi-msft")


def read(c: Config) -> Layout:
    normed = c.flag("qk_layernorm")
    width = even_heads(c) if normed else None
    attention = grouped_query(c, head_dim=width, qkv_bias=True, o_bias=True, qk_norm=normed, qk_norm_bias=normed)
    first = c.model_type == "phi-msft"
    c.ignore(*(("flash_attn", "flash_rotary", "fused_dense") if first else ()))
    block = four_times(c, "n_inner", mlp_bias=True) if first else mlp(c, gated=False, mlp_bias=True)
    return decoder(c, {"full": attention}, {"mlp": block}, norms=1, norm_bias=True, head_bias=True)
