"""InfLLM v2: grouped-query attention that is dense below `dense_len` tokens, then reads a few blocks, chosen by pooled keys.

Keeps     per token one key and one value of `num_key_value_heads x head_dim`; a mean of `kernel_size` keys every `kernel_stride` tokens,
          and one of four times as many every four strides
Formula   bytes/token/layer = num_key_value_heads x head_dim x (2 + 1 / kernel_stride + 1 / (4 x kernel_stride)) x bytes/element
Worked    minicpm-sala, bf16, growth: 8 x 2 x 128 x (2 + 1 / 16 + 1 / 64) x 2 = 8,512 bytes
Omits     softmax and rotary embeddings in the FLOPs; the means themselves, and the keys that they read again
Assumes   each KV head reads topk blocks and those of the window, the first init_blocks among the former; all query heads score both kinds
          of means; the means are kept from the start, and read from dense_len on; no weights of its own
Used by   MiniCPM4, MiniCPM4.1, MiniCPM-SALA (its attention layers)
Source    InfLLM v2, arXiv:2509.24663; MiniCPM4, arXiv:2506.07900; SGLang 0.5.23 layers/attention/minicpm
"""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, model_validator

from kvcalc.kind import Count, Row, Site, Tokens, Weight, Work
from kvcalc.projections import SparseGroupedQuery
from kvcalc.slots import EVERY, NONE, EveryNth, From, Law, newest_blocks

COARSE = 4
"""Kernels of the second kind of means are so many times as long, and so many times as far apart."""


class InfLLM2(SparseGroupedQuery):
    kind: Literal["infllm2"]
    kernel_size: Tokens = Field(description="Keys of a mean [tokens]")
    kernel_stride: Tokens = Field(description="Tokens from one mean to the next [tokens]")
    block_size: Tokens = Field(description="Tokens of a block [tokens]")
    window_size: Tokens = Field(description="Last tokens whose blocks are always read [tokens]")
    topk: Count = Field(description="Blocks that a query chooses, the first ones included")
    dense_len: Tokens = Field(description="Below so many tokens all are read [tokens]")

    @model_validator(mode="after")
    def _consistent(self) -> "InfLLM2":
        if self.kernel_size < self.kernel_stride:
            raise ValueError(f"kernel_size {self.kernel_size} is less than kernel_stride {self.kernel_stride}")
        if self.window_size % self.block_size:
            raise ValueError(f"window_size {self.window_size} is not a multiple of block_size {self.block_size}")
        return self

    def _sparse(self, law: Law, dense: Law) -> Law:
        return From(self.dense_len, dense, law)

    @property
    def chosen(self) -> Law:
        """The tokens that one query reads."""
        return self._sparse(newest_blocks(self.topk + self.window_size // self.block_size, self.block_size), EVERY)

    @property
    def means(self) -> dict[str, Law]:
        """Means of keys: a kernel's first one is made once it is full."""
        beyond = self.kernel_size - self.kernel_stride
        return {
            "index_key": EveryNth(self.kernel_stride, after=beyond),
            "index_key_coarse": EveryNth(COARSE * self.kernel_stride, after=COARSE * beyond),
        }

    def without(self, site: Site) -> dict[str, dict[str, Any]]:
        return {"indexer": self.dense_heads()}

    def rows(self, site: Site) -> Iterator[Row]:
        yield from self.grouped_rows(EVERY, self.chosen)
        for name, held in self.means.items():
            read = self._sparse(held, NONE)
            yield Row(name, "index", self.kv_width, held, read, piece="indexer", split=self.num_key_value_heads)

    def weights(self, site: Site) -> Iterator[Weight]:
        yield from self.sparse_weights(site)

    def work(self, site: Site) -> Iterator[Work]:
        yield from self.grouped_work(self.chosen)
        for name, held in self.means.items():
            scored = self._sparse(held, NONE)
            yield Work(
                f"{name} scores",
                "indexer",
                2 * self.query_width,
                scored,
                "indexer",
                operand=name,
                split=self.num_attention_heads,
            )
