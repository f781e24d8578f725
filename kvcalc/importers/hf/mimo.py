"""MiMo-7B: Qwen2's layer, and one more of them that drafts."""

from kvcalc.importers.config import Config
from kvcalc.importers.hf.qwen2 import windowed
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import decoder, drafted, mlp, pairs

TYPES = ("mimo",)


def read(c: Config) -> Layout:
    c.must("attention_bias", True)
    attention, names = windowed(c, qkv_bias=True)
    return decoder(c, attention, {"mlp": mlp(c)}, layers=pairs(names, "mlp"), draft=drafted(c, names[-1], "mlp"))
