"""DeepSeek sparse attention (DSA): MLA whose queries read only the `index_topk` tokens that an indexer chooses.

Keeps     per token MLA's latent and RoPE key, and one index key of `index_head_dim`
Formula   bytes/token/layer = (kv_lora_rank + qk_rope_head_dim + index_head_dim) x bytes/element
Worked    deepseek-v3.2, bf16, growth: 61 x (512 + 64 + 128) x 2 = 85,888 bytes
Omits     softmax, norms and rotary embeddings in the FLOPs; the Hadamard rotation of the index keys
Assumes   the indexer scores every token; the core is absorbed in both phases (each query has its own token set); dense below index_topk
Used by   DeepSeek-V3.2
Source    DeepSeek-V3.2, arXiv:2512.02556; storage: vLLM fp8_ds_mla (656 bytes) and its 132-byte index key
"""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from kvcalc.kind import Attention, Count, Row, Site, Tokens, Weight, Width, Work, vector
from kvcalc.projections import indexer_flops, indexer_queries, mla_projections
from kvcalc.slots import EVERY, Top


class DSA(Attention):
    kind: Literal["dsa"]
    num_attention_heads: Count = Field(description="Query heads")
    q_lora_rank: Width = Field(description="Width of the query latent, which the indexer reads too [elements]")
    kv_lora_rank: Width = Field(description="Width of the cached latent [elements]")
    qk_nope_head_dim: Width = Field(description="Width of a head's part without rotary embedding [elements]")
    qk_rope_head_dim: Width = Field(description="Width of the cached RoPE key [elements]")
    v_head_dim: Width = Field(description="Width of a value head [elements]")
    index_n_heads: Count = Field(description="Query heads of the indexer")
    index_head_dim: Width = Field(description="Width of the cached index key [elements]")
    index_topk: Tokens = Field(description="Tokens that a query reads [tokens]")

    def without(self, site: Site) -> dict[str, dict[str, Any]]:
        index = {"kind", "index_n_heads", "index_head_dim", "index_topk"}
        return {"indexer": {"kind": "mla"} | self.model_dump(exclude_none=True, exclude=index)}

    def rows(self, site: Site) -> Iterator[Row]:
        chosen = Top(self.index_topk, EVERY)
        yield Row("latent", "kv", self.kv_lora_rank, EVERY, chosen)
        yield Row("rope_key", "kv", self.qk_rope_head_dim, EVERY, chosen)
        yield Row("index_key", "index", self.index_head_dim, EVERY, EVERY, piece="indexer")

    def weights(self, site: Site) -> Iterator[Weight]:
        yield from mla_projections(
            site.hidden_size,
            self.num_attention_heads,
            self.q_lora_rank,
            self.kv_lora_rank,
            self.qk_nope_head_dim,
            self.qk_rope_head_dim,
            self.v_head_dim,
        )
        yield from indexer_queries(site.hidden_size, self.q_lora_rank, self.index_n_heads, self.index_head_dim)
        yield Weight("index_k_proj", "indexer", (self.index_head_dim, site.hidden_size))
        yield vector("index_k_norm", "indexer", self.index_head_dim, copies=2)

    def work(self, site: Site) -> Iterator[Work]:
        chosen, heads = Top(self.index_topk, EVERY), self.num_attention_heads
        yield Work("scores", "attention", 2 * heads * (self.kv_lora_rank + self.qk_rope_head_dim), chosen, "score", split=heads)
        yield Work("value mix", "attention", 2 * heads * self.kv_lora_rank, chosen, "mix", split=heads)
        yield Work(
            "index scores",
            "indexer",
            indexer_flops(self.index_n_heads, self.index_head_dim),
            EVERY,
            "indexer",
            operand="index_key",
        )
