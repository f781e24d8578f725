"""Qwen sparse attention (QSA): grouped-query attention whose queries read a few groups of tokens, chosen by pooled index keys.

Keeps     per token one key and one value of `num_key_value_heads x head_dim`; per `indexer_compress_ratio` tokens one index key of
          `indexer_head_dim`; the raw index keys of the open group
Formula   bytes/token/layer = (2 x num_key_value_heads x head_dim + indexer_head_dim / indexer_compress_ratio) x bytes/element
Worked    qwen3.8-flash-next, bf16, growth: 12 x (2 x 2 x 256 + 128 / 4) x 2 = 25,344 bytes
Omits     softmax, norms, rotary embeddings, the mean over a group and the sum over the indexer's heads in the FLOPs
Assumes   indexer_budget / indexer_compress_ratio closed groups are chosen, and the open group is always read; an engine's layout (the
          reference keeps the raw index key of every token, and pools anew at each step)
Used by   Qwen3.8-Flash-Next
Source    transformers models/qwen4_exp; vLLM 0.33.0 models/qwen4_exp
"""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, model_validator

from kvcalc.kind import Count, Row, Site, Tokens, Weight, Width, Work, vector
from kvcalc.projections import SparseGroupedQuery
from kvcalc.slots import EVERY, Closing, EveryNth, Law, OpenTail, closed_blocks


class QSA(SparseGroupedQuery):
    kind: Literal["qsa"]
    indexer_n_heads: Count = Field(description="Query heads of the indexer, over one key")
    indexer_head_dim: Width = Field(description="Width of a pooled index key [elements]")
    indexer_budget: Tokens = Field(description="Tokens of the groups that a query chooses [tokens]")
    indexer_compress_ratio: Count = Field(description="Tokens of a group [tokens]")

    @model_validator(mode="after")
    def _consistent(self) -> "QSA":
        if self.indexer_budget % self.indexer_compress_ratio:
            raise ValueError(
                f"indexer_budget {self.indexer_budget} is not a multiple of indexer_compress_ratio {self.indexer_compress_ratio}"
            )
        return self

    @property
    def chosen(self) -> Law:
        """The tokens that one query reads: those of the chosen groups and of the open one."""
        return closed_blocks(self.indexer_budget // self.indexer_compress_ratio, self.indexer_compress_ratio)

    def without(self, site: Site) -> dict[str, dict[str, Any]]:
        return {"indexer": self.dense_heads()}

    def rows(self, site: Site) -> Iterator[Row]:
        m, groups = self.indexer_compress_ratio, EveryNth(self.indexer_compress_ratio)
        yield from self.grouped_rows(EVERY, self.chosen)
        yield Row("index_key", "index", self.indexer_head_dim, groups, groups, piece="indexer")
        yield Row("index_open_group", "buffer", self.indexer_head_dim, OpenTail(m), Closing(m, m), piece="indexer")

    def weights(self, site: Site) -> Iterator[Weight]:
        yield from self.sparse_weights(site)
        yield Weight("index_q_proj", "indexer", (self.indexer_n_heads * self.indexer_head_dim, site.hidden_size))
        yield Weight("index_k_proj", "indexer", (self.indexer_head_dim, site.hidden_size))
        yield vector("index_q_norm", "indexer", self.indexer_head_dim)
        yield vector("index_k_norm", "indexer", self.indexer_head_dim)

    def work(self, site: Site) -> Iterator[Work]:
        yield from self.grouped_work(self.chosen)
        groups = EveryNth(self.indexer_compress_ratio)
        yield Work(
            "index scores", "indexer", 2 * self.indexer_n_heads * self.indexer_head_dim, groups, "indexer", operand="index_key"
        )
