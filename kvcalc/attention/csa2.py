"""DeepSeek-V4.1 attention (CSA2): a window in every layer; compressed entries in a few source layers that the others reuse.

Keeps     every layer min(t, window) rows of `head_dim`; a source layer one entry of `head_dim` and one index key of
          `index_head_dim` per `compress_ratio` tokens, and the tokens of its open block (kv and gate)
Formula   bytes/token = sum over source layers of (entry + index key) / compress_ratio
Worked    deepseek-v4.1-flash, bf16, growth: (3 / 2 + 1) x (512 + 128) x 2 = 3,200 bytes
Omits     softmax, norms, rotary embeddings and the pooling's weighted sum in the FLOPs
Assumes   role `source` owns entries and index keys and chooses; `reindex` chooses anew among the `candidates` that the source
          published; `reuse` reads the source's entries with the last choice. All read index_topk entries
Used by   DeepSeek-V4.1-Flash
Source    DeepSeek-V4.1, arXiv:2609.19969; mlx-lm 0.32.2 models/deepseek_v41; vLLM 0.33.0 models/deepseek_v41
"""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, model_validator

from kvcalc.kind import Attention, Count, Row, Site, Tokens, Weight, Width, Work, vector
from kvcalc.projections import indexer_flops, indexer_queries, one_shared_key, shared_key_attention
from kvcalc.slots import EVERY, Closing, EveryNth, Law, OpenTail, Top, Window


class CSA2(Attention):
    kind: Literal["csa2"]
    role: Literal["window", "source", "reindex", "reuse"] = Field(description="What the layer owns of the compressed state")
    num_attention_heads: Count = Field(description="Query heads, over one shared key")
    head_dim: Width = Field(description="Width of the shared key = value [elements]")
    q_lora_rank: Width = Field(description="Width of the query latent [elements]")
    o_groups: Count = Field(description="Groups of the output projection")
    o_lora_rank: Width = Field(description="Width of a group's output latent [elements]")
    window: Tokens | None = Field(description="Sliding window, the current token included [tokens]; null: every token")
    compress_ratio: Tokens | None = Field(None, description="Tokens per entry of the source [tokens]; not given: window only")
    index_n_heads: Count | None = Field(None, description="Query heads of the indexer")
    index_head_dim: Width | None = Field(None, description="Width of an index key [elements]")
    index_topk: Tokens | None = Field(None, description="Entries that a query reads [entries]; not given: all")
    candidates: Tokens | None = Field(None, description="Entries among which a reindex layer chooses [entries]")
    produced_by_every_token: bool = Field(
        False,
        description="In a prefill every token runs the entry's projections, also where the layer itself is replayed for a few",
    )

    @model_validator(mode="after")
    def _consistent(self) -> "CSA2":
        indexer = (self.index_n_heads, self.index_head_dim, self.index_topk)
        if any(indexer) and not all(indexer):
            raise ValueError("an indexer needs index_n_heads, index_head_dim and index_topk")
        if self.role == "window" and (self.compress_ratio is not None or any(indexer)):
            raise ValueError("role window has no compress_ratio and no indexer")
        if self.role != "window" and (self.compress_ratio is None or self.window is None):
            raise ValueError(f"role {self.role} needs compress_ratio and window")
        if self.role == "reindex" and not all(indexer):
            raise ValueError("role reindex needs an indexer")
        if (self.role == "reindex") != (self.candidates is not None):
            raise ValueError("candidates belongs to role reindex, and to it alone")
        return self

    @property
    def visible(self) -> Law:
        """The tokens whose own rows a query reads."""
        return EVERY if self.window is None else Window(self.window)

    @property
    def entries(self) -> Law:
        return EveryNth(self.compress_ratio or 1)

    @property
    def chosen(self) -> Law:
        entries = EveryNth(self.compress_ratio or 1)
        return Top(self.index_topk, entries) if self.index_topk else entries

    @property
    def scored(self) -> Law | None:
        """The index keys that this layer's indexer scores; None if it has no indexer."""
        if self.role == "source":
            return self.entries if self.index_topk else None
        return Top(self.candidates or 1, EveryNth(self.compress_ratio or 1)) if self.role == "reindex" else None

    def without(self, site: Site) -> dict[str, dict[str, Any]]:
        dense: dict[str, Any] = dict.fromkeys(("index_n_heads", "index_head_dim", "index_topk", "candidates"))
        if self.role == "window" and self.window is not None:
            return {"window": self._but(window=None)}
        if self.role == "window":
            return one_shared_key(self.num_attention_heads, self.head_dim, self.q_lora_rank, self.o_groups, self.o_lora_rank)
        whole = self._but(role="window", window=None, compress_ratio=None, produced_by_every_token=False)
        found = {"compression": whole | dense}
        if self.index_topk is not None:
            found["indexer"] = self._but(role="source" if self.role == "source" else "reuse", **dense)
        if self.role != "source":
            found["kv-sharing"] = self._but(role="source", candidates=None)
        return found

    def rows(self, site: Site) -> Iterator[Row]:
        owned = self.role == "source"
        yield Row("window", "kv", self.head_dim, self.visible, self.visible)
        if self.role == "window":
            return
        yield Row("entry", "kv", self.head_dim, self.entries, self.chosen, owned, reusable=True)
        if self.scored is not None and self.index_head_dim is not None:
            yield Row("index_key", "index", self.index_head_dim, self.entries, self.scored, owned, reusable=True, piece="indexer")
        m = self.compress_ratio or 1
        if owned and m > 1:
            yield Row("open_block", "buffer", 2 * self.head_dim, OpenTail(m), Closing(m, m), piece="compressor")

    def weights(self, site: Site) -> Iterator[Weight]:
        d, always = site.hidden_size, self.produced_by_every_token
        yield from shared_key_attention(
            d, self.num_attention_heads, self.head_dim, self.q_lora_rank, self.o_groups, self.o_lora_rank
        )
        if self.role == "source":
            yield Weight("compress_kv_proj", "compressor", (self.head_dim, d), every_token=always)
            if self.compress_ratio != 1:
                yield Weight("compress_gate_proj", "compressor", (self.head_dim, d), every_token=always)
            yield vector("compress_norm", "norms", self.head_dim)
        if self.role == "source" and self.index_head_dim is not None:
            yield Weight("index_k_proj", "indexer", (self.index_head_dim, self.head_dim), runs=self.entries, every_token=always)
            yield vector("index_k_norm", "norms", self.index_head_dim)
        if self.scored is not None and self.index_n_heads is not None and self.index_head_dim is not None:
            yield from indexer_queries(d, self.q_lora_rank, self.index_n_heads, self.index_head_dim)

    def work(self, site: Site) -> Iterator[Work]:
        heads, per_slot = self.num_attention_heads, 2 * self.num_attention_heads * self.head_dim
        yield Work("window scores", "attention", per_slot, self.visible, "score", split=heads)
        yield Work("window value mix", "attention", per_slot, self.visible, "mix", split=heads)
        if self.role == "window":
            return
        yield Work("entry scores", "attention", per_slot, self.chosen, "score", split=heads)
        yield Work("entry value mix", "attention", per_slot, self.chosen, "mix", split=heads)
        if self.scored is not None and self.index_n_heads is not None and self.index_head_dim is not None:
            flops = indexer_flops(self.index_n_heads, self.index_head_dim)
            yield Work("index scores", "indexer", flops, self.scored, "indexer", operand="index_key")
