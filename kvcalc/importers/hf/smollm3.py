"""SmolLM3: Llama's layer with a tied head, and without rotary embedding in every fourth layer, which changes no size."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import FULL, SLIDING, biases, decoder, depth, full_and_local, full_or_local, mlp, or_default, pairs

TYPES = ("smollm3",)


def read(c: Config) -> Layout:
    window = c.window("sliding_window") if c.flag("use_sliding_window") else None
    count, period = depth(c), c.maybe("no_rope_layer_interval")
    rope = c.numbers("no_rope_layers", length=count, high=1)
    if window is None:
        c.ignore("sliding_window")
        names = ["full"] * len(full_or_local(c, lambda _: FULL))  # what a list says of them does not matter then
    elif rope is None:
        step = c.count("no_rope_layer_interval", default=4) if period is None else period
        names = full_or_local(c, lambda place: FULL if (place + 1) % step else SLIDING)
    else:
        names = full_or_local(c, lambda place: FULL if rope[place] else SLIDING)
    attention = full_and_local(c, names, window, num_key_value_heads=or_default(c, "num_key_value_heads", 4), **biases(c))
    return decoder(c, attention, {"mlp": mlp(c, mlp_bias=c.flag("mlp_bias"))}, layers=pairs(names, "mlp"), tied=True)
