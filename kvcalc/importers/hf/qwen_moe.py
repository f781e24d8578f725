"""Qwen1.5-MoE, Qwen2-MoE (biases on q, k and v, a gated shared expert), Qwen3-MoE and the text model of Qwen3-VL-MoE and Qwen3-Omni
(norms on q and k, no shared expert).

A layer is sparse where its number, from 1, is a multiple of `decoder_sparse_step` and it is not in `mlp_only_layers`.
"""

from typing import Any

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import (
    FULL,
    KV_HEADS,
    SLIDING,
    blocks,
    decoder,
    depth,
    experts,
    full_and_local,
    layer_types,
    mlp,
    moe_layers,
    pairs,
)

TYPES = ("qwen2_moe", "qwen3_moe", "qwen3_vl_moe_text", "qwen3_vl_moe", "qwen3_omni_moe_text")
QWEN2 = ("qwen2_moe",)


def sparse_steps(c: Config, count: int) -> list[str]:
    """The block of each layer."""
    step, only = c.maybe("decoder_sparse_step") or 1, c.numbers("mlp_only_layers") or []
    return moe_layers(c, count, lambda place: (place + 1) % step == 0 and place not in only)


def gated_shared(c: Config) -> dict[str, Any]:
    """Fields of a shared expert with a gate."""
    return {"shared": c.count("shared_expert_intermediate_size"), "shared_expert_gate": True}


def windowed(c: Config, count: int) -> list[str]:
    """Which layers slide. Only with `use_sliding_window`: in Qwen2-MoE every second one before `max_window_layers`, in Qwen3-MoE all."""
    if not c.flag("use_sliding_window") or c.window("sliding_window", absent=4096) is None:
        c.ignore("sliding_window", "layer_types", "max_window_layers")
        return ["full"] * count
    if c.model_type not in QWEN2:
        c.ignore("max_window_layers")
        return ["local"] * count
    before = c.count("max_window_layers", default=28, low=0)
    named = {FULL: "full", SLIDING: "local"}
    return layer_types(c, count, named, lambda place: SLIDING if (place + 1) % 2 and place < before else FULL)


def read(c: Config) -> Layout:
    count, qwen2 = depth(c), c.model_type in QWEN2
    names, kinds = windowed(c, count), sparse_steps(c, count)
    if qwen2:
        more: dict[str, Any] = {"qkv_bias": c.flag("qkv_bias", default=True)}
    else:
        c.must("use_qk_norm", True)
        more = {"qk_norm": True, "qkv_bias": c.flag("attention_bias"), "o_bias": c.flag("attention_bias")}
    window = c.window("sliding_window", absent=4096) if "local" in names else None
    shared = gated_shared(c) if qwen2 and "moe" in kinds else {}
    made = blocks(kinds, dense=lambda: mlp(c), moe=lambda: experts(c, **shared))
    c.ignore("shared_expert_intermediate_size")
    attention = full_and_local(c, names, window, num_key_value_heads=c.count(*KV_HEADS), **more)
    alone = c.model_type == "qwen3_vl_moe_text" and not c.section_name
    return decoder(c, attention, made, layers=pairs(names, kinds), tied=alone)
