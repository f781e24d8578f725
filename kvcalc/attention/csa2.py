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

from kvcalc.kind import Row, Site, Tokens, Weight, Work, vector
from kvcalc.projections import SharedKeyAttention, indexer_flops, indexer_queries
from kvcalc.slots import Closing, Law, OpenTail, Top


class CSA2(SharedKeyAttention):
    kind: Literal["csa2"]
    role: Literal["window", "source", "reindex", "reuse"] = Field(description="What the layer owns of the compressed state")
    candidates: Tokens | None = Field(None, description="Entries among which a reindex layer chooses [entries]")
    produced_by_every_token: bool = Field(
        False,
        description="In a prefill every token runs the entry's projections, also where the layer itself is replayed for a few",
    )

    @model_validator(mode="after")
    def _consistent(self) -> "CSA2":
        if self.role == "window" and (self.compress_ratio is not None or self.index_topk is not None):
            raise ValueError("role window has no compress_ratio and no indexer")
        if self.role != "window" and (self.compress_ratio is None or self.window is None):
            raise ValueError(f"role {self.role} needs compress_ratio and window")
        if self.role == "reindex" and self.index_topk is None:
            raise ValueError("role reindex needs an indexer")
        if (self.role == "reindex") != (self.candidates is not None):
            raise ValueError("candidates belongs to role reindex, and to it alone")
        return self

    @property
    def scored(self) -> Law | None:
        """The index keys that this layer's indexer scores; None if it has no indexer."""
        if self.role == "source":
            return self.entries if self.index_topk else None
        return Top(self.candidates, self.entries) if self.candidates is not None else None

    def without(self, site: Site) -> dict[str, dict[str, Any]]:
        dense: dict[str, Any] = dict.fromkeys(("index_n_heads", "index_head_dim", "index_topk", "candidates"))
        if self.role == "window" and self.window is not None:
            return {"window": self._but(window=None)}
        if self.role == "window":
            return self.without_shared_key()
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
        yield Row("entry", "kv", self.head_dim, self.entries, self.visible_entries, owned, reusable=True)
        if self.scored is not None and self.index_head_dim is not None:
            yield Row("index_key", "index", self.index_head_dim, self.entries, self.scored, owned, reusable=True, piece="indexer")
        m = self.compress_ratio or 1
        if owned and m > 1:
            yield Row("open_block", "buffer", 2 * self.head_dim, OpenTail(m), Closing(m, m), piece="compressor")

    def weights(self, site: Site) -> Iterator[Weight]:
        d, always = site.hidden_size, self.produced_by_every_token
        yield from self.shared_key_weights(site)
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
        yield from self.shared_key_work("window", self.visible)
        if self.role == "window":
            return
        yield from self.shared_key_work("entry", self.visible_entries)
        if self.scored is not None and self.index_n_heads is not None and self.index_head_dim is not None:
            flops = indexer_flops(self.index_n_heads, self.index_head_dim)
            yield Work("index scores", "indexer", flops, self.scored, "indexer", operand="index_key")
