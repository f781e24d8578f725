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
    tied_against_class,
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


def must_say(c: Config | None, *names: str) -> None:
    """Fields that Kimi-K3 has and Kimi-Linear has not: without them it would be read as the other."""
    for name in names:
        if c is not None and name not in c.fields:
            raise c.refuse(name, "is not in the config")


def read(c: Config) -> Layout:
    tied_against_class(c)
    c.must("attention_bias", False)
    c.must("moe_router_activation_func", "sigmoid")
    c.ignore("num_nextn_predict_layers", "use_grouped_topk", "num_expert_group", "moe_renormalize")
    c.ignore("activation_situ_beta", "activation_situ_linear_beta", "latent_moe_use_norm", "routed_expert_hidden_size")
    count, lists = depth(c), c.maybe_section("linear_attn_config")
    if "kimi_k3" in (c.model_type, c.outer.model_type if c.outer else ""):
        must_say(c, "attn_res_block_size", "routed_expert_hidden_size", "latent_moe_use_norm", "mla_use_output_gate")
        must_say(lists, "use_full_rank_gate")
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
    made = blocks(kinds, dense=lambda: mlp(c), moe=lambda: routed(c))
    residual = {"kind": "attn_res"} if c.maybe("attn_res_block_size") else None
    return decoder(c, attention, made, layers=pairs(names, kinds), residual=residual)


def routed(c: Config) -> dict[str, Any]:
    """Experts; in Kimi-K3 they work in a latent, with a norm before the way back."""
    latent_size = c.maybe("routed_expert_hidden_size")
    norm = latent_size is not None and c.flag("latent_moe_use_norm", stated=True)
    shared = shared_width(c, default=1)
    return experts(c, shared=shared, router=SIGMOID_ROUTER, latent_size=latent_size, latent_norm=norm)
