"""Step-3: one KV head for all query heads, whose queries come from a narrow one. Step-3.5 and 3.7: grouped-query attention with a gate
per head, window layers with more query heads."""

from typing import Any

from kvcalc.importers.config import Config, Known
from kvcalc.importers.layout import Drafts, Layout
from kvcalc.importers.pieces import (
    DRAFTED,
    FULL,
    MAX_DRAFTED,
    SIGMOID_ROUTER,
    SLIDING,
    blocks,
    decoder,
    depth,
    drafted,
    experts,
    grouped_query,
    layer_types,
    mlp,
    moe_layers,
    pairs,
    undrafted,
)

TYPES = ("step3_text", "step3_vl", "step3p5", "step3p7", "step3p7_text")
STEP3 = ("step3_text", "step3_vl")
DENSE = 3
"""First layers without experts, in the class of Step-3.5."""


def listed_moe(c: Config, count: int, dense: int | None) -> list[str]:
    """The block of each layer, from the numbers in `moe_layers_enum`: text with commas, or a list. `dense`: first layers that are
    dense in the class; None: the list must be there."""
    said = c.fields.get("moe_layers_enum")
    if isinstance(said, str):
        numbers = [word.strip() for word in (c.text("moe_layers_enum") or "").split(",") if word.strip()]
        if not all(word.isascii() and word.isdigit() for word in numbers):
            raise c.refuse("moe_layers_enum", "must be layer numbers with commas between them")
        sparse: list[Known] | None = [c.whole("moe_layers_enum", int(word[:9]), low=0) for word in numbers]
    else:
        sparse = c.numbers("moe_layers_enum")
    if sparse is None and not c.has("mlp_layer_types"):
        if dense is None:
            raise c.refuse("moe_layers_enum", "is not in the config")
        c.caveat(f"The config does not say which layers have experts; as in its class, all but the first {dense}.")
    return moe_layers(c, count, lambda place: place >= (dense or 0) if sparse is None else place in sparse)


def read(c: Config) -> Layout:
    count, step3 = depth(c), c.model_type in STEP3
    c.ignore(
        *("use_moe", "moe_layer_offset", "moe_every_n_layer", "moe_router_activation", "norm_expert_weight", "swiglu_limits"),
        *("swiglu_limits_shared", "att_impl_type", "yarn_only_types"),
        *("use_mfa", "need_fp32_gate", "share_expert_dims", "zero_centered"),
    )
    c.must("use_qk_norm", True)
    c.must("mlp_bias", False)
    c.must("n_shared_experts", None, 1)
    c.must("first_k_dense_replace", None, DENSE)
    kinds = listed_moe(c, count, None if step3 else DENSE)
    drafts = undrafted(c) if step3 else drafting(c, count)
    if step3:
        names = ["full"] * count
        attention = {"full": queries_from_one(c)}
    else:
        names = layer_types(c, count, {FULL: "full", SLIDING: "local"})
        attention = blocks(names + drafts.attention, full=lambda: gated(c), local=lambda: sliding(c))
    c.ignore("attention_other_setting", "num_sliding_attention_heads", "per_layer_config", "sliding_window", "layer_types")
    router = {"kind": "linear"} if step3 or not c.flag("use_moe_router_bias", default=True) else SIGMOID_ROUTER
    made = blocks(
        kinds + drafts.feedforward,
        dense=lambda: mlp(c),
        moe=lambda: experts(c, shared=c.count("share_expert_dim", low=0), router=router),
    )
    return decoder(c, attention, made, layers=pairs(names, kinds), draft=drafts)


def drafting(c: Config, count: Known) -> Drafts:
    """Layers that draft are dense, with a head each. Which of them slide stands after the model's layers in the list, or beside it."""
    named = {FULL: "full", SLIDING: "local"}
    beside, listed = c.words("mtp_layer_types", known=named), c.words("layer_types", known=named) or []
    blocks = c.words("mtp_mlp_layer_types", known=("dense", "sparse")) or []
    many = c.maybe(*DRAFTED, low=0, high=MAX_DRAFTED) or 0
    said = [named[word] for word in (beside or listed[count:])[:many]]
    return undrafted(c) if len(said) < many or "sparse" in blocks else drafted(c, said, "dense", own_head=True)


def queries_from_one(c: Config) -> dict[str, Any]:
    """Step-3's multi-matrix factorised attention. The config's one group is the class's, too."""
    groups = c.count("num_attention_groups", "num_key_value_heads", default=1)
    return grouped_query(c, num_key_value_heads=groups, head_dim=c.count("head_dim"), q_lora_rank=c.count("share_q_dim"))


def gated(c: Config, **more: Any) -> dict[str, Any]:
    """A layer of Step-3.5."""
    bias = c.flag("attention_bias")
    c.must("use_head_wise_attn_gate", True)
    c.must("gating", True, "per-head")
    said = {"num_key_value_heads": c.count("num_attention_groups", "num_key_value_heads"), "head_dim": c.count("head_dim")}
    return grouped_query(c, **(said | more), qkv_bias=bias, o_bias=bias, qk_norm=True, output_gate="per_head")


def sliding(c: Config) -> dict[str, Any]:
    """A layer of Step-3.5 with a window: `attention_other_setting` says its heads."""
    other = c.maybe_section("attention_other_setting")
    window = c.window("sliding_window")
    if window is None:
        raise c.refuse("sliding_window", "is not in the config, and there are layers that slide")
    if other is None:
        c.caveat(
            "The config has no attention_other_setting; as in its class, layers that slide have the query heads of the others."
        )
        heads = c.maybe("num_sliding_attention_heads") or c.count("num_attention_heads")
        return gated(c, num_attention_heads=heads, window=window)
    other.must("attention_type", SLIDING)
    said = {
        "num_key_value_heads": other.maybe("num_attention_groups", "num_key_value_heads"),
        "head_dim": other.maybe("head_dim"),
    }
    own = {name: value for name, value in said.items() if value is not None}
    return gated(c, num_attention_heads=other.count("num_attention_heads"), window=window, **own)
