"""Gemma 4: Gemma 3's layers, where those without a window have wider heads, and may take the value from the key's projection. The
small ones add per-layer embeddings and read the keys and values of earlier layers; one has experts beside its dense block."""

from collections.abc import Sequence
from typing import Any

from kvcalc.importers.config import MAX_ROWS, Config, Known, number
from kvcalc.importers.hf.gemma import HEAD_DIM, both_ways, heads
from kvcalc.importers.hf.gemma3 import PERIOD, halved
from kvcalc.importers.hf.gemma3n import PER_LAYER_DIM, PER_LAYER_ROWS, sharing
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import FULL, SLIDING, decoder, every, experts, full_and_local, full_or_local, mlp, omitted

TYPES = ("gemma4", "gemma4_text", "gemma4_unified", "gemma4_unified_text")
UNIFIED = ("gemma4_unified", "gemma4_unified_text")
GLOBAL_HEAD_DIM = 512
WIDTHS = ("head_dim", "num_key_value_heads")
"""What differs from layer to layer."""


def read(c: Config) -> Layout:
    omitted(c, num_attention_heads=8, num_key_value_heads=4, head_dim=HEAD_DIM, vocab_size=PER_LAYER_ROWS)
    window = c.window("sliding_window", absent=1_024 if c.model_type in UNIFIED else 512)
    window = halved(window) if both_ways(c, "all") else window
    names = full_or_local(c, every(PERIOD, SLIDING, FULL))
    names[-1] = "full"
    attention = full_and_local(c, names, window, qk_norm=True, **heads(c, 4))
    key_is_value = c.flag("attention_k_eq_v")
    for name, widths in widths_by_kind(c, attention, names, key_is_value).items():
        attention[name] |= widths
    attention["full"]["attention_k_eq_v"] = key_is_value
    shared = c.maybe("num_kv_shared_layers", low=0) or 0
    moe = c.model_type not in UNIFIED and c.flag("enable_moe_block")
    blocks = {"mlp": block(c, moe, 1), "wide": block(c, moe, 2)}
    wide = shared if c.flag("use_double_wide_mlp") else 0
    feedforward = ["mlp"] * (len(names) - wide) + ["wide"] * wide
    return decoder(
        c,
        attention,
        blocks,
        layers=sharing(c, names, feedforward, shared),
        tied=True,
        norms=7 if moe else 4,
        tables={} if c.model_type in UNIFIED else per_layer(c),
    )


def widths_by_kind(
    c: Config, attention: dict[str, dict[str, Any]], names: Sequence[str], key_is_value: bool
) -> dict[str, dict[str, Known]]:
    """Head width and KV heads of the layers with a window and of those without: older files name the latter's apart, newer ones
    list every layer that differs."""
    if "per_layer_config" not in c.fields:
        full = {"head_dim": c.count("global_head_dim", default=GLOBAL_HEAD_DIM)}
        groups = c.maybe("num_global_key_value_heads")
        return {"full": full | ({"num_key_value_heads": groups} if key_is_value and groups else {})}
    c.ignore("global_head_dim", "num_global_key_value_heads")
    listed = c.section("per_layer_config")
    layers = {int(place): listed.section(place) for place in listed.fields if place.isdecimal() and len(place) < 6}
    if len(layers) != len(listed.fields) or any(place >= len(names) for place in layers):
        raise c.refuse("per_layer_config", f"must name layers from 0 to {len(names) - 1:,}, each once")
    found: dict[str, dict[str, Known]] = {}
    for place, name in enumerate(names):
        layer = layers.get(place)
        for field in layer.fields if layer else ():
            if layer and field not in WIDTHS:
                raise layer.refuse(field, "is not understood")
        widths = {field: (layer and layer.maybe(field)) or attention[name][field] for field in WIDTHS}
        if found.setdefault(name, widths) != widths:
            raise c.refuse("per_layer_config", f"gives layers of one kind ({name}) different widths")
    return found


def block(c: Config, moe: bool, times: int) -> dict[str, Any]:
    """The block of a layer, so many times as wide; with experts beside it where the model has them."""
    dense = mlp(c)
    width = dense["intermediate_size"]
    width = width if times == 1 else number(width * times, f"{width.origin} x {times}: use_double_wide_mlp")
    if moe:
        return experts(c, dense_intermediate_size=width, router={"kind": "linear", "scales": True})
    c.ignore("num_experts", "top_k_experts", "moe_intermediate_size")
    return dense | {"intermediate_size": width}


def per_layer(c: Config) -> dict[str, dict[str, Any]]:
    """The table of per-layer embeddings; none where its width is 0."""
    width = c.count("hidden_size_per_layer_input", default=PER_LAYER_DIM, low=0)
    rows = c.count("vocab_size_per_layer_input", default=PER_LAYER_ROWS, high=MAX_ROWS)
    return {"per_layer": {"vocab_size": rows, "dim": width}} if width else {}
