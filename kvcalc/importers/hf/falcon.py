"""Falcon, and the first configs of it (RefinedWeb, RefinedWebModel). `num_kv_heads` counts only in the newer layer (40B and
later); in the older one `multi_query` means one KV head, whatever stands there, and otherwise there are as many as query
heads."""

from kvcalc.importers.config import Config, Known, number
from kvcalc.importers.hf.gpt2 import four_times, multi_head
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import HEADS, decoder, kv_heads

FIRST = ("RefinedWeb", "RefinedWebModel")
TYPES = ("falcon", *FIRST)
NEWER = "RefinedWeb"
"""The first config of the 40B had no field for the newer layer: its model_type says it."""
POSITIONS = 2048


def groups(c: Config, *, newer: bool) -> Known:
    """KV heads."""
    c.ignore("num_key_value_heads")
    heads = c.count(*HEADS)
    if newer:
        c.ignore("multi_query")
        return kv_heads(c, heads, "num_kv_heads", "n_head_kv")
    c.ignore("num_kv_heads", "n_head_kv")
    if c.flag("multi_query", default=True, stated=True):
        return number(1, "multi_query")
    return number(heads, f"{heads.origin}: multi_query is false")


def read(c: Config) -> Layout:
    newer = c.flag("new_decoder_architecture", default=c.model_type == NEWER, stated=c.model_type not in FIRST)
    for name in ("multi_query", "parallel_attn"):
        if not c.has(name) and (name in c.fields or (c.model_type in FIRST and not newer)):
            raise c.refuse(name, "must be true or false")
    side_by_side = c.flag("parallel_attn", default=True, stated=not newer)
    norms = c.maybe("num_ln_in_parallel_attn", high=2) or (2 if newer else 1)
    c.ignore("alibi", "apply_residual_connection_post_layernorm")
    bias = c.flag("bias")
    attention = multi_head(c, num_key_value_heads=groups(c, newer=newer), qkv_bias=bias, o_bias=bias)
    return decoder(
        c,
        {"full": attention},
        {"mlp": four_times(c, "ffn_hidden_size", mlp_bias=bias)},
        tied=True,
        norms=norms if side_by_side else 2,
        norm_bias=True,
        context=c.count("max_position_embeddings", default=POSITIONS, high=1 << 40),
    )
