"""Gemma 2: every other layer has a sliding window, the first one too, and norms stand before and after each block. VaultGemma has
the norms before the blocks alone."""

from kvcalc.importers.config import Config
from kvcalc.importers.hf.gemma import both_ways, heads
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import FULL, SLIDING, decoder, every, full_and_local, full_or_local, mlp, pairs

TYPES = ("gemma2", "vaultgemma")
WINDOW = 4096


def read(c: Config) -> Layout:
    both_ways(c)
    c.ignore("sliding_window_size")
    names = full_or_local(c, every(2, SLIDING, FULL))
    attention = full_and_local(c, names, c.window("sliding_window", absent=WINDOW), **heads(c, 4))
    norms = 2 if c.model_type == "vaultgemma" else 4
    return decoder(c, attention, {"mlp": mlp(c)}, layers=pairs(names, "mlp"), tied=True, norms=norms)
