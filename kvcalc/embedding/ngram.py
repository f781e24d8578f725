"""N-gram tables (Engram): hashed n-grams of the last tokens look up rows, which some layers add to their streams.

Keeps     the last max_ngram_size - 1 token ids (a few bytes, not counted); where a convolution follows, its earlier inputs in each stream
Formula   rows read/token and layer = (max_ngram_size - 1) x n_heads; parameters = sum of num_embeddings x head_dim (tables)
          + layers x ((hc_mult + 1) x hidden x rows read x head_dim + 2 x hc_mult x hidden); a convolution: + (1 + taps) x hc_mult x hidden
Worked    deepseek-v4.1-flash, engram_table, parameters: (384006168 + 384016682) x 256 = 196,613,849,600 parameters
Omits     the hash, gates and norms in the FLOPs
Assumes   tables may stand in host memory; they count where the weights are counted; taps of the convolution stand max_ngram_size apart
Used by   DeepSeek-V4.1; Qwen3.8-Flash-Next (with a convolution)
Source    DeepSeek-V4.1, arXiv:2609.19969; nemo_automodel 0.7.0 components/models/deepseek_v41; transformers models/qwen4_exp
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from kvcalc.kind import Count, EmbeddingPart, Row, Site, TableRows, Weight, Width
from kvcalc.slots import Fixed


class NgramTables(EmbeddingPart):
    kind: Literal["ngram"] = "ngram"
    layers: list[Annotated[int, Field(ge=0)]] = Field(min_length=1, description="Layers that look up (engram_layer_ids)")
    num_embeddings: list[TableRows] = Field(min_length=1, description="Rows of each layer's table")
    max_ngram_size: Annotated[int, Field(gt=1, le=64)] = Field(description="Longest n-gram [tokens]")
    n_heads: Count = Field(description="Hashes per n-gram length")
    head_dim: Width = Field(description="Width of a row [elements]")
    hc_mult: Count = Field(1, description="Residual streams that get a value")
    conv_kernel_size: Count | None = Field(None, description="Taps of a depthwise convolution on what the streams get [tokens]")

    @model_validator(mode="after")
    def _consistent(self) -> "NgramTables":
        if len(self.layers) != len(self.num_embeddings):
            raise ValueError(f"{len(self.layers)} layers but {len(self.num_embeddings)} num_embeddings")
        return self

    @property
    def rows_per_token(self) -> int:
        return (self.max_ngram_size - 1) * self.n_heads

    def rows(self, site: Site) -> Iterator[Row]:
        """State of all layers that look up together."""
        if self.conv_kernel_size is not None:
            taps = Fixed((self.conv_kernel_size - 1) * self.max_ngram_size)
            yield Row(
                "ngram_conv", "conv", len(self.layers) * self.hc_mult * site.hidden_size, taps, taps, piece="engram_projection"
            )

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
        if self.conv_kernel_size is not None:
            yield Weight("conv_norm", "engram_projection", (self.hc_mult, d), "vector", copies=layers)
            yield Weight("conv1d", "engram_projection", (self.hc_mult * d, self.conv_kernel_size), "conv", copies=layers)
