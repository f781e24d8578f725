"""Sparse attention over regions (Step 5's CSA): grouped-query attention whose queries read a few regions, chosen by their summaries.

Keeps     per token one key and one value of `num_key_value_heads x head_dim`; per `region_block_size` tokens one summary of `proxy_dim`;
          the index key and the weight (z) of the tokens in the open region
Formula   bytes/token/layer = 2 x num_key_value_heads x head_dim x bytes/element + proxy_dim / region_block_size x bytes/element
Worked    step-5-preview, native, growth: 23 x (2 x 4 x 192 x 2 + 256 / 8) = 71,392 bytes
Omits     softmax, norms, rotary embeddings and the pooling's weighted sum in the FLOPs
Assumes   each KV head reads topk closed regions and the newest one; a summary is scored once its region is closed; ssmax_s is stored, and
          no engine known uses it
Used by   Step 5
Source    vLLM 0.33.0 models/step5; StepFun's tensors of Step-5-Preview
"""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from kvcalc.kind import Count, Row, Site, Tokens, Weight, Width, Work, vector
from kvcalc.projections import SparseGroupedQuery, indexer_flops, indexer_queries
from kvcalc.slots import EVERY, Closing, EveryNth, Law, OpenTail, newest_blocks


class BlockSummary(SparseGroupedQuery):
    kind: Literal["block_summary"]
    sparse_indexer_num_heads: Count = Field(description="Query heads of the indexer, as many for each KV head, over one key")
    proxy_dim: Width = Field(description="Width of a summary [elements]")
    region_block_size: Tokens = Field(description="Tokens of a region [tokens]")
    topk: Count = Field(description="Closed regions that a query chooses")
    ssmax_s: bool = Field(False, description="A stored scale per query head")

    @property
    def chosen(self) -> Law:
        """The tokens that one query reads: those of the chosen regions and of the newest one."""
        return newest_blocks(self.topk + 1, self.region_block_size)

    def without(self, site: Site) -> dict[str, dict[str, Any]]:
        return {"indexer": self.dense_heads()}

    def rows(self, site: Site) -> Iterator[Row]:
        m, regions = self.region_block_size, EveryNth(self.region_block_size)
        yield from self.grouped_rows(EVERY, self.chosen)
        yield Row("index_summary", "index", self.proxy_dim, regions, regions, piece="indexer")
        yield Row("index_open_region", "buffer", 2 * self.proxy_dim, OpenTail(m), Closing(m, m), piece="indexer")

    def weights(self, site: Site) -> Iterator[Weight]:
        yield from self.sparse_weights(site)
        d, heads, kv_heads = site.hidden_size, self.sparse_indexer_num_heads, self.num_key_value_heads
        yield from indexer_queries(d, d, heads, self.proxy_dim, split=kv_heads)
        yield Weight("index_k_proj", "indexer", (self.proxy_dim, d))
        yield Weight("index_z_proj", "indexer", (self.proxy_dim, d))
        yield vector("index_q_norm", "indexer", self.proxy_dim)
        yield vector("index_k_norm", "indexer", self.proxy_dim, copies=2)
        if self.ssmax_s:
            yield vector("ssmax_s", "attention", self.num_attention_heads, split=self.num_attention_heads)

    def work(self, site: Site) -> Iterator[Work]:
        yield from self.grouped_work(self.chosen)
        flops, kv_heads = indexer_flops(self.sparse_indexer_num_heads, self.proxy_dim), self.num_key_value_heads
        regions = EveryNth(self.region_block_size)
        yield Work("index scores", "indexer", flops, regions, "indexer", operand="index_summary", split=kv_heads)
