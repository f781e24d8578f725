"""Mamba and Falcon-Mamba: a selective state space in every layer, and nothing else. Channels are `intermediate_size` where the config has
it, whatever `expand` says beside it."""

from typing import Any

from kvcalc.importers.config import Config, Known, number
from kvcalc.importers.layout import Layer, Layout
from kvcalc.importers.pieces import decoder, depth, hidden_size

TYPES = ("mamba", "falcon_mamba")
AUTO = "auto"
NOTHING = {"none": {"kind": "none"}}
"""The feed-forward block of a layer that has none."""
RANKS = 16


def auto(c: Config, name: str) -> Known | None:
    """A whole number; None where the config leaves it to the class: it says "auto", or nothing."""
    return None if c.value(name)[1] == AUTO else c.maybe(name)


def times(c: Config, *names: str) -> Known:
    """hidden_size x an expansion factor, of which the class's default is 2."""
    return number(int(c.ratio(*names, default=2) * hidden_size(c)), f"{names[0]} x hidden_size")


def step_rank(c: Config, name: str) -> Known:
    """Width of the step size; "auto" is hidden_size / 16, rounded up."""
    return auto(c, name) or number(-(-hidden_size(c) // RANKS), f"hidden_size / {RANKS}, rounded up")


def state_space(c: Config, **more: Any) -> dict[str, Any]:
    """The same between layers of other kinds, where its fields begin with `mamba_`."""
    return {
        "kind": "mamba",
        "intermediate_size": times(c, "mamba_expand"),
        "state_size": c.count("mamba_d_state"),
        "conv_kernel": c.count("mamba_d_conv", default=4),
        "time_step_rank": step_rank(c, "mamba_dt_rank"),
        "use_bias": c.flag("mamba_proj_bias"),
        "use_conv_bias": c.flag("mamba_conv_bias", default=True, stated=True),
        **more,
    }


def read(c: Config) -> Layout:
    c.must("rms_norm", True)
    c.ignore("fused_add_norm", "use_mambapy", "use_falcon_mambapy", "use_associative_scan", "expand", "layer_types")
    mamba: dict[str, Any] = {
        "kind": "mamba",
        "intermediate_size": c.maybe("intermediate_size") or times(c, "expand"),
        "state_size": c.count("state_size"),
        "conv_kernel": c.count("conv_kernel", default=4),
        "time_step_rank": step_rank(c, "time_step_rank"),
        "use_bias": c.flag("use_bias"),
        "use_conv_bias": c.flag("use_conv_bias", default=True, stated=True),
    }
    return decoder(c, {"mamba": mamba}, NOTHING, layers=[Layer("mamba", "none")] * depth(c), tied=True)
