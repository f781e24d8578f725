"""Inkling's text model: grouped-query attention with short convolutions in every layer, most of them in a window; dense blocks
first, then experts, of which the router weighs the shared ones too."""

from dataclasses import replace
from typing import Any

from kvcalc.importers.config import Config, Known
from kvcalc.importers.layout import Drafts, Layout
from kvcalc.importers.pieces import (
    DRAFTED,
    MAX_DRAFTED,
    blocks,
    decoder,
    depth,
    drafted,
    extra_weight,
    hidden_size,
    layer_types,
    pairs,
)

TYPES = ("inkling_text", "inkling_mm_model", "inkling")
ON = ("shared_expert_sink", "use_sconv", "use_embed_norm", "use_gate_bias", "use_global_scale", "norm_after_topk")


def attention_names(c: Config, count: int) -> list[str]:
    """`local` or `global` for each layer: the checkpoint lists the local ones."""
    named = {"hybrid_sliding": "local", "hybrid": "global"}
    local = c.numbers("local_layer_ids", high=count - 1)
    found = None if local is None else ["local" if place in local else "global" for place in range(count)]
    if found is None or c.has("layer_types"):
        listed = layer_types(c, count, named, longer=False)
        if found is not None and found != listed:
            raise c.refuse("local_layer_ids", "says other layers than layer_types")
        return listed
    return found


def short_conv(c: Config, prefix: str, extent: Known, **more: Any) -> dict[str, Any]:
    return {
        "kind": "sconv_gqa",
        "num_attention_heads": c.count(f"{prefix}num_attention_heads"),
        "num_key_value_heads": c.count(f"{prefix}num_key_value_heads"),
        "head_dim": c.count(f"{prefix}head_dim"),
        "conv_kernel_size": c.count("conv_kernel_size", "sconv_kernel_size"),
        "d_rel": c.count("d_rel"),
        "rel_extent": extent,
        **more,
    }


def block_names(c: Config, count: int) -> list[str]:
    """`mlp` or `moe` for each layer; neither the list nor the number of dense layers: not known."""
    listed = c.words("mlp_layer_types", known=("dense", "sparse"), length=count)
    dense = c.maybe("dense_mlp_idx", low=0, high=count)
    if listed is not None:
        return ["mlp" if word == "dense" else "moe" for word in listed]
    return ["unknown"] * count if dense is None else ["mlp"] * dense + ["moe"] * (count - dense)


def experts(c: Config, width: Known) -> dict[str, Any]:
    shared = c.count("n_shared_experts")
    return {
        "kind": "moe",
        "num_experts": c.count("n_routed_experts", "num_local_experts"),
        "num_experts_per_tok": c.count("num_experts_per_tok"),
        "moe_intermediate_size": width,
        "shared_intermediate_size": Known(shared * width, f"{shared.origin} x {width.origin}"),
        "router": {
            "kind": "linear",
            "scoring_func": "sigmoid",
            "correction_bias": "buffer",
            "n_shared_experts": shared,
            "global_scale": True,
        },
    }


def read(c: Config) -> Layout:
    for name in ON:
        c.must(name, True)
    c.must("gate_activation", "sigmoid")
    c.must("q_bias", False)
    c.must("o_bias", False)
    c.ignore("log_scaling_n_floor", "log_scaling_alpha", "logits_mup_width_multiplier", "number_of_conv_states")
    c.ignore("mtp_hidden_states_first", "unpadded_vocab_size")
    count = depth(c)
    names, kinds = attention_names(c, count), block_names(c, count)
    drafts = drafting(c)
    window = c.count("sliding_window_size", "sliding_window") if "local" in names + drafts.attention else None
    attention = blocks(
        names + drafts.attention,
        local=lambda: short_conv(c, "swa_", c.count("sliding_window_size", "sliding_window"), window=window),
        **{"global": lambda: short_conv(c, "", c.count("rel_extent"))},
    )
    wide, narrow = widths(c)
    made = blocks(
        kinds + drafts.feedforward,
        mlp=lambda: {"kind": "mlp", "intermediate_size": c.count(wide), "global_scale": True},
        moe=lambda: experts(c, c.count(narrow)),
        unknown=lambda: {"kind": "unknown", "fields": ["mlp_layer_types"]},
    )
    c.ignore("intermediate_size", "moe_intermediate_size", "dense_intermediate_size")
    if "unknown" in kinds:
        c.ignore("n_routed_experts", "num_local_experts", "num_experts_per_tok", "n_shared_experts")
    if c.has("unpadded_vocab_size"):
        c.caveat("The head is counted with as many rows as the embedding, as the reference class has it.")
    c.caveat("The reference keeps the convolutions' inputs in 32 bits; they are counted in 16, as everywhere.")
    residual = {"kind": "plain", "embedding_norm": True}
    return decoder(c, attention, made, layers=pairs(names, kinds), residual=residual, draft=drafts)


def drafting(c: Config) -> Drafts:
    """Layers that draft are dense. The checkpoint's config has a section of its own for them, beside the text model's."""
    section = c.outer.maybe_section("mtp_config") if c.outer is not None else None
    said, local = (section, "local_layer_ids") if section else (c, "mtp_local_layer_ids")
    many = said.maybe(*DRAFTED, low=0, high=MAX_DRAFTED)
    places = said.numbers(local) or []
    found = drafted(c, ["local" if place in places else "global" for place in range(many or 0)], "mlp", many=many, norms=2)
    norm = extra_weight("chain_norm", 1, hidden_size(c))
    return replace(found, weights=[*found.weights, norm]) if found.layers and said.flag("chain_hidden_post_norm") else found


def widths(c: Config) -> tuple[str, str]:
    """The fields with the width of a dense block and of an expert. Beside a field for the former, `intermediate_size` is an expert's."""
    if c.has("dense_intermediate_size"):
        return "dense_intermediate_size", "intermediate_size"
    return "intermediate_size", "moe_intermediate_size"
