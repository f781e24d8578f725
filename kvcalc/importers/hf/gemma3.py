"""Gemma 3: five layers with a sliding window, then one without; norms before and after each block, and on queries and keys."""

from kvcalc.importers.config import Config, Known, number
from kvcalc.importers.hf.gemma import HEAD_DIM, both_ways, heads
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import FULL, SLIDING, decoder, every, full_and_local, mlp, omitted, pairs

TYPES = ("gemma3", "gemma3_text")
WINDOW, PERIOD = 4096, 6


def halved(c: Config, window: Known | None) -> Known | None:
    """The window of tokens that attend both ways: half of it on each side."""
    return window and number(window // 2 + 1, f"{window.origin} / 2 + 1 (use_bidirectional_attention)")


def read(c: Config) -> Layout:
    omitted(c, num_attention_heads=8, num_key_value_heads=4, head_dim=HEAD_DIM, vocab_size=262_208)
    period = c.count("sliding_window_pattern", default=PERIOD) if "layer_types" not in c.fields else None
    c.ignore("sliding_window_pattern")
    window = c.window("sliding_window", absent=WINDOW)
    attention, names = full_and_local(
        c,
        every(period, SLIDING, FULL) if period else None,
        window=halved(c, window) if both_ways(c) else window,
        qk_norm=True,
        **heads(c, 4),
    )
    return decoder(c, attention, {"mlp": mlp(c)}, layers=pairs(names, "mlp"), tied=True, norms=4)
