"""GLM-5.3-Flash: Kimi delta attention, and in every fourth layer latent attention without rotary embedding whose indexer scores pools of
tokens. Hyper-connections, whose streams are averaged in the end."""

from typing import Any

from kvcalc.importers.config import Config
from kvcalc.importers.hf.glm_moe_dsa import OWN, SPARSE, indexers, v3_blocks, with_indexer
from kvcalc.importers.hf.kimi_linear import delta_attention
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import (
    FULL,
    LINEAR,
    blocks,
    decoder,
    depth,
    drafted,
    every,
    layer_types,
    moe_after_dense,
    pairs,
    residual,
)

TYPES = ("glm5_next_text", "glm5_next")
DENSE_FIRST, PERIOD = 3, 4
NAMES = {LINEAR: "linear", FULL: "sparse"} | SPARSE
LISTS = {"kda_layers": "linear", "full_attn_layers": "sparse"}
"""The two lists beside `layer_types`; they count from 0."""


def read(c: Config) -> Layout:
    for name in ("mhc", "mla_use_nope", "index_kpool_compress", "index_kpool_always_select_tail"):
        c.must(name, True)
    c.must("qk_rope_head_dim", 0)
    c.ignore("index_share_for_mtp_iteration", "indexer_rope_interleave", "linear_lower_bound")
    c.ignore("hc_sinkhorn_iters", "linear_num_heads", "linear_head_dim", "linear_conv_kernel_dim")
    count, lists = depth(c), c.maybe_section("linear_attn_config")
    names = attention_names(c, lists, count)
    if not c.has("mlp_layer_types"):
        c.must("first_k_dense_replace", DENSE_FIRST)
        c.caveat(f"The config does not say which layers have experts; as in its class, all but the first {DENSE_FIRST}.")
    kinds = moe_after_dense(c, count, default=DENSE_FIRST)
    drafts = drafted(c, "sparse", kinds[-1], residual=residual(2))
    attention = blocks(names + drafts.attention, linear=lambda: linear(c, lists), sparse=lambda: pooled(c))
    if lists is not None:
        lists.settle()
    return decoder(
        c,
        attention,
        v3_blocks(c, kinds),
        layers=pairs(names, kinds),
        residual={"kind": "mhc", "hc_mult": c.count("hc_mult"), "head": False},
        state={"index_open_pool": "bf16"} if "sparse" in names else {},
        draft=drafts,
    )


def attention_names(c: Config, lists: Config | None, count: int) -> list[str]:
    """`linear` or `sparse` for each layer. Layers whose indexer is another's are refused, and lists that say otherwise."""
    if not c.has("layer_types"):
        c.caveat(f"The config does not say which layers are linear; as in its class, all but every {PERIOD}th.")
    names = layer_types(c, count, NAMES, every(PERIOD, LINEAR, FULL))
    for field, name in LISTS.items():
        listed = None if lists is None else lists.numbers(field, high=count - 1)
        if lists is not None and listed is not None and listed != [place for place in range(count) if names[place] == name]:
            raise lists.refuse(field, "says other layers than layer_types")
    for place, indexer in enumerate(indexers(c, count)):
        if names[place] == "sparse" and indexer != OWN:
            raise c.refuse(f"indexer_types[{place}]", "a pooled indexer that is another layer's is not understood")
    return names


def linear(c: Config, lists: Config | None) -> dict[str, Any]:
    """Kimi delta attention. The bound of its gate sizes nothing."""
    if lists is not None:
        lists.must("use_full_rank_gate", False)
        lists.ignore("safe_gate")
    return delta_attention(c, lists)


def pooled(c: Config) -> dict[str, Any]:
    """Latent attention whose indexer has one key for `index_kpool` tokens."""
    return {**with_indexer(c), "kind": "kpool_dsa", "index_kpool": c.count("index_kpool")}
