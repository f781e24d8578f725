"""EXAONE 4: norms after the blocks, and on queries and keys. The large one has a window in three of four layers ("LLLG"), the
small one none."""

from kvcalc.importers.config import Config, shown
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import FULL, SLIDING, decoder, depth, every, full_and_local, full_or_local, mlp, omitted, pairs

TYPES = ("exaone4",)
LETTERS = {"L": SLIDING, "G": FULL}
WINDOW, PERIOD = 4096, 4


def read(c: Config) -> Layout:
    omitted(c, num_attention_heads=32, num_key_value_heads=32)
    window = c.window("sliding_window", absent=WINDOW)
    if window is None and not c.has("layer_types"):
        c.ignore("sliding_window_pattern")
        names = ["full"] * depth(c)
    else:
        names = slides(c)
    groups = c.count("num_key_value_heads", default=32)
    attention = full_and_local(c, names, window, num_key_value_heads=groups, qk_norm=True)
    return decoder(c, attention, {"mlp": mlp(c)}, layers=pairs(names, "mlp"))


def slides(c: Config) -> list[str]:
    """Which layers slide: a list, or a pattern that is a period or a word of L and G, of which the last layer is always G."""
    if c.has("layer_types"):
        c.ignore("sliding_window_pattern")
        return full_or_local(c, every(PERIOD, SLIDING, FULL))
    if not isinstance(c.fields.get("sliding_window_pattern"), str):
        return full_or_local(c, every(c.count("sliding_window_pattern", default=PERIOD), SLIDING, FULL))
    word, last = c.text("sliding_window_pattern") or "", depth(c) - 1
    if not word or set(word) - set(LETTERS):
        raise c.refuse("sliding_window_pattern", f"{shown(word)} is not a word of L and G")
    return full_or_local(c, lambda place: FULL if place == last else LETTERS[word[place % len(word)]])
