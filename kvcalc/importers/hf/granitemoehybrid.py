"""Granite 4: Mamba-2 or grouped-query attention in each layer, by `layer_types`. Every layer has a gated MLP of
`shared_intermediate_size`, and experts beside it where `num_local_experts` is not 0."""

from typing import Any

from kvcalc.importers.config import Config
from kvcalc.importers.hf.bamba import state_space
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import FULL, LINEAR, biases, decoder, depth, experts, grouped_query, layer_types, mlp, pairs

TYPES = ("granitemoehybrid",)
NAMES = {"mamba": "mamba", LINEAR: "mamba", "attention": "full", FULL: "full"}
WIDTHS = ("num_local_experts", "shared_intermediate_size")


def block(c: Config) -> dict[str, Any]:
    """The feed-forward block, or which fields of it are missing."""
    missing = [name for name in WIDTHS if not c.has(name)]
    if missing:
        c.ignore("intermediate_size", "num_experts_per_tok")
        return {"kind": "unknown", "fields": missing}
    shared = c.count("shared_intermediate_size")
    if c.count("num_local_experts", low=0):
        return experts(c, width=("intermediate_size",), shared=shared)
    c.ignore("intermediate_size", "num_experts_per_tok")
    return mlp(c, "shared_intermediate_size")


def read(c: Config) -> Layout:
    c.must("normalization_function", "rmsnorm")
    c.ignore("layers_block_type")
    names = layer_types(c, depth(c), NAMES, longer=False)
    attention: dict[str, dict[str, Any]] = {}
    if "mamba" in names:
        attention["mamba"] = state_space(c)
    else:
        c.ignore(*(name for name in c.fields if name.startswith("mamba_")))
    attention["full"] = grouped_query(c, **biases(c))
    return decoder(c, attention, {"block": block(c)}, layers=pairs(names, "block"))
