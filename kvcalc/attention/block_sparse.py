"""Static block-sparse attention: grouped-query attention over the last blocks and every n-th block before them, shifted from head to head.

Keeps     per token one key and one value of `num_key_value_heads x head_dim`
Formula   bytes/token/layer = 2 x num_key_value_heads x head_dim x bytes/element
Worked    phi-3-small-8k, bf16, growth: 16 x 2 x 8 x 128 x 2 = 65,536 bytes
Omits     softmax and rotary embeddings in the FLOPs
Assumes   every token is kept, as engines do; before the last blocksparse_num_local_blocks blocks a query head reads one block of
          blocksparse_vert_stride, and a KV head those of all its query heads, once
Used by   Phi-3-small (every other layer)
Source    Phi-3, arXiv:2404.14219; mlx-lm 0.32.2 models/phi3small
"""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, model_validator

from kvcalc.kind import Count, Row, Site, Tokens, Weight, Work
from kvcalc.projections import SparseGroupedQuery
from kvcalc.slots import EVERY, Each, EveryNth, Law, Sum, newest_blocks


class BlockSparse(SparseGroupedQuery):
    kind: Literal["block_sparse"]
    blocksparse_block_size: Tokens = Field(description="Tokens of a block [tokens]")
    blocksparse_num_local_blocks: Count = Field(description="Last blocks that every query reads, the newest included")
    blocksparse_vert_stride: Count = Field(description="Of so many blocks before them a query head reads one")

    @model_validator(mode="after")
    def _consistent(self) -> "BlockSparse":
        stride, group = self.blocksparse_vert_stride, self.heads_per_group
        if self.num_attention_heads % stride or (stride % group and group % stride):
            raise ValueError(f"blocksparse_vert_stride {stride} does not go evenly into the query heads, {group} for a KV head")
        if self.blocksparse_block_size % stride:
            raise ValueError(
                f"blocksparse_block_size {self.blocksparse_block_size} is not a multiple of blocksparse_vert_stride {stride}"
            )
        return self

    @property
    def heads_per_group(self) -> int:
        return self.num_attention_heads // self.num_key_value_heads

    def _read(self, heads: int) -> Law:
        """The tokens that so many neighbouring query heads read together, in the mean over the heads of a layer."""
        block, local, stride = self.blocksparse_block_size, self.blocksparse_num_local_blocks, self.blocksparse_vert_stride
        far = EveryNth(block, after=(local - 1) * block + 1)
        blocks_of_a_stride = heads if heads < stride else stride
        return Sum((newest_blocks(local, block), Each(block // stride * blocks_of_a_stride, far)))

    def without(self, site: Site) -> dict[str, dict[str, Any]]:
        return {"window": self.dense_heads()}

    def rows(self, site: Site) -> Iterator[Row]:
        yield from self.grouped_rows(EVERY, self._read(self.heads_per_group))

    def weights(self, site: Site) -> Iterator[Weight]:
        yield from self.sparse_weights(site)

    def work(self, site: Site) -> Iterator[Work]:
        yield from self.grouped_work(self._read(1))
