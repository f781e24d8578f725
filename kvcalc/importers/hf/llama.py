"""Llama, and what is built like it under other names: grouped-query attention in every layer, a gated MLP."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import biases, decoder, grouped_query, mlp, omitted

TYPES = ("llama",)


def read(c: Config) -> Layout:
    omitted(c, hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, intermediate_size=11_008, vocab_size=32_000)
    return decoder(c, {"full": grouped_query(c, **biases(c))}, {"mlp": mlp(c, mlp_bias=c.flag("mlp_bias"))})
