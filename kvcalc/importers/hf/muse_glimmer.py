"""Muse Glimmer: three layers with a window, then one without, counted from the last; a gate on the attention's output, norms
before and after each block, and norms without weights on queries and keys."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import FULL, SLIDING, biases, decoder, depth, full_and_local, full_or_local, mlp, omitted, pairs

TYPES = ("muse_glimmer", "muse_glimmer_text")
PERIOD = 4


def read(c: Config) -> Layout:
    omitted(c, num_attention_heads=32, num_key_value_heads=2, head_dim=128, vocab_size=202_048)
    c.ignore("qk_scale_factor", "layer_rope_theta")
    last = depth(c) - 1
    names = full_or_local(c, lambda place: SLIDING if (last - place) % PERIOD else FULL)
    attention = full_and_local(
        c,
        names,
        c.window("sliding_window", absent=2048),
        num_key_value_heads=c.count("num_key_value_heads", default=2),
        head_dim=c.count("head_dim", default=128),
        output_gate="per_element",
        **biases(c),
    )
    return decoder(c, attention, {"mlp": mlp(c)}, layers=pairs(names, "mlp"), norms=4)
