"""MiMo-7B: Qwen2's layer. The draft layer is not counted: a plain decode does not run it."""

from kvcalc.importers.config import Config
from kvcalc.importers.hf.qwen2 import windowed
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import decoder, mlp, pairs

TYPES = ("mimo",)


def read(c: Config) -> Layout:
    c.must("attention_bias", True)
    c.ignore("num_nextn_predict_layers")
    attention, names = windowed(c, qkv_bias=True)
    return decoder(c, attention, {"mlp": mlp(c)}, layers=pairs(names, "mlp"))
