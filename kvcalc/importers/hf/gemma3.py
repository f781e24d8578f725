"""Gemma 3: five layers with a sliding window, then one without; norms before and after each block, and on queries and keys."""

from kvcalc.importers.config import Config, Known, number
from kvcalc.importers.hf.gemma import HEAD_DIM, both_ways, heads
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import FULL, SLIDING, decoder, every, full_and_local, full_or_local, mlp, omitted, pairs

TYPES = ("gemma3", "gemma3_text")
WINDOW, PERIOD = 4096, 6


def halved(window: Known | None) -> Known | None:
    """The window of tokens that attend both ways: half of it before the token."""
    return window and number(window // 2 + 1, f"{window.origin} / 2 + 1: use_bidirectional_attention")


def period(c: Config) -> int:
    """A full layer every so many, where `layer_types` does not list them."""
    if c.has("layer_types"):
        c.ignore("sliding_window_pattern")
        return PERIOD
    c.must("_sliding_window_pattern", PERIOD)
    return c.count("sliding_window_pattern", default=PERIOD)


def read(c: Config) -> Layout:
    omitted(c, num_attention_heads=8, num_key_value_heads=4, head_dim=HEAD_DIM, vocab_size=262_208)
    window = c.window("sliding_window", absent=WINDOW)
    window = halved(window) if both_ways(c) else window
    names = full_or_local(c, every(period(c), SLIDING, FULL))
    attention = full_and_local(c, names, window, qk_norm=True, **heads(c, 4))
    return decoder(c, attention, {"mlp": mlp(c)}, layers=pairs(names, "mlp"), tied=True, norms=4)
