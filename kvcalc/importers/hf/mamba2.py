"""Mamba-2 (Codestral Mamba): heads of a selective state space in every layer, and nothing else."""

from typing import Any

from kvcalc.importers.config import Config
from kvcalc.importers.hf.mamba import NOTHING, times
from kvcalc.importers.layout import Layer, Layout
from kvcalc.importers.pieces import decoder, depth

TYPES = ("mamba2",)


def read(c: Config) -> Layout:
    c.must("rms_norm", True)
    c.ignore("norm_before_gate", "chunk_size", "layer_types")
    bias = c.flag("use_bias")
    heads, width = c.count("num_heads"), c.count("head_dim")
    inner = times(c, "expand")
    if heads * width != inner:
        raise c.refuse("num_heads", f"{heads:,} heads of {width:,} are not expand x hidden_size {inner:,}")
    c.must("intermediate_size", inner)
    mamba: dict[str, Any] = {
        "kind": "mamba2",
        "num_heads": heads,
        "head_dim": width,
        "state_size": c.count("state_size"),
        "n_groups": c.count("n_groups"),
        "conv_kernel": c.count("conv_kernel", default=4),
        "use_bias": bias,
        "out_bias": bias,
        "use_conv_bias": c.flag("use_conv_bias", default=True, stated=True),
    }
    return decoder(c, {"mamba": mamba}, NOTHING, layers=[Layer("mamba", "none")] * depth(c))
