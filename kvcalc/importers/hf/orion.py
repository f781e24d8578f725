"""Orion: Llama's layer with LayerNorms that have biases."""

from kvcalc.importers.config import Config
from kvcalc.importers.hf.gpt2 import even_heads
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import decoder, grouped_query, mlp

TYPES = ("orion",)


def read(c: Config) -> Layout:
    c.must("attention_bias", None, False)
    return decoder(c, {"full": grouped_query(c, head_dim=even_heads(c))}, {"mlp": mlp(c)}, norm_bias=True)
