"""Grok-1 (as converted for PyTorch) and Grok-2: experts, four norms in a layer; Grok-2 has a dense block beside its experts."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import decoder, experts, grouped_query

TYPES = ("grok-1", "grok")


def read(c: Config) -> Layout:
    c.ignore("attn_output_multiplier", "max_attn_value", "sliding_window_size", "attn_temperature_len")
    beside = c.count("intermediate_size") if c.flag("residual_moe") else None
    width = "moe_intermediate_size" if beside is not None or c.has("moe_intermediate_size") else "intermediate_size"
    c.ignore("intermediate_size")
    moe = experts(c, width=(width,), dense_intermediate_size=beside)
    return decoder(c, {"full": grouped_query(c, default_head_dim=128)}, {"moe": moe}, norms=4, tied=True)
