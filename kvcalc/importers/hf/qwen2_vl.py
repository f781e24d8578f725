"""Text models of Qwen2-VL, Qwen2.5-VL and Qwen2.5-Omni (its thinker): Qwen2's layer. Released files of the first two are flat, saved
ones have a section."""

from kvcalc.importers.config import Config
from kvcalc.importers.hf.qwen2 import windowed
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import decoder, mlp, omitted, or_default, pairs, tied_outside

OMNI = "qwen2_5_omni_text"
TYPES = ("qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text", OMNI)


def read(c: Config) -> Layout:
    omni = c.model_type == OMNI
    heads, groups, first = (28, 4, 28) if omni else (64, 8, 80)
    omitted(c, num_attention_heads=heads, num_key_value_heads=groups, vocab_size=152_064)
    if omni:
        tied_outside(c)
    attention, names = windowed(c, first=first, num_key_value_heads=or_default(c, "num_key_value_heads", groups), qkv_bias=True)
    if not c.section_name:
        c.caveat("Only the text model is counted, not the vision encoder.")
    return decoder(c, attention, {"mlp": mlp(c)}, layers=pairs(names, "mlp"))
