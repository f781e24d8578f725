"""XVERSE and the first Yi: Llama's layer under other names."""

from kvcalc.importers.config import Config
from kvcalc.importers.hf.gpt2 import even_heads
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import decoder, grouped_query, mlp

TYPES = ("xverse", "Yi")


def read(c: Config) -> Layout:
    c.must("attention_bias", None, False)
    c.must("mlp_bias", None, False)
    c.ignore("max_tokenizer_truncation")
    return decoder(c, {"full": grouped_query(c, head_dim=even_heads(c))}, {"mlp": mlp(c)})
