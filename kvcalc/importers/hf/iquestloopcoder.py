"""IQuest-Coder Loop: Llama's layers, run twice. The second pass sees the first one's keys and values, and a window of its own."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layer, Layout
from kvcalc.importers.pieces import KV_HEADS, decoder, depth, grouped_query, mlp

TYPES = ("iquestloopcoder",)
PASSES = 2


def read(c: Config) -> Layout:
    c.must("attention_bias", False)
    c.must("mlp_bias", False)
    if c.count("loop_num") != PASSES:
        raise c.refuse("loop_num", f"{c.count('loop_num'):,} passes: only {PASSES} are known, also to the reference")
    window = c.count("loop_window_size", high=1 << 40)
    full = grouped_query(c, num_key_value_heads=c.count(*KV_HEADS))
    attention = {"full": full, "loop": {**full, "kind": "loop_gqa", "loop_window_size": window}}
    count = depth(c)
    layers = [Layer("full", "mlp")] * count + [Layer("loop", "mlp", again=place) for place in range(count)]
    c.caveat("The layers run twice: weights are stored once, and read and multiplied in each pass.")
    return decoder(c, attention, {"mlp": mlp(c)}, layers=layers)
