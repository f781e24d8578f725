"""Compressed convolutional attention (CCA): grouped-query attention in a narrow space, with two short convolutions on q and k.

Keeps     per token a key and a value of `num_key_value_heads x head_dim`; and, whatever t, the last cca_time0 + cca_time1 - 2
          projected q and k (the two convolutions are chained) and the delayed half of the last value
Formula   bytes/token/layer = 2 x num_key_value_heads x head_dim x bytes/element; fixed: (heads + kv heads) x head_dim x taps + half a value
Worked    zaya1-8b, bf16, growth: 40 x 2 x 2 x 128 x 2 = 40,960 bytes
Omits     softmax, norms, rotary embeddings and the mean of q and k in the FLOPs
Assumes   the convolution state holds projected q and k, and the delayed value its projection (reference implementation); vLLM and
          SGLang keep the previous hidden state instead, and may keep both in fp32
Used by   ZAYA1-8B, ZAYA1-74B-preview
Source    Compressed convolutional attention, arXiv:2510.04476; transformers models/zaya
"""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, model_validator

from kvcalc.kind import Count, Row, Site, Tokens, Weight, Work, vector
from kvcalc.projections import GroupedQuery
from kvcalc.slots import EVERY, Fixed, Law, Window


class CCA(GroupedQuery):
    kind: Literal["cca"]
    cca_time0: Count = Field(description="Taps of the depthwise convolution on q and k [tokens]")
    cca_time1: Count = Field(description="Taps of the per-head convolution on q and k [tokens]")
    window: Tokens | None = Field(None, description="Sliding window, the current token included [tokens]")

    @model_validator(mode="after")
    def _consistent(self) -> "CCA":
        if self.kv_width % 2:
            raise ValueError("num_key_value_heads x head_dim must be even: half of the value is delayed")
        if self.cca_time0 + self.cca_time1 < 3:
            raise ValueError("cca_time0 and cca_time1 must span at least one earlier token")
        return self

    @property
    def visible(self) -> Law:
        """The tokens that one query attends to."""
        return EVERY if self.window is None else Window(self.window)

    @property
    def channels(self) -> int:
        """Channels of q and k together, which the convolutions mix."""
        return self.query_width + self.kv_width

    @property
    def half_value(self) -> int:
        """Elements of the half of the value that is delayed by a token, and of the other."""
        return self.kv_width // 2

    def without(self, site: Site) -> dict[str, dict[str, Any]]:
        """Queries are compressed like keys and values: without it there are as many heads as the model is wide, grouped as before."""
        heads = site.hidden_size // self.head_dim
        kv_heads = heads * self.num_key_value_heads // self.num_attention_heads
        found: dict[str, dict[str, Any]] = {}
        if heads > self.num_attention_heads and heads % kv_heads == 0:
            full = {"kind": "gqa", "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": self.head_dim}
            found["compression"] = full | ({} if self.window is None else {"window": self.window})
        if self.window is not None:
            found["window"] = self._but(window=None)
        return found | self.without_groups()

    def rows(self, site: Site) -> Iterator[Row]:
        yield from self.grouped_rows(self.visible, self.visible)
        taps, split = Fixed(self.cca_time0 + self.cca_time1 - 2), self.num_key_value_heads
        yield Row("conv", "conv", self.channels, taps, taps, piece="cca_convs", split=split)
        yield Row("delayed_value", "conv", self.half_value, Fixed(1), Fixed(1), split=split)

    def weights(self, site: Site) -> Iterator[Weight]:
        d, heads, groups = site.hidden_size, self.num_attention_heads, self.num_key_value_heads
        yield Weight("q_proj", "attention", (self.query_width, d), split=heads)
        yield Weight("k_proj", "attention", (self.kv_width, d), split=groups, uneven="repeat")
        yield Weight("v_proj_current", "attention", (self.half_value, d), split=groups, uneven="repeat")
        yield Weight("v_proj_delayed", "attention", (self.half_value, d), split=groups, uneven="repeat")
        yield Weight("o_proj", "attention", (d, self.query_width), split=heads)
        yield Weight("conv_depthwise", "cca_convs", (self.channels, self.cca_time0), "conv", split=groups, uneven="repeat")
        per_head = (self.channels, self.head_dim * self.cca_time1)
        yield Weight("conv_per_head", "cca_convs", per_head, "conv", split=groups, uneven="repeat")
        yield vector("conv_bias", "cca_convs", self.channels, copies=2, split=groups, uneven="repeat")
        yield vector("k_temperature", "norms", self.num_key_value_heads)

    def work(self, site: Site) -> Iterator[Work]:
        yield from self.grouped_work(self.visible)
