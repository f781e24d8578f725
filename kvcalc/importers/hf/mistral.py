"""Mistral: Llama's layer, with a sliding window in every layer where the config has one. No field at all means a window of 4,096."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import decoder, grouped_query, mlp

TYPES = ("mistral",)


def read(c: Config) -> Layout:
    window = c.window("sliding_window", absent=4096)
    return decoder(c, {"full" if window is None else "local": grouped_query(c, window=window)}, {"mlp": mlp(c)})
