"""Qwen2 and Qwen2.5: Llama's layer with biases on q, k and v. A window counts only where `use_sliding_window` says so, from layer
`max_window_layers` on."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import FULL, SLIDING, decoder, depth, grouped_query, layer_types, mlp, pairs

TYPES = ("qwen2",)


def windowed(c: Config) -> list[str]:
    """Which layers slide, in the words of the spec: `full` and `local`."""
    first = c.maybe("max_window_layers", low=0)
    if not c.flag("use_sliding_window") or c.window("sliding_window", absent=4096) is None:
        c.ignore("layer_types", "sliding_window")
        return ["full"] * depth(c)
    start = c.count("max_window_layers", default=28, low=0) if first is None else first
    return layer_types(c, depth(c), {FULL: "full", SLIDING: "local"}, lambda place: SLIDING if place >= start else FULL)


def read(c: Config) -> Layout:
    names = windowed(c)
    attention = {"full": grouped_query(c, qkv_bias=True)}
    if "local" in names:
        attention["local"] = grouped_query(c, qkv_bias=True, window=c.window("sliding_window", absent=4096))
    return decoder(c, attention, {"mlp": mlp(c)}, layers=pairs(names, "mlp"))
