"""Ling 2.5, 2.6, 3.0 and Ring-linear (Bailing hybrids): linear attention, with softmax attention in the last layer of each group.
Lightning attention before 3.0, Kimi delta attention since; multi-head latent attention, in Ring-linear grouped queries."""

from typing import Any

from kvcalc.importers.config import Config
from kvcalc.importers.hf.bailing_moe import shared_of
from kvcalc.importers.hf.kimi_linear import OF_SOME_LAYERS
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import (
    FULL,
    HEADS,
    KV_HEADS,
    LINEAR,
    blocks,
    decoder,
    depth,
    drafted,
    every,
    experts,
    grouped_query,
    head_dim,
    latent,
    layer_types,
    mlp,
    moe_after_dense,
    pairs,
    shared_width,
    tied_against_class,
    undrafted,
)

TYPES = ("bailing_hybrid", "bailing_moe_linear", "bailing_moe_v3_vl")
NOT_DRAFTED = ("bailing_moe_linear",)
"""Types of which no code says how a layer that drafts is built."""
GATES = {"head_wise": "per_head", "element_wise": "per_element"}
OFF = ("use_bias", "use_qkv_bias", "attention_bias", "use_mla_nope", "multi_gate", "use_nGPT", "up_proj_norm", "value_norm")


def read(c: Config) -> Layout:
    tied_against_class(c)
    for name in OFF:
        c.must(name, False)
    c.must("router_type", "topN")
    c.must("moe_router_enable_shared_expert", True)
    c.ignore("max_window_layers", "mtp_loss_scaling_factor", "norm_head", "rotary_dim")
    c.ignore(
        "moe_router_enable_routed_scaling", "linear_silu", "use_linear_silu", "linear_rope", "linear_backend", "rope_interleave"
    )
    c.ignore("kda_safe_gate", "kda_lower_bound", "use_rmsnorm", "moe_renormalize", "num_expert_group", "scale_router_input")
    c.ignore("expert_swiglu_limit_list", "share_expert_swiglu_limit_list")
    count, delta = depth(c), is_delta(c)
    names = attention_names(c, count, delta=delta)
    if not c.has("mlp_layer_types"):
        c.count("first_k_dense_replace", low=0)
    kinds = moe_after_dense(c, count)
    drafts = drafted(c, "full", kinds[-1]) if c.model_type not in NOT_DRAFTED else undrafted(c)
    attention = blocks(
        names + drafts.attention,
        linear=lambda: delta_attention(c) if delta else lightning(c),
        full=lambda: softmax(c, delta=delta),
    )
    c.ignore(*OF_SOME_LAYERS, "moe_shared_expert_intermediate_size")
    made = blocks(
        kinds,
        dense=lambda: mlp(c),
        moe=lambda: experts(c, shared=shared_width(c, shared_of(c), default=1), router=router(c, delta=delta)),
    )
    return decoder(c, attention, made, layers=pairs(names, kinds), draft=drafts)


def is_delta(c: Config) -> bool:
    """Whether linear layers are Kimi delta attention: only these have a convolution, only Lightning has a norm over groups."""
    if c.has("short_conv_kernel_size"):
        c.ignore("group_norm_size", "use_qk_norm")
        return True
    if not c.has("group_norm_size") or any(name.startswith(("kda_", "no_kda")) for name in c.fields):
        raise c.refuse(
            "short_conv_kernel_size", "is not in the config, nor does it say that its linear layers are Lightning attention"
        )
    return False


def attention_names(c: Config, count: int, *, delta: bool) -> list[str]:
    """`linear` or `full` for each layer: from the list, or the last of each group."""
    named = {LINEAR: "linear", FULL: "full"}
    if c.has("layer_types"):
        c.ignore("layer_group_size")
        return layer_types(c, count, named, longer=False)
    if isinstance(c.fields.get("layer_group_size"), list):
        listed = c.numbers("layer_group_size", length=count, high=1) or []
        return ["linear" if linear else "full" for linear in listed]
    group = c.count("layer_group_size")
    names = layer_types(c, count, named, every(group, LINEAR, FULL))
    whole = count // group * group
    if whole < count and delta:
        raise c.refuse(
            "layer_group_size",
            f"{count:,} layers are no whole groups of {group:,}, and engines differ on the rest",
            "add layer_types",
        )
    if whole < count:
        c.caveat(
            f"The last {count - whole:,} layers make no whole group; they have softmax attention, as in the model's own code."
        )
    return names[:whole] + ["full"] * (count - whole)


def lightning(c: Config) -> dict[str, Any]:
    """Lightning attention, whose output norm spans all heads in `group_norm_size` groups."""
    c.count("group_norm_size")
    if c.model_type == "bailing_moe_linear" and not c.has("use_qk_norm"):
        raise c.refuse("use_qk_norm", "is not in the config")
    heads = c.count(*HEADS)
    norm = c.flag("use_qk_norm", default=True, stated=True)
    return {"kind": "lightning", "num_attention_heads": heads, "head_dim": head_dim(c, heads), "qk_norm": norm}


def delta_attention(c: Config) -> dict[str, Any]:
    """Kimi delta attention with the heads of softmax attention; transformers writes a width of its own beside head_dim."""
    heads = c.count(*HEADS)
    full_rank = c.flag("no_kda_lora", default=True, stated=True)
    if c.has("use_kda_lora") and c.flag("use_kda_lora") is full_rank:
        raise c.refuse("use_kda_lora", "contradicts no_kda_lora")
    return {
        "kind": "kda",
        "num_heads": heads,
        "head_dim": c.maybe("linear_head_dim") or c.count("head_dim"),
        "short_conv_kernel_size": c.count("short_conv_kernel_size"),
        "no_kda_lora": full_rank,
    }


def softmax(c: Config, *, delta: bool) -> dict[str, Any]:
    """Multi-head latent attention, in Ling 3.0 with a gate; grouped queries in Ring-linear."""
    if c.model_type == "bailing_moe_linear":
        c.must("full_attention_type", "gqa")
        return grouped_query(c, num_key_value_heads=c.count(*KV_HEADS), qk_norm=c.flag("use_qk_norm"))
    c.must("full_attention_type", "mla")
    c.ignore("qk_head_dim")
    gate = None
    if delta:
        said = c.text("gated_attention_proj_granularity_type", known=GATES)
        if said is None:
            c.caveat("Not in the config, and taken from its class: gated_attention_proj_granularity_type head_wise.")
        gate = GATES[said or "head_wise"]
    if "q_lora_rank" not in c.fields:
        c.caveat("Not in the config, and taken from its class: queries without a latent (q_lora_rank).")
    return latent(c, q_lora_rank=c.maybe("q_lora_rank"), output_gate=gate)


def router(c: Config, *, delta: bool) -> dict[str, Any]:
    """Sigmoid scores and a correction bias; in Ring-linear as the config says."""
    score = c.text("score_function", "scoring_func", known=("softmax", "sigmoid"), default="sigmoid")
    found: dict[str, Any] = {"kind": "linear", "scoring_func": score}
    if c.flag("moe_router_enable_expert_bias", default=score == "sigmoid", stated=not delta):
        found["correction_bias"] = "buffer"
    return found
