"""DeepSeek-V4 attention: a short window in every layer, beside it compressed entries, sparse (CSA) or heavily compressed (HCA).

Keeps     min(t, window) rows of `head_dim` (one vector is key and value); one entry of `head_dim` per `compress_ratio` tokens;
          with an indexer one index key of `index_head_dim` per entry; the tokens of the open block, and of the block an entry overlaps
Formula   slots/layer = min(t, window) + floor(t/m); open block (t mod m) rows x 2 (kv and gate) x head_dim, twice as wide if overlapping
Worked    deepseek-v4-flash, bf16, growth: 21 x (512 + 128) x 2 / 4 + 20 x 512 x 2 / 128 = 6,880 bytes
Omits     softmax, norms, rotary embeddings and the pooling's weighted sum in the FLOPs
Assumes   the window's key is stored once (K = V); engines gather the chosen entries (the reference masks all of them);
          an entry serves a token once its block is closed
Used by   DeepSeek-V4-Flash, V4-Pro: sliding layers have no compress_ratio, CSA has 4 with overlap and an indexer, HCA has 128
Source    DeepSeek-V4, arXiv:2606.19348, section 2.3; transformers models/deepseek_v4
"""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, model_validator

from kvcalc.kind import Row, Site, Weight, Work, vector
from kvcalc.projections import SharedKeyAttention, indexer_flops, indexer_queries
from kvcalc.slots import Closing, LastBlock, OpenTail


class CSAHCA(SharedKeyAttention):
    kind: Literal["csa_hca"]
    overlap: bool = Field(False, description="An entry pools its own block and the one before")

    @model_validator(mode="after")
    def _consistent(self) -> "CSAHCA":
        if self.compress_ratio is None and (self.index_topk is not None or self.overlap):
            raise ValueError("overlap and an indexer need a compress_ratio")
        if self.compress_ratio is not None and self.window is None:
            raise ValueError("compressed entries stand beside a window")
        return self

    @property
    def streams_per_token(self) -> int:
        """An overlapping compressor keeps two vectors per token: one for its own block, one for the next."""
        return 2 if self.overlap else 1

    def without(self, site: Site) -> dict[str, dict[str, Any]]:
        dense: dict[str, Any] = {"index_n_heads": None, "index_head_dim": None, "index_topk": None}
        if self.compress_ratio is not None:
            found = {"compression": self._but(window=None, compress_ratio=None, overlap=False, **dense)}
            return found if self.index_topk is None else found | {"indexer": self._but(**dense)}
        if self.window is not None:
            return {"window": self._but(window=None)}
        return self.without_shared_key()

    def rows(self, site: Site) -> Iterator[Row]:
        yield Row("window", "kv", self.head_dim, self.visible, self.visible)
        if self.compress_ratio is None:
            return
        yield Row("entry", "kv", self.head_dim, self.entries, self.visible_entries)
        yield from self._buffers("", self.head_dim, "compressor")
        if self.index_head_dim is not None:
            yield Row("index_key", "index", self.index_head_dim, self.entries, self.entries, piece="indexer")
            yield from self._buffers("index_", self.index_head_dim, "indexer")

    def _buffers(self, prefix: str, width: int, piece: str) -> Iterator[Row]:
        """kv and gate of the tokens that the next entry will pool."""
        m = self.compress_ratio or 1
        yield Row(f"{prefix}open_block", "buffer", 2 * self.streams_per_token * width, OpenTail(m), Closing(m, m), piece=piece)
        if self.overlap:
            yield Row(f"{prefix}overlap", "buffer", 2 * width, LastBlock(m), Closing(m, m), piece=piece)

    def weights(self, site: Site) -> Iterator[Weight]:
        d = site.hidden_size
        yield from self.shared_key_weights(site)
        if self.compress_ratio is None:
            return
        yield from self._compressor("", self.head_dim, "compressor", d)
        if self.index_n_heads is not None and self.index_head_dim is not None:
            yield from indexer_queries(d, self.q_lora_rank, self.index_n_heads, self.index_head_dim)
            yield from self._compressor("index_", self.index_head_dim, "indexer", d)

    def _compressor(self, prefix: str, width: int, piece: str, d: int) -> Iterator[Weight]:
        out = self.streams_per_token * width
        yield Weight(f"{prefix}compress_kv_proj", piece, (out, d))
        yield Weight(f"{prefix}compress_gate_proj", piece, (out, d))
        yield Weight(f"{prefix}position_bias", piece, (self.compress_ratio or 1, out), "vector")
        yield vector(f"{prefix}compress_norm", piece, width)

    def work(self, site: Site) -> Iterator[Work]:
        yield from self.shared_key_work("window", self.visible)
        if self.compress_ratio is None:
            return
        yield from self.shared_key_work("entry", self.visible_entries)
        if self.index_n_heads is not None and self.index_head_dim is not None:
            flops = indexer_flops(self.index_n_heads, self.index_head_dim)
            yield Work("index scores", "indexer", flops, self.entries, "indexer", operand="index_key")
