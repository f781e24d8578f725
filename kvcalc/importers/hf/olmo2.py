"""OLMo 2, OLMo 3 and FlexOlmo: norms after the blocks, and on all queries and all keys together. OLMo 3 has a window in three of
four layers; FlexOlmo has experts."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import (
    FULL,
    SLIDING,
    biases,
    decoder,
    depth,
    every,
    experts,
    full_and_local,
    full_or_local,
    mlp,
    pairs,
)

TYPES = ("olmo2", "olmo3", "flex_olmo")


def read(c: Config) -> Layout:
    slides = c.model_type == "olmo3"
    names = full_or_local(c, every(4, SLIDING, FULL)) if slides else ["full"] * depth(c)
    window = c.window("sliding_window", absent=4096) if slides else None
    attention = full_and_local(c, names, window, qk_norm=True, qk_norm_all_heads=True, **biases(c))
    block = experts(c, width=("intermediate_size",)) if c.model_type == "flex_olmo" else mlp(c)
    return decoder(c, attention, {"ffn": block}, layers=pairs(names, "ffn"))
