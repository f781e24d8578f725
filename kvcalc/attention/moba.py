"""Mixture of block attention (MoBA): grouped-query attention whose queries read a few blocks, chosen by the mean of each block's keys.

Keeps     per token one key and one value of `num_key_value_heads x head_dim`; per `moba_block_size` tokens the mean of their keys
Formula   bytes/token/layer = num_key_value_heads x head_dim x (2 + 1 / moba_block_size) x bytes/element
Worked    ring-mini-sparse-2.0, bf16, growth: 20 x 4 x 128 x (2 + 1 / 1024) x 2 = 40,980 bytes
Omits     softmax, norms and rotary embeddings in the FLOPs; the means themselves, and the keys that they read again
Assumes   a decode chooses too, with means kept beside the cache (the paper's models decode densely and choose in a prefill only); the
          query heads of a KV head read the same moba_topk blocks, the newest among them; every query head scores each closed block's mean
Used by   Ring-mini-sparse-2.0; Kimi (research)
Source    MoBA, arXiv:2502.13189; Ring-mini-sparse-2.0-exp's card
"""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from kvcalc.kind import Count, Row, Site, Tokens, Weight, Work
from kvcalc.projections import SparseGroupedQuery
from kvcalc.slots import EVERY, EveryNth, Law, newest_blocks


class MoBA(SparseGroupedQuery):
    kind: Literal["moba"]
    moba_block_size: Tokens = Field(description="Tokens of a block [tokens]")
    moba_topk: Count = Field(description="Blocks that a query reads, the newest included")

    @property
    def chosen(self) -> Law:
        """The tokens that one query reads."""
        return newest_blocks(self.moba_topk, self.moba_block_size)

    def without(self, site: Site) -> dict[str, dict[str, Any]]:
        return {"indexer": self.dense_heads()}

    def rows(self, site: Site) -> Iterator[Row]:
        means = EveryNth(self.moba_block_size)
        yield from self.grouped_rows(EVERY, self.chosen)
        yield Row("index_key", "index", self.kv_width, means, means, piece="indexer", split=self.num_key_value_heads)

    def weights(self, site: Site) -> Iterator[Weight]:
        yield from self.sparse_weights(site)

    def work(self, site: Site) -> Iterator[Work]:
        yield from self.grouped_work(self.chosen)
        heads, means = self.num_attention_heads, EveryNth(self.moba_block_size)
        yield Work("index scores", "indexer", 2 * self.query_width, means, "indexer", operand="index_key", split=heads)
