"""Emu3's text model, whose vocabulary holds the image codes, too: Llama's layer."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import biases, decoder, grouped_query, mlp, omitted, or_default

TYPES = ("emu3_text_model", "emu3", "Emu3")


def read(c: Config) -> Layout:
    omitted(
        c, hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, intermediate_size=14_336, vocab_size=184_622
    )
    attention = grouped_query(c, num_key_value_heads=or_default(c, "num_key_value_heads", 8), **biases(c))
    return decoder(c, {"full": attention}, {"mlp": mlp(c, mlp_bias=c.flag("mlp_bias"))})
