"""DeepSeek sparse attention whose indexer scores pools: one index key for `index_kpool` tokens, and a chosen pool's tokens are read.

Keeps     per token MLA's latent (and RoPE key, where it has one); per `index_kpool` tokens one index key of `index_head_dim`; the key
          and gate of the tokens in the open pool
Formula   bytes/token/layer = (kv_lora_rank + qk_rope_head_dim + index_head_dim / index_kpool) x bytes/element
Worked    glm-5.3-flash, bf16, growth: 11 x (512 + 128 / 4) x 2 = 11,968 bytes
Omits     softmax, norms, rotary embeddings and the pooling's weighted sum in the FLOPs
Assumes   index_topk / index_kpool pools are chosen, and the open pool is always read; the core is absorbed in both phases; an engine's
          layout (the reference keeps key and gate of every token, and pools anew at each step)
Used by   GLM-5.3-Flash
Source    transformers models/glm5_next; vLLM 0.33.0 models/glm5next
"""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, model_validator

from kvcalc.kind import Count, Row, Site, Tokens, Weight, Width, Work
from kvcalc.projections import LatentAttention, indexer_flops, indexer_weights
from kvcalc.slots import EVERY, Closing, EveryNth, Law, OpenTail, closed_blocks


class KPoolDSA(LatentAttention):
    kind: Literal["kpool_dsa"]
    index_n_heads: Count = Field(description="Query heads of the indexer")
    index_head_dim: Width = Field(description="Width of a pooled index key [elements]")
    index_topk: Tokens = Field(description="Tokens of the pools that a query chooses [tokens]")
    index_kpool: Count = Field(description="Tokens of a pool [tokens]")

    @model_validator(mode="after")
    def _consistent(self) -> "KPoolDSA":
        if self.index_topk % self.index_kpool:
            raise ValueError(f"index_topk {self.index_topk} is not a multiple of index_kpool {self.index_kpool}")
        return self

    @property
    def chosen(self) -> Law:
        """The tokens that one query reads: those of the chosen pools and of the open one."""
        return closed_blocks(self.index_topk // self.index_kpool, self.index_kpool)

    def without(self, site: Site) -> dict[str, dict[str, Any]]:
        return {"indexer": self.dense_latent()}

    def rows(self, site: Site) -> Iterator[Row]:
        m, pools = self.index_kpool, EveryNth(self.index_kpool)
        yield from self.latent_rows(site, EVERY, self.chosen)
        yield Row("index_key", "index", self.index_head_dim, pools, pools, piece="indexer")
        yield Row("index_open_pool", "buffer", 2 * self.index_head_dim, OpenTail(m), Closing(m, m), piece="indexer")

    def weights(self, site: Site) -> Iterator[Weight]:
        yield from self.latent_weights(site)
        yield from indexer_weights(self, site, self.index_n_heads, self.index_head_dim)
        yield Weight("index_pool_gate_proj", "indexer", (self.index_head_dim, site.hidden_size))
        yield Weight("index_position_bias", "indexer", (self.index_kpool, self.index_head_dim), "vector")

    def work(self, site: Site) -> Iterator[Work]:
        yield from self.absorbed_work(self.chosen)
        flops = indexer_flops(self.index_n_heads, self.index_head_dim)
        yield Work("index scores", "indexer", flops, EveryNth(self.index_kpool), "indexer", operand="index_key")
