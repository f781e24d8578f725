"""Ministral: Mistral's layer, of which `layer_types` says who slides; without the list all do where there is a window, and
Ministral has one by default."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import FULL, SLIDING, decoder, full_and_local, full_or_local, mlp, omitted, pairs

TYPES = ("ministral", "ministral3")
WINDOW = 4096


def read(c: Config) -> Layout:
    omitted(c, num_attention_heads=32, num_key_value_heads=8)
    wide = None
    if c.model_type == "ministral3":
        wide = c.count("head_dim", default=128)
    window = c.window("sliding_window", absent=WINDOW if wide is None else None)
    names = full_or_local(c, lambda _: FULL if window is None else SLIDING)
    groups = c.count("num_key_value_heads", default=8)
    attention = full_and_local(c, names, window, num_key_value_heads=groups, head_dim=wide)
    return decoder(c, attention, {"mlp": mlp(c)}, layers=pairs(names, "mlp"))
