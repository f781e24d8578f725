"""MiniMax-M3: grouped-query attention with norms per head, and index keys in the layers that read chosen blocks only (MSA)."""

from typing import Any

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import (
    FULL,
    KV_HEADS,
    SIGMOID_ROUTER,
    blocks,
    decoder,
    depth,
    drafted,
    experts,
    grouped_query,
    layer_types,
    mlp,
    moe_after_dense,
    pairs,
)

TYPES = ("minimax_m3_vl_text", "minimax_m3_vl", "minimax_m3_text", "minimax_m3")
NAMES = {FULL: "full", "minimax_m3_sparse": "sparse"}
LONGER = {
    "index_n_heads": "sparse_num_index_heads",
    "index_head_dim": "sparse_index_dim",
    "index_block_size": "sparse_block_size",
    "index_topk_blocks": "sparse_topk_blocks",
}
"""Fields of the indexer, and what the section `sparse_attention_config` calls them."""


def read(c: Config) -> Layout:
    c.must("attention_output_gate", False)
    c.must("use_qk_norm", True)
    c.must("qk_norm_type", "per_head")
    c.must("scoring_func", "sigmoid")
    c.must("use_routing_bias", True)
    c.must("n_shared_experts", 1)
    c.ignore("num_nextn_predict_layers", "use_mtp", "use_gemma_norm", "swiglu_alpha", "index_local_blocks")
    count, section = depth(c), c.maybe_section("sparse_attention_config")
    names = attention_names(c, section, count)
    drafts = drafted(c, "sparse", "moe", fields=("num_mtp_modules",))
    attention = blocks(names + drafts.attention, full=lambda: heads(c), sparse=lambda: sparse(c, section))
    if section is not None and "sparse" in attention:
        section.settle()
    c.ignore(*LONGER)
    if not c.has("mlp_layer_types") and not isinstance(c.fields.get("moe_layer_freq"), list):
        raise c.refuse("moe_layer_freq", "is not in the config as a list, nor is mlp_layer_types")
    kinds = moe_after_dense(c, count)
    c.ignore(
        "first_k_dense_replace",
        "dense_intermediate_size",
        *(() if "moe" in kinds + drafts.feedforward else ("shared_intermediate_size",)),
    )

    def routed() -> dict[str, Any]:
        width = ("intermediate_size", "moe_intermediate_size")
        return experts(c, width=width, shared=c.count("shared_intermediate_size"), router=SIGMOID_ROUTER)

    made = blocks(kinds + drafts.feedforward, dense=lambda: mlp(c, "dense_intermediate_size"), moe=routed)
    return decoder(c, attention, made, layers=pairs(names, kinds), draft=drafts)


def attention_names(c: Config, section: Config | None, count: int) -> list[str]:
    """`full` or `sparse` for each layer: as listed, or those that are 1 in the section's list."""
    if section is not None and not c.has("layer_types"):
        section.must("use_sparse_attention", True)
        listed = section.numbers("sparse_attention_freq", length=count, high=1, longer=True)
        if listed is None:
            raise section.refuse("sparse_attention_freq", "is not in the config")
        return ["sparse" if word else "full" for word in listed]
    if section is not None:
        section.ignore("use_sparse_attention", "sparse_attention_freq")
    return layer_types(c, count, NAMES)


def heads(c: Config) -> dict[str, Any]:
    """Grouped-query attention with a norm for each head."""
    return grouped_query(c, num_key_value_heads=c.count(*KV_HEADS), head_dim=c.count("head_dim"), qk_norm=True)


def sparse(c: Config, section: Config | None) -> dict[str, Any]:
    """The same over the blocks that the indexer chooses."""
    part = {**heads(c), "kind": "msa"}
    if section is None:
        return part | {name: c.count(name) for name in LONGER}
    section.must("sparse_score_type", "max")
    section.must("sparse_init_block", 0)
    section.ignore("sparse_local_block")
    chosen, keys_alone = (section.numbers(name, high=1) or [] for name in ("sparse_attention_freq", "sparse_disable_index_value"))
    if any(one and not other for one, other in zip(chosen, keys_alone, strict=False)):
        raise section.refuse("sparse_disable_index_value", "an indexer with values is not understood")
    for name, other in LONGER.items():
        part[name] = section.count(other) if section.has(other) else c.count(name)
    return part
