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

from kvcalc.kind import Attention, Count, Row, Site, Tokens, Weight, Width, Work, vector
from kvcalc.projections import indexer_flops, indexer_queries, one_shared_key, shared_key_attention
from kvcalc.slots import EVERY, Closing, EveryNth, LastBlock, Law, OpenTail, Top, Window


class CSAHCA(Attention):
    kind: Literal["csa_hca"]
    num_attention_heads: Count = Field(description="Query heads, over one shared key")
    head_dim: Width = Field(description="Width of the shared key = value [elements]")
    q_lora_rank: Width = Field(description="Width of the query latent [elements]")
    o_groups: Count = Field(description="Groups of the output projection")
    o_lora_rank: Width = Field(description="Width of a group's output latent [elements]")
    window: Tokens | None = Field(description="Sliding window, the current token included [tokens]; null: every token")
    compress_ratio: Tokens | None = Field(None, description="Tokens per compressed entry [tokens]; not given: window only")
    overlap: bool = Field(False, description="An entry pools its own block and the one before")
    index_n_heads: Count | None = Field(None, description="Query heads of the indexer")
    index_head_dim: Width | None = Field(None, description="Width of a compressed index key [elements]")
    index_topk: Tokens | None = Field(None, description="Entries that a query reads [entries]; not given: all")

    @model_validator(mode="after")
    def _consistent(self) -> "CSAHCA":
        indexer = (self.index_n_heads, self.index_head_dim, self.index_topk)
        if any(indexer) and not all(indexer):
            raise ValueError("an indexer needs index_n_heads, index_head_dim and index_topk")
        if self.compress_ratio is None and (any(indexer) or self.overlap):
            raise ValueError("overlap and an indexer need a compress_ratio")
        if self.compress_ratio is not None and self.window is None:
            raise ValueError("compressed entries stand beside a window")
        if (self.num_attention_heads * self.head_dim) % self.o_groups:
            raise ValueError(f"num_attention_heads x head_dim does not divide into o_groups {self.o_groups}")
        return self

    @property
    def streams_per_token(self) -> int:
        """An overlapping compressor keeps two vectors per token: one for its own block, one for the next."""
        return 2 if self.overlap else 1

    @property
    def visible(self) -> Law:
        """The tokens whose own rows a query reads."""
        return EVERY if self.window is None else Window(self.window)

    @property
    def visible_entries(self) -> Law:
        entries = EveryNth(self.compress_ratio or 1)
        return Top(self.index_topk, entries) if self.index_topk else entries

    def without(self, site: Site) -> dict[str, dict[str, Any]]:
        dense: dict[str, Any] = {"index_n_heads": None, "index_head_dim": None, "index_topk": None}
        if self.compress_ratio is not None:
            found = {"compression": self._but(window=None, compress_ratio=None, overlap=False, **dense)}
            return found if self.index_topk is None else found | {"indexer": self._but(**dense)}
        if self.window is not None:
            return {"window": self._but(window=None)}
        return one_shared_key(self.num_attention_heads, self.head_dim, self.q_lora_rank, self.o_groups, self.o_lora_rank)

    def rows(self, site: Site) -> Iterator[Row]:
        yield Row("window", "kv", self.head_dim, self.visible, self.visible)
        if self.compress_ratio is None:
            return
        entries = EveryNth(self.compress_ratio)
        yield Row("entry", "kv", self.head_dim, entries, self.visible_entries)
        yield from self._buffers("", self.head_dim, "compressor")
        if self.index_head_dim is not None:
            yield Row("index_key", "index", self.index_head_dim, entries, entries, piece="indexer")
            yield from self._buffers("index_", self.index_head_dim, "indexer")

    def _buffers(self, prefix: str, width: int, piece: str) -> Iterator[Row]:
        """kv and gate of the tokens that the next entry will pool."""
        m = self.compress_ratio or 1
        yield Row(f"{prefix}open_block", "buffer", 2 * self.streams_per_token * width, OpenTail(m), Closing(m, m), piece=piece)
        if self.overlap:
            yield Row(f"{prefix}overlap", "buffer", 2 * width, LastBlock(m), Closing(m, m), piece=piece)

    def weights(self, site: Site) -> Iterator[Weight]:
        d = site.hidden_size
        yield from shared_key_attention(
            d, self.num_attention_heads, self.head_dim, self.q_lora_rank, self.o_groups, self.o_lora_rank
        )
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
        heads, per_slot = self.num_attention_heads, 2 * self.num_attention_heads * self.head_dim
        yield Work("window scores", "attention", per_slot, self.visible, "score", split=heads)
        yield Work("window value mix", "attention", per_slot, self.visible, "mix", split=heads)
        if self.compress_ratio is None:
            return
        yield Work("entry scores", "attention", per_slot, self.visible_entries, "score", split=heads)
        yield Work("entry value mix", "attention", per_slot, self.visible_entries, "mix", split=heads)
        if self.index_n_heads is not None and self.index_head_dim is not None:
            scored = EveryNth(self.compress_ratio)
            flops = indexer_flops(self.index_n_heads, self.index_head_dim)
            yield Work("index scores", "indexer", flops, scored, "indexer", operand="index_key")
