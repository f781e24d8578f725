"""MiniMax sparse attention (MSA): grouped-query attention whose queries read a few blocks, chosen by index keys of every token.

Keeps     per token one key and one value of `num_key_value_heads x head_dim`, and one index key of `index_head_dim`
Formula   bytes/token/layer = (2 x num_key_value_heads x head_dim + index_head_dim) x bytes/element
Worked    minimax-m3, bf16, growth: 57 x (2 x 4 x 128 + 128) x 2 = 131,328 bytes
Omits     softmax, norms, rotary embeddings and the maximum over a block's scores in the FLOPs
Assumes   each KV head reads index_topk_blocks blocks of index_block_size tokens; the newest block and the other local ones are always
          among them; the indexer scores every token with all its heads
Used by   MiniMax-M3
Source    transformers models/minimax_m3_vl; vLLM 0.33.0 models/minimax_m3
"""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from kvcalc.kind import Count, Row, Site, Tokens, Weight, Width, Work, vector
from kvcalc.projections import SparseGroupedQuery
from kvcalc.slots import EVERY, Law, newest_blocks


class MSA(SparseGroupedQuery):
    kind: Literal["msa"]
    index_n_heads: Count = Field(description="Query heads of the indexer, one for each KV head")
    index_head_dim: Width = Field(description="Width of the cached index key [elements]")
    index_block_size: Tokens = Field(description="Tokens of a block [tokens]")
    index_topk_blocks: Count = Field(description="Blocks that a query reads, the local ones included")

    @property
    def chosen(self) -> Law:
        """The tokens that one query reads."""
        return newest_blocks(self.index_topk_blocks, self.index_block_size)

    def without(self, site: Site) -> dict[str, dict[str, Any]]:
        return {"indexer": self.dense_heads()}

    def rows(self, site: Site) -> Iterator[Row]:
        yield from self.grouped_rows(EVERY, self.chosen)
        yield Row("index_key", "index", self.index_head_dim, EVERY, EVERY, piece="indexer")

    def weights(self, site: Site) -> Iterator[Weight]:
        yield from self.sparse_weights(site)
        heads, width, d = self.index_n_heads, self.index_head_dim, site.hidden_size
        yield Weight("index_q_proj", "indexer", (heads * width, d), split=heads, uneven="repeat")
        yield Weight("index_k_proj", "indexer", (width, d))
        yield vector("index_q_norm", "indexer", width)
        yield vector("index_k_norm", "indexer", width)

    def work(self, site: Site) -> Iterator[Work]:
        yield from self.grouped_work(self.chosen)
        heads, flops = self.index_n_heads, 2 * self.index_n_heads * self.index_head_dim
        yield Work("index scores", "indexer", flops, EVERY, "indexer", operand="index_key", split=heads)
