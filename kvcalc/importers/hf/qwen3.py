"""Qwen3, and the text model of Qwen3-VL: Qwen2's layer with norms on queries and keys, biases only if the config says so."""

from kvcalc.importers.config import Config
from kvcalc.importers.hf.qwen2 import windowed
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import biases, decoder, mlp, omitted, or_default, pairs

TYPES = ("qwen3", "qwen3_vl", "qwen3_vl_text")


def read(c: Config) -> Layout:
    omitted(c, num_attention_heads=32, num_key_value_heads=32, head_dim=128, vocab_size=151_936)
    attention, names = windowed(
        c,
        num_key_value_heads=or_default(c, "num_key_value_heads", 32),
        head_dim=c.count("head_dim", default=128),
        qk_norm=True,
        **biases(c),
    )
    return decoder(c, attention, {"mlp": mlp(c)}, layers=pairs(names, "mlp"))
