"""Kimi-Linear and the text model of Kimi-K3: Kimi delta attention, and multi-head latent attention without rotary embedding in the
layers that the config lists. These lists count from 1."""

from typing import Any

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import (
    CHOSEN,
    EXPERTS,
    FULL,
    LINEAR,
    SHARED,
    SIGMOID_ROUTER,
    blocks,
    decoder,
    depth,
    experts,
    latent,
    layer_types,
    mlp,
    moe_after_dense,
    pairs,
    shared_width,
)

TYPES = ("kimi_linear", "kimi_k3")
OF_SOME_LAYERS = (
    *("kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "qk_head_dim", "v_head_dim", "head_dim"),
    *("linear_num_heads", "linear_head_dim", "linear_conv_kernel_dim"),
    *("num_attention_heads", "num_key_value_heads", "intermediate_size", "moe_intermediate_size", *EXPERTS, *CHOSEN, *SHARED),
)
"""Fields that are read only where some layer is of their kind."""


def attention_names(c: Config, lists: Config | None, count: int) -> list[str]:
    """`kda` or `mla` for each layer: from the two lists, which must name each layer once; or from `layer_types`."""
    if lists is None or not lists.has("kda_layers"):
        return layer_types(c, count, {LINEAR: "kda", FULL: "mla"}, longer=False)
    found = [""] * count
    for field, name in (("kda_layers", "kda"), ("full_attn_layers", "mla")):
        for place in lists.numbers(field, low=1, high=count) or []:
            if found[place - 1]:
                raise lists.refuse(field, f"layer {place:,} is there a second time")
            found[place - 1] = name
    if "" in found:
        raise lists.refuse("full_attn_layers", f"layer {found.index('') + 1:,} is in none of the two lists")
    if c.has("layer_types") and layer_types(c, count, {LINEAR: "kda", FULL: "mla"}) != found:
        raise c.refuse("layer_types", "says other layers than linear_attn_config")
    return found


def delta_attention(c: Config, lists: Config | None) -> dict[str, Any]:
    """Kimi delta attention: as the checkpoint's section says it, or as transformers writes it again."""
    if lists is None:
        fields = {
            "num_heads": "linear_num_heads",
            "head_dim": "linear_head_dim",
            "short_conv_kernel_size": "linear_conv_kernel_dim",
        }
        return {"kind": "kda", **{name: c.count(field) for name, field in fields.items()}}
    lists.ignore("gate_lower_bound")
    return {
        "kind": "kda",
        "num_heads": lists.count("num_heads"),
        "head_dim": lists.count("head_dim"),
        "short_conv_kernel_size": lists.count("short_conv_kernel_size"),
        "use_full_rank_gate": lists.flag("use_full_rank_gate"),
    }


def read(c: Config) -> Layout:
    c.must("attention_bias", False)
    c.must("moe_router_activation_func", "sigmoid")
    c.ignore("num_nextn_predict_layers", "use_grouped_topk", "num_expert_group", "moe_renormalize")
    count, lists = depth(c), c.maybe_section("linear_attn_config")
    names = attention_names(c, lists, count)
    gate = "per_element" if c.flag("mla_use_output_gate") else None
    attention = blocks(names, kda=lambda: delta_attention(c, lists), mla=lambda: latent(c, output_gate=gate))
    if lists is not None:
        lists.settle()
    if c.flag("mla_use_nope", default=True) and "mla" in names:
        c.caveat("The full layers use no rotary embedding, and still keep the elements of one beside the latent.")
    if not c.has("mlp_layer_types"):
        c.count("first_k_dense_replace", low=0, default=1)
    kinds = moe_after_dense(c, count, default=1)
    c.ignore(*OF_SOME_LAYERS)
    made = blocks(kinds, dense=lambda: mlp(c), moe=lambda: experts(c, shared=shared_width(c, default=1), router=SIGMOID_ROUTER))
    return decoder(c, attention, made, layers=pairs(names, kinds))
