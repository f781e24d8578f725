"""Falcon, and the first configs of it (RefinedWeb, RefinedWebModel). `num_kv_heads` counts only in the newer layer of the 40B; in the
older one `multi_query` means one KV head, whatever stands there, and otherwise there are as many as query heads."""

from kvcalc.importers.config import Config, Known, number
from kvcalc.importers.hf.gpt2 import TIMES, four_times
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import HEADS, HIDDEN, decoder, grouped_query, kv_heads

TYPES = ("falcon", "RefinedWeb", "RefinedWebModel")
NEWER = "RefinedWeb"
"""The first config of the 40B had no field for the newer layer: its model_type says it."""
POSITIONS = 2048


def groups(c: Config, heads: Known, *, newer: bool) -> Known:
    """KV heads."""
    if newer:
        c.ignore("multi_query")
        return kv_heads(c, heads)
    c.ignore("num_kv_heads", "n_head_kv")
    if c.flag("multi_query", default=c.model_type == "falcon", stated=True):
        return number(1, "multi_query")
    return number(heads, f"{heads.origin}: multi_query is false")


def read(c: Config) -> Layout:
    first = c.model_type != "falcon"
    newer = c.flag("new_decoder_architecture", default=c.model_type == NEWER)
    side_by_side = c.flag("parallel_attn", default=not first, stated=not newer) or (newer and first)
    c.ignore("alibi", "apply_residual_connection_post_layernorm")
    norms = c.maybe("num_ln_in_parallel_attn", low=1, high=2) or (2 if newer else 1)
    bias, heads, width = c.flag("bias"), c.count(*HEADS), c.count(*HIDDEN, "n_embed")
    if width % heads:
        raise c.refuse("hidden_size", f"{width:,} is no multiple of {heads:,} heads")
    c.must("head_dim", None, width // heads)
    c.must("ffn_hidden_size", None, *([TIMES * width] if first else range(1 << 20)))
    attention = grouped_query(c, num_attention_heads=heads, num_key_value_heads=groups(c, heads, newer=newer), qkv_bias=bias, o_bias=bias)
    return decoder(
        c,
        {"full": attention},
        {"mlp": four_times(c, "ffn_hidden_size", mlp_bias=bias)},
        tied=True,
        norms=norms if side_by_side else 2,
        norm_bias=True,
        context=c.count("max_position_embeddings", default=POSITIONS, high=1 << 40),
    )
