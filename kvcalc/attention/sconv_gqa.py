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

from pydantic import Field

from kvcalc.kind import Row, Site, Taps, Tokens, Weight, Width, Work, vector
from kvcalc.projections import GroupedQuery
from kvcalc.slots import EVERY, Fixed, Law, Monotone, Top, Window


class ShortConvolutionGQA(GroupedQuery):
    kind: Literal["sconv_gqa"]
    window: Tokens | None = Field(None, description="Sliding window, the current token included [tokens]")
    conv_kernel_size: Taps = Field(description="Taps of each convolution, the current token included [tokens]")
    d_rel: Width = Field(description="Numbers of each head from which a token's position biases are mixed [elements]")
    rel_extent: Tokens = Field(description="Distance up to which there is a bias [tokens]")

    @property
    def visible(self) -> Monotone:
        """The tokens that one query attends to."""
        return EVERY if self.window is None else Window(self.window)

    @property
    def biased(self) -> Law:
        """Those of them that are near enough for a bias."""
        return Top(self.rel_extent, self.visible)

    def without(self, site: Site) -> dict[str, dict[str, Any]]:
        windowed = {} if self.window is None else {"window": self._but(window=None)}
        return windowed | self.without_groups()

    def rows(self, site: Site) -> Iterator[Row]:
        width, heads, taps = self.kv_width, self.num_key_value_heads, Fixed(self.conv_kernel_size - 1)
        yield from self.grouped_rows(self.visible, self.visible)
        yield Row("conv_key", "conv", width, taps, taps, split=heads)
        yield Row("conv_value", "conv", width, taps, taps, split=heads)
        yield Row("conv_attn_out", "conv", site.hidden_size, taps, taps)
        yield Row("conv_mlp_out", "conv", site.hidden_size, taps, taps)

    def weights(self, site: Site) -> Iterator[Weight]:
        d, heads, kv_heads, taps = site.hidden_size, self.num_attention_heads, self.num_key_value_heads, self.conv_kernel_size
        yield from self.grouped_weights(d, d)
        yield Weight("r_proj", "attention", (heads * self.d_rel, d), split=heads)
        yield Weight("k_sconv", "attention", (self.kv_width, taps), "conv", split=kv_heads, uneven="repeat")
        yield Weight("v_sconv", "attention", (self.kv_width, taps), "conv", split=kv_heads, uneven="repeat")
        yield Weight("rel_logits_proj", "attention", (self.d_rel, self.rel_extent), "vector")
        yield vector("q_norm", "norms", self.head_dim)
        yield vector("k_norm", "norms", self.head_dim)
        yield Weight("attn_sconv", "attention", (d, taps), "conv")
        yield Weight("mlp_sconv", "dense_mlp", (d, taps), "conv")

    def work(self, site: Site) -> Iterator[Work]:
        heads = self.num_attention_heads
        yield from self.grouped_work(self.visible)
        yield Work("position biases", "attention", 2 * heads * self.d_rel, self.biased, "other", split=heads)
