"""Step 5: Step-3.5's layer, with a window, and in every fourth one queries that read chosen regions (`sparse_config`). The release calls
its text model step4."""

from typing import Any

from kvcalc.importers.config import Config
from kvcalc.importers.hf.step3 import listed_moe
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import (
    FULL,
    SIGMOID_ROUTER,
    SLIDING,
    blocks,
    decoder,
    depth,
    experts,
    grouped_query,
    layer_types,
    mlp,
    pairs,
)

TYPES = ("step5", "step5_vl", "step4", "step3p5v")
SECTION = "sparse_config"
FIXED = {
    "enabled": (True,),
    "sparse_indexer_num_k_heads": (1,),
    "sparse_indexer_q_norm_type": ("rmsnorm",),
    "sparse_indexer_k_norm_type": ("layernorm",),
    "sparse_indexer_csa_z_norm_type": ("none",),
    "sparse_indexer_ssmax_s_granularity": ("q_head",),
    "compression_method": ("csa_block_compress",),
    "attention_impl": ("sparse_gqa",),
    "apply_to_layer_types": ([FULL],),
}
"""What the section must say, if it says it: the only values that an engine knows."""
IN_32_BITS = {
    "norms": "fp32",
    "attention.ssmax_s": "fp32",
    "indexer.index_q_norm": "fp32",
    "indexer.index_k_norm": "fp32",
    "indexer.index_weights_proj": "fp32",
    "router.correction_bias": "fp32",
}
OF_A_WINDOW = {
    "num_attention_heads": ("num_attention_heads", "swa_num_attention_heads", "num_sliding_attention_heads"),
    "num_key_value_heads": ("num_attention_groups", "num_attention_groups_sliding_attention"),
    "head_dim": ("head_dim", "head_dim_sliding_attention"),
}
"""What layers with a window have otherwise: the name in `attention_other_setting`, and those beside it."""
STATE = {"index_summary": "fp8", "index_open_region": "bf16"}
"""What vLLM keeps for this model."""


def read(c: Config) -> Layout:
    c.must("att_impl_type", "GQA")
    c.must("use_head_wise_attn_gate", True)
    c.must("use_qk_norm", True)
    c.must("attention_bias", False)
    c.must("use_moe", True)
    c.must("moe_router_activation", "sigmoid")
    c.ignore("num_nextn_predict_layers", "norm_expert_weight", "need_fp32_gate", "swiglu_limits", "swiglu_limits_shared")
    c.ignore("zero_centered", "yarn_only_types", "partial_rotary_factors", "layer_types_with_mtp", "use_rope_layers")
    count, section = depth(c), c.section(SECTION)
    kinds = moe_layers(c, count)
    names = layer_types(c, count, {FULL: "sparse", SLIDING: "local"})
    attention = blocks(names, local=lambda: sliding(c), sparse=lambda: regions(c, section))
    c.ignore("attention_other_setting", "sliding_window", *(name for _, *names in OF_A_WINDOW.values() for name in names))
    if "sparse" in names:
        section.settle()
    router = SIGMOID_ROUTER if c.flag("use_moe_router_bias", default=False) else {"kind": "linear", "scoring_func": "sigmoid"}
    made = blocks(kinds, dense=lambda: mlp(c), moe=lambda: experts(c, shared=c.count("share_expert_dim", low=0), router=router))
    c.caveat("The native state is what vLLM keeps: fp8 summaries, and 16 bits of the open region.")
    return decoder(
        c,
        attention,
        made,
        layers=pairs(names, kinds),
        weights=formats(c, names, router),
        state=STATE if "sparse" in names else {},
    )


def moe_layers(c: Config, count: int) -> list[str]:
    """The block of each layer, from one of the two lists that a config may have."""
    if not c.has("moe_layers_enum"):
        listed = c.numbers("moe_layer_list", "moe_layers")
        if listed is None:
            raise c.refuse("moe_layers_enum", "is not in the config, nor is moe_layer_list")
        if len(set(listed)) < len(listed):
            raise c.refuse("moe_layer_list", "names a layer twice")
        c.fields = c.fields | {"moe_layers_enum": listed}
    c.ignore("moe_layer_list", "moe_layers")
    return listed_moe(c, count, 0)


def heads(c: Config, **more: Any) -> dict[str, Any]:
    """Grouped-query attention with a norm and a gate for each head, as full layers have it."""
    return grouped_query(
        c,
        num_key_value_heads=c.count("num_attention_groups", "num_attention_groups_full_attention"),
        head_dim=c.count("head_dim", "head_dim_full_attention"),
        qk_norm=True,
        output_gate="per_head",
        **more,
    )


def sliding(c: Config) -> dict[str, Any]:
    """A layer with a window, where the config says so with sizes of its own."""
    window = c.window("sliding_window")
    if window is None:
        raise c.refuse("sliding_window", "is not in the config, and there are layers that slide")
    part, other = heads(c, window=window), c.maybe_section("attention_other_setting")
    if other is not None:
        other.must("attention_type", SLIDING)
        return part | {field: other.count(name) for field, (name, *_) in OF_A_WINDOW.items()}
    said = {field: c.maybe(*names) for field, (_, *names) in OF_A_WINDOW.items()}
    return part | {field: size for field, size in said.items() if size is not None}


def regions(c: Config, section: Config) -> dict[str, Any]:
    """A layer whose queries read chosen regions."""
    for name, values in FIXED.items():
        section.must(name, *values)
    section.ignore("sparse_indexer_rope_dim", "sparse_indexer_use_rope", "num_provider_groups", "index_tp_size")
    names = ("sparse_indexer_num_heads", "proxy_dim", "region_block_size", "topk")
    softmax = section.text("sparse_indexer_softmax_variant", known=("ssmax", "softmax", "standard"))
    return {
        **heads(c),
        "kind": "block_summary",
        **{name: section.count(name) for name in names},
        "ssmax_s": softmax == "ssmax",
    }


def formats(c: Config, names: list[str], router: dict[str, Any]) -> dict[str, str]:
    """What is stored in 32 bits where the config says so of the norms."""
    if c.text("norm_dtype", known=("float32", "fp32", "bf16", "bfloat16"), default="bf16") not in ("float32", "fp32"):
        return {}
    absent = () if "sparse" in names else ("indexer", "attention")
    bias = "correction_bias" in router
    return {
        key: kept for key, kept in IN_32_BITS.items() if key.partition(".")[0] not in absent and (bias or "router" not in key)
    }
