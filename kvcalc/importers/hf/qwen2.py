"""Qwen2 and Qwen2.5: Llama's layer with biases on q, k and v. A window counts only where `use_sliding_window` says so, from layer
`max_window_layers` on."""

from typing import Any

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import FULL, SLIDING, decoder, full_and_local, full_or_local, mlp, omitted, or_default, pairs

TYPES = ("qwen2",)
WINDOW = 4096


def windowed(c: Config, *, first: int = 28, **more: Any) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Attention, and its name in each layer: `full` and `local`. `first`: the class's first layer that slides, if any do."""
    said = c.maybe("max_window_layers", low=0)
    window = c.window("sliding_window", absent=WINDOW) if c.flag("use_sliding_window") else None
    if window is None:
        c.ignore("sliding_window")
        names = ["full"] * len(full_or_local(c, lambda _: FULL))  # what a list says of them does not matter then
    else:
        start = c.count("max_window_layers", default=first) if said is None else said
        names = full_or_local(c, lambda place: SLIDING if place >= start else FULL)
    return full_and_local(c, names, window, **more), names


def read(c: Config) -> Layout:
    omitted(c, num_attention_heads=32, num_key_value_heads=32, vocab_size=151_936)
    attention, names = windowed(c, num_key_value_heads=or_default(c, "num_key_value_heads", 32), qkv_bias=True)
    return decoder(c, attention, {"mlp": mlp(c)}, layers=pairs(names, "mlp"))
