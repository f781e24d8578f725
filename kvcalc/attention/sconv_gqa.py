"""Grouped-query attention with short convolutions on keys, values and both outputs of the layer, and a learned position bias.

Keeps     a key and a value per token (a window keeps the last of them), and the last conv_kernel_size - 1 inputs of four convolutions:
          on the keys, on the values, on what attention and on what the feed-forward block gives to the stream
Formula   bytes/layer = tokens x num_key_value_heads x 2 x head_dim x 2
          + (conv_kernel_size - 1) x (num_key_value_heads x 2 x head_dim + 2 x hidden_size) x 2
Worked    inkling, bf16, fixed: 3 x (55 x (2 x 16 x 128 + 2 x 6144) + 11 x (2 x 8 x 128 + 2 x 6144)) x 2 = 6,352,896 bytes
Omits     softmax, norms and the choice of a bias by distance in the FLOPs
Assumes   the window counts the current token; keys are kept after their convolution; taps in the model's 16 bits, where transformers
          keeps them in fp32; biases of a token are products of its d_rel numbers with a profile, for each head and distance it sees
Used by   Inkling
Source    transformers models/inkling
"""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, model_validator

from kvcalc.kind import Attention, Count, Row, Site, Taps, Tokens, Weight, Width, Work, vector
from kvcalc.slots import EVERY, Fixed, Law, Monotone, Top, Window


class ShortConvolutionGQA(Attention):
    kind: Literal["sconv_gqa"]
    num_attention_heads: Count = Field(description="Query heads")
    num_key_value_heads: Count = Field(description="KV heads")
    head_dim: Width = Field(description="Width of a head [elements]")
    window: Tokens | None = Field(None, description="Sliding window, the current token included [tokens]")
    conv_kernel_size: Taps = Field(description="Taps of each convolution, the current token included [tokens]")
    d_rel: Width = Field(description="Numbers of each head from which a token's position biases are mixed [elements]")
    rel_extent: Tokens = Field(description="Distance up to which there is a bias [tokens]")

    @model_validator(mode="after")
    def _consistent(self) -> "ShortConvolutionGQA":
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads {self.num_attention_heads} is not a multiple of num_key_value_heads {self.num_key_value_heads}"
            )
        return self

    @property
    def visible(self) -> Monotone:
        """The tokens that one query attends to."""
        return EVERY if self.window is None else Window(self.window)

    @property
    def biased(self) -> Law:
        """Those of them that are near enough for a bias."""
        return Top(self.rel_extent, self.visible)

    def without(self, site: Site) -> dict[str, dict[str, Any]]:
        found = {}
        if self.window is not None:
            found["window"] = self._but(window=None)
        if self.num_key_value_heads < self.num_attention_heads:
            found["gqa"] = self._but(num_key_value_heads=self.num_attention_heads)
        return found

    def rows(self, site: Site) -> Iterator[Row]:
        width, heads = self.num_key_value_heads * self.head_dim, self.num_key_value_heads
        law, taps = self.visible, Fixed(self.conv_kernel_size - 1)
        yield Row("key", "kv", width, law, law, split=heads)
        yield Row("value", "kv", width, law, law, split=heads)
        yield Row("conv_key", "conv", width, taps, taps, split=heads)
        yield Row("conv_value", "conv", width, taps, taps, split=heads)
        yield Row("conv_attn_out", "conv", site.hidden_size, taps, taps)
        yield Row("conv_mlp_out", "conv", site.hidden_size, taps, taps)

    def weights(self, site: Site) -> Iterator[Weight]:
        d, heads, kv_heads, taps = site.hidden_size, self.num_attention_heads, self.num_key_value_heads, self.conv_kernel_size
        query, key = heads * self.head_dim, kv_heads * self.head_dim
        yield Weight("q_proj", "attention", (query, d), split=heads)
        yield Weight("k_proj", "attention", (key, d), split=kv_heads, uneven="repeat")
        yield Weight("v_proj", "attention", (key, d), split=kv_heads, uneven="repeat")
        yield Weight("r_proj", "attention", (heads * self.d_rel, d), split=heads)
        yield Weight("o_proj", "attention", (d, query), split=heads)
        yield Weight("k_sconv", "attention", (key, taps), "conv", split=kv_heads, uneven="repeat")
        yield Weight("v_sconv", "attention", (key, taps), "conv", split=kv_heads, uneven="repeat")
        yield Weight("rel_logits_proj", "attention", (self.d_rel, self.rel_extent), "vector")
        yield vector("q_norm", "norms", self.head_dim)
        yield vector("k_norm", "norms", self.head_dim)
        yield Weight("attn_sconv", "attention", (d, taps), "conv")
        yield Weight("mlp_sconv", "dense_mlp", (d, taps), "conv")

    def work(self, site: Site) -> Iterator[Work]:
        heads, flops = self.num_attention_heads, 2 * self.num_attention_heads * self.head_dim
        yield Work("scores", "attention", flops, self.visible, "score", split=heads)
        yield Work("value mix", "attention", flops, self.visible, "mix", split=heads)
        yield Work("position biases", "attention", 2 * heads * self.d_rel, self.biased, "other", split=heads)
