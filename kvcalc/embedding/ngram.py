"""N-gram tables (Engram): hashed n-grams of the last tokens look up rows, which some layers add to their streams.

Keeps     the last max_ngram_size - 1 token ids only (a few bytes, not counted)
Formula   rows read/token and layer = (max_ngram_size - 1) x n_heads; parameters = sum of num_embeddings x head_dim (tables)
          + layers x ((hc_mult + 1) x hidden x rows read x head_dim + 2 x hc_mult x hidden)
Worked    deepseek-v4.1-flash, engram_table, parameters: (384006168 + 384016682) x 256 = 196,613,849,600 parameters
Omits     the hash, gates and norms in the FLOPs
Assumes   tables may stand in host memory; they count where the weights are counted
Used by   DeepSeek-V4.1
Source    DeepSeek-V4.1, arXiv:2609.19969; nemo_automodel 0.7.0 components/models/deepseek_v41
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from kvcalc.kind import Count, EmbeddingPart, Site, TableRows, Weight, Width


class NgramTables(EmbeddingPart):
    kind: Literal["ngram"] = "ngram"
    layers: list[Annotated[int, Field(ge=0)]] = Field(min_length=1, description="Layers that look up (engram_layer_ids)")
    num_embeddings: list[TableRows] = Field(min_length=1, description="Rows of each layer's table")
    max_ngram_size: Annotated[int, Field(gt=1, le=64)] = Field(description="Longest n-gram [tokens]")
    n_heads: Count = Field(description="Hashes per n-gram length")
    head_dim: Width = Field(description="Width of a row [elements]")
    hc_mult: Count = Field(1, description="Residual streams that get a value")

    @model_validator(mode="after")
    def _consistent(self) -> "NgramTables":
        if len(self.layers) != len(self.num_embeddings):
            raise ValueError(f"{len(self.layers)} layers but {len(self.num_embeddings)} num_embeddings")
        return self

    @property
    def rows_per_token(self) -> int:
        return (self.max_ngram_size - 1) * self.n_heads

    def model_weights(self, site: Site) -> Iterator[Weight]:
        d, layers = site.hidden_size, len(self.layers)
        for layer, rows in zip(self.layers, self.num_embeddings, strict=True):
            yield Weight(
                f"table_{layer}",
                "engram_table",
                (rows, self.head_dim),
                "lookup",
                chosen=self.rows_per_token,
                split=rows,
                uneven="pad",
            )
        yield Weight("kv_proj", "engram_projection", (d * (self.hc_mult + 1), self.rows_per_token * self.head_dim), copies=layers)
        yield Weight("gate_norms", "engram_projection", (self.hc_mult, d), "vector", copies=2 * layers)
