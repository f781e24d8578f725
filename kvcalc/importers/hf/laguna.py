"""Laguna: full and sliding layers with query heads of their own, a gate on the attention, dense layers first, then experts."""

from typing import Any

from kvcalc.importers.config import Config, Known
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import (
    FULL,
    KV_HEADS,
    SLIDING,
    blocks,
    decoder,
    depth,
    experts,
    grouped_query,
    layer_types,
    mlp,
    moe_layers,
    pairs,
)

TYPES = ("laguna",)
GATES = {"per-head": "per_head", "per-element": "per_element"}


def read(c: Config) -> Layout:
    c.ignore(
        "moe_routed_scaling_factor", "moe_router_logit_softcapping", "moe_apply_router_weight_on_input", "router_aux_loss_coef"
    )
    count = depth(c)
    layer = layer_types(c, count, {FULL: "global", SLIDING: "local"}, lambda place: FULL)
    kinds = moe_layers(c, count, lambda place: place > 0)
    for name, meant in (("layer_types", "none slides"), ("mlp_layer_types", "only the first is dense")):
        if not c.has(name):
            c.caveat(f"{name} is not in the config; as in its class, {meant}.")
    bias = c.flag("attention_bias")
    gate = gate_of(c)
    window = c.window("sliding_window", absent=512) if "local" in layer else None
    c.ignore("sliding_window")
    if "local" in layer and window is None:
        raise c.refuse("sliding_window", "is not in the config, and there are layers that slide")
    attention: dict[str, dict[str, Any]] = {}
    names = []
    for kind, heads in zip(layer, heads_of(c, count), strict=True):
        part = grouped_query(
            c,
            num_key_value_heads=c.count(*KV_HEADS),
            default_head_dim=128,
            num_attention_heads=heads,
            window=window if kind == "local" else None,
            qkv_bias=bias,
            o_bias=bias,
            qk_norm=True,
            output_gate=gate,
        )
        first = attention.setdefault(kind, part)
        name = kind if first == part else f"{kind}-{heads}"
        attention.setdefault(name, part)
        names.append(name)
    router = {"kind": "linear", "scoring_func": "sigmoid", "correction_bias": "parameter"}
    made = blocks(
        kinds,
        dense=lambda: mlp(c),
        moe=lambda: experts(c, shared=c.count("shared_expert_intermediate_size", low=0), router=router),
    )
    return decoder(c, attention, made, layers=pairs(names, kinds))


def gate_of(c: Config) -> str:
    """`gating`: true, or not there, is a gate per head."""
    if isinstance(c.fields.get("gating"), str):
        return GATES[c.text("gating", known=GATES) or "per-head"]
    if not c.flag("gating", default=True):
        raise c.refuse("gating", "false is not understood: every layer of this type has a gate")
    return "per_head"


def heads_of(c: Config, count: int) -> list[Known]:
    """Query heads of each layer."""
    listed = c.numbers("num_attention_heads_per_layer", length=count, low=1)
    if listed is None:
        return [c.count("num_attention_heads")] * count
    c.ignore("num_attention_heads")
    return listed
