"""GLM-5 to 5.3: DeepSeek-V3's layer with an indexer, which some layers take over from the last one that has one of its own."""

from typing import Any

from kvcalc.importers.config import Config, Known, number
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import (
    SIGMOID_ROUTER,
    blocks,
    decoder,
    depth,
    drafted,
    experts,
    indexed,
    latent,
    layer_types,
    mlp,
    moe_after_dense,
    pairs,
)

TYPES = ("glm_moe_dsa",)
OWN, TAKEN = "full", "shared"
LETTERS = {"F": OWN, "S": TAKEN}
SPARSE = dict.fromkeys(("indexed_attention", "deepseek_sparse_attention"), "sparse")
DENSE_FIRST, OFFSET = 3, 2


def read(c: Config) -> Layout:
    count = depth(c)
    all_sparse(c, count)
    names = indexers(c, count)
    kinds = dense_first(c, count, DENSE_FIRST)
    part = with_indexer(c)
    drafts = drafted(c, OWN, kinds[-1])
    if drafts.layers and c.flag("index_share_for_mtp_iteration"):
        c.caveat(
            "The layer for multi-token prediction chooses tokens for its first guess; the guesses after it read the same ones."
        )
    return decoder(c, choices(names, part), v3_blocks(c, kinds), layers=pairs(names, kinds), draft=drafts)


def with_indexer(c: Config, **more: Any) -> dict[str, Any]:
    """Latent attention with a low-rank query and an indexer."""
    return indexed(c, latent(c, q_lora_rank=c.count("q_lora_rank"), attention_bias=c.flag("attention_bias"), **more))


def choices(names: list[str], part: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The same attention with an indexer of its own, and with another layer's choice, as far as some layer has it."""
    return blocks(names, full=lambda: part, shared=lambda: {**part, "indexer_type": TAKEN})


def all_sparse(c: Config, count: int) -> None:
    """Every layer has sparse attention, or the config is refused."""
    layer_types(c, count, SPARSE, lambda _: "indexed_attention")
    c.ignore("index_share_for_mtp_iteration", "indexer_rope_interleave")


def indexers(c: Config, count: int) -> list[str]:
    """`full` or `shared` for each layer: as listed; else by the letters of a pattern; else in every `index_topk_freq`-th layer from
    `index_skip_topk_offset` - 1 on, and in all before."""
    said = c.words("indexer_types", known=(OWN, TAKEN), length=count, longer=True)
    if said is None:
        said = _pattern(c, count)
    if said is None:
        period = max(c.maybe("index_topk_freq", low=0) or 1, 1)
        first = c.count("index_skip_topk_offset", default=OFFSET, low=0) if period > 1 else OFFSET
        said = [OWN if max(place - first + 1, 0) % period == 0 else TAKEN for place in range(count)]
    c.ignore("index_topk_pattern", "index_topk_freq", "index_skip_topk_offset")
    if said[0] != OWN:
        raise c.refuse("indexer_types", "the first layer has no indexer, and there is none before it")
    return said


def _pattern(c: Config, count: int) -> list[str] | None:
    name = "index_topk_pattern"
    if not isinstance(c.fields.get(name), str):
        return c.words(name, known=(OWN, TAKEN), length=count, longer=True)
    letters = c.text(name) or ""
    if len(letters) < count or set(letters) - set(LETTERS):
        raise c.refuse(name, f"must be {count:,} letters, each one of {', '.join(LETTERS)}")
    return [LETTERS[letter] for letter in letters[:count]]


def dense_first(c: Config, count: int, default: int) -> list[str]:
    """The block of each layer: as listed; else experts after the dense ones. The class's number of these is stated."""
    if not c.has("mlp_layer_types"):
        c.count("first_k_dense_replace", default=default, low=0)
    return moe_after_dense(c, count)


def shared(c: Config, *of: str) -> Known:
    """Width of the shared experts: how many x the width of one."""
    many, each = c.count("n_shared_experts", default=1, low=0), c.count(*(of or ("moe_intermediate_size",)))
    return number(many * each, f"{many.origin} x {each.origin}")


def v3_blocks(c: Config, kinds: list[str], **more: Any) -> dict[str, dict[str, Any]]:
    """Dense blocks, and DeepSeek-V3's experts with a shared one. `more`: what the experts have otherwise."""
    c.must("mlp_bias", False)
    c.must("scoring_func", "sigmoid")
    c.must("topk_method", "noaux_tc")
    c.ignore("moe_router_dtype")

    def routed() -> dict[str, Any]:
        said: dict[str, Any] = {"shared": shared(c), "router": SIGMOID_ROUTER} | more
        return experts(c, **said)

    return blocks(kinds, dense=lambda: mlp(c), moe=routed)
