"""Granite 3, HyperCLOVA X: Llama's layer with multipliers that size nothing; HyperCLOVA X adds norms after the blocks. Granite
with sliding windows and CWM: one of four layers is full, the first one too; Granite's have a learned sink per head."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import FULL, SLIDING, biases, decoder, depth, full_and_local, full_or_local, mlp, or_default, pairs

TYPES = ("granite", "hyperclovax", "granite_swa", "cwm")
WINDOWS = {"granite_swa": 128, "cwm": 8192}
"""The class's window."""
GROUPS = {"granite_swa": 4, "cwm": 8}
"""The class's KV heads; the others have as many as query heads."""


def read(c: Config) -> Layout:
    kind = c.model_type
    names, window = ["full"] * depth(c), None
    if kind in WINDOWS:
        names = full_or_local(c, lambda place: SLIDING if place % 4 else FULL)
        window = c.window("sliding_window", absent=WINDOWS[kind])
        c.ignore("layer_rope_theta")
    elif c.has("layer_types"):
        c.words("layer_types", known=("attention", FULL), length=len(names))
        c.must("shared_intermediate_size", None, c.fields.get("intermediate_size"))
        c.must("normalization_function", "rmsnorm")
        c.ignore(*(name for name in c.fields if name.startswith("mamba_")))
    if kind == "cwm":
        c.must("attention_bias", False)
    attention = full_and_local(
        c,
        names,
        window,
        num_key_value_heads=or_default(c, "num_key_value_heads", GROUPS[kind]) if kind in GROUPS else None,
        head_dim=c.count("head_dim", default=128) if kind == "cwm" else None,
        learned_sinks=kind == "granite_swa",
        **biases(c),
    )
    return decoder(
        c,
        attention,
        {"mlp": mlp(c, mlp_bias=c.flag("mlp_bias"))},
        layers=pairs(names, "mlp"),
        tied=kind == "granite_swa",
        norms=4 if kind == "hyperclovax" and c.flag("use_post_norm", default=True, stated=True) else 2,
    )
