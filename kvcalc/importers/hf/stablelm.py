"""StableLM: Llama's layer with LayerNorms. `use_parallel_residual`: one norm before attention and MLP; `qk_layernorm`: a norm for
each head of queries and keys, without biases."""

from kvcalc.importers.config import Config
from kvcalc.importers.hf.gpt2 import even_heads
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import KV_HEADS, decoder, grouped_query, mlp

TYPES = ("stablelm", "stablelm_epoch")


def read(c: Config) -> Layout:
    normed = c.flag("qk_layernorm")
    attention = grouped_query(
        c,
        num_key_value_heads=c.count(*KV_HEADS),
        head_dim=even_heads(c),
        qkv_bias=c.flag("use_qkv_bias"),
        qk_norm=normed,
        qk_norm_all_heads=normed,
    )
    norms = 1 if c.flag("use_parallel_residual") else 2
    return decoder(c, {"full": attention}, {"mlp": mlp(c)}, norms=norms, norm_bias=True)
