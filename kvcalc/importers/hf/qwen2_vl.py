"""Text models of Qwen2-VL and Qwen2.5-VL: Qwen2's layer. Released files are flat, saved ones have a section."""

from kvcalc.importers.config import Config
from kvcalc.importers.hf.qwen2 import windowed
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import decoder, mlp, omitted, or_default, pairs

TYPES = ("qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text")


def read(c: Config) -> Layout:
    omitted(c, num_attention_heads=64, num_key_value_heads=8, vocab_size=152_064)
    attention, names = windowed(c, first=80, num_key_value_heads=or_default(c, "num_key_value_heads", 8), qkv_bias=True)
    if not c.section_name:
        c.caveat("Only the text model is counted, not the vision encoder.")
    return decoder(c, attention, {"mlp": mlp(c)}, layers=pairs(names, "mlp"))
