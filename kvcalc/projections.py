"""Weight layouts that several attention kinds share: low-rank queries, MLA's latent projections, the sparse indexer's, grouped output."""

from collections.abc import Iterator
from typing import Any

from kvcalc.kind import Weight, vector


def low_rank_query(hidden_size: int, q_lora_rank: int, heads: int, query_width: int) -> Iterator[Weight]:
    """hidden -> q_lora_rank -> heads x head width, with a norm between. Source: DeepSeek-V2, arXiv:2405.04434, section 2.1.2."""
    yield Weight("q_a_proj", "attention", (q_lora_rank, hidden_size))
    yield vector("q_a_norm", "norms", q_lora_rank)
    yield Weight("q_b_proj", "attention", (query_width, q_lora_rank), split=heads)


def mla_projections(
    hidden_size: int,
    num_attention_heads: int,
    q_lora_rank: int | None,
    kv_lora_rank: int,
    qk_nope_head_dim: int,
    qk_rope_head_dim: int,
    v_head_dim: int,
) -> Iterator[Weight]:
    """Multi-head latent attention. Absorbed or not, `kv_b_proj` is used once per token. Source: DeepSeek-V2, section 2.1."""
    query_width = num_attention_heads * (qk_nope_head_dim + qk_rope_head_dim)
    if q_lora_rank is None:
        yield Weight("q_proj", "attention", (query_width, hidden_size), split=num_attention_heads)
    else:
        yield from low_rank_query(hidden_size, q_lora_rank, num_attention_heads, query_width)
    yield Weight("kv_a_proj", "attention", (kv_lora_rank + qk_rope_head_dim, hidden_size))
    yield vector("kv_a_norm", "norms", kv_lora_rank)
    expanded = num_attention_heads * (qk_nope_head_dim + v_head_dim)
    yield Weight("kv_b_proj", "attention", (expanded, kv_lora_rank), split=num_attention_heads)
    yield Weight("o_proj", "attention", (hidden_size, num_attention_heads * v_head_dim), split=num_attention_heads)


def expanded_heads(heads: int, head_dim: int, v_head_dim: int, q_lora_rank: int | None) -> dict[str, Any]:
    """Multi-head attention of the same heads: what a latent replaced. Source: DeepSeek-V2, arXiv:2405.04434, section 2.1."""
    return {
        "kind": "gqa",
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "head_dim": head_dim,
        "v_head_dim": v_head_dim,
        "q_lora_rank": q_lora_rank,
    }


def one_shared_key(heads: int, head_dim: int, q_lora_rank: int, o_groups: int, o_lora_rank: int) -> dict[str, dict[str, Any]]:
    """DeepSeek-V4's attention to every token, without one of its tricks: that all heads share a key, or that it is the value too."""
    shared = {
        "kind": "gqa",
        "num_attention_heads": heads,
        "num_key_value_heads": 1,
        "head_dim": head_dim,
        "attention_k_eq_v": True,
        "store_k_eq_v_once": True,
        "q_lora_rank": q_lora_rank,
        "o_groups": o_groups,
        "o_lora_rank": o_lora_rank,
        "learned_sinks": True,
    }
    return {
        "gqa": shared | {"num_key_value_heads": heads},
        "key-is-value": shared | {"attention_k_eq_v": False, "store_k_eq_v_once": False},
    }


def grouped_output(hidden_size: int, o_groups: int, o_lora_rank: int, value_width: int) -> Iterator[Weight]:
    """Each group of heads to o_lora_rank, and all of these to hidden. Source: DeepSeek-V4, arXiv:2606.19348, section 2.3."""
    yield Weight("o_a_proj", "attention", (o_groups * o_lora_rank, value_width // o_groups), split=o_groups)
    yield Weight("o_b_proj", "attention", (hidden_size, o_groups * o_lora_rank), split=o_groups)


def shared_key_attention(
    hidden_size: int,
    num_attention_heads: int,
    head_dim: int,
    q_lora_rank: int,
    o_groups: int,
    o_lora_rank: int,
) -> Iterator[Weight]:
    """DeepSeek-V4: low-rank queries, one key that is also the value, sinks, output in groups. Source: arXiv:2606.19348, section 2.3."""
    query_width = num_attention_heads * head_dim
    yield from low_rank_query(hidden_size, q_lora_rank, num_attention_heads, query_width)
    yield Weight("kv_proj", "attention", (head_dim, hidden_size))
    yield vector("kv_norm", "norms", head_dim)
    yield vector("sinks", "attention", num_attention_heads, split=num_attention_heads)
    yield from grouped_output(hidden_size, o_groups, o_lora_rank, query_width)


def indexer_queries(hidden_size: int, q_lora_rank: int, index_n_heads: int, index_head_dim: int) -> Iterator[Weight]:
    """The indexer's queries (from the low-rank query) and its weight per head. Engines keep the whole indexer on every device."""
    yield Weight("index_q_proj", "indexer", (index_n_heads * index_head_dim, q_lora_rank))
    yield Weight("index_weights_proj", "indexer", (index_n_heads, hidden_size))


def indexer_flops(index_n_heads: int, index_head_dim: int) -> int:
    """FLOPs to score one key: a dot product per head, then the weighted sum over the heads."""
    return index_n_heads * (2 * index_head_dim + 2)
