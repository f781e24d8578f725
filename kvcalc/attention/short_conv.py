"""Gated short convolution: a layer that sees the last few tokens only, through a convolution of each channel.

Keeps     the last conv_L_cache - 1 inputs of the convolution, of hidden_size
Formula   bytes/layer = hidden_size x (conv_L_cache - 1) x 2
Worked    lfm2-1.2b, bf16, fixed: 10 x 2048 x 2 x 2 = 81,920 bytes
Omits     the two gates (products with B and C) in the FLOPs
Assumes   every channel is convolved on its own; inputs in the model's 16 bits
Used by   LFM2, LFM3
Source    LFM2 technical report, arXiv:2511.23404; transformers models/lfm2
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from kvcalc.kind import Attention, Row, Site, Taps, Weight, vector
from kvcalc.slots import Fixed


class ShortConv(Attention):
    kind: Literal["short_conv"]
    conv_L_cache: Taps = Field(description="Taps of the convolution, the current token included [tokens]")
    conv_bias: bool = Field(False, description="Biases on the convolution and on both projections")

    def rows(self, site: Site) -> Iterator[Row]:
        taps = Fixed(self.conv_L_cache - 1)
        yield Row("conv", "conv", site.hidden_size, taps, taps, split=site.hidden_size)

    def weights(self, site: Site) -> Iterator[Weight]:
        d = site.hidden_size
        yield Weight("in_proj", "attention", (3 * d, d), split=d)
        yield Weight("conv", "attention", (d, self.conv_L_cache), "conv", split=d)
        yield Weight("out_proj", "attention", (d, d), split=d)
        if self.conv_bias:
            yield vector("in_bias", "attention", 3 * d, split=d)
            yield vector("conv_bias", "attention", d, split=d)
            yield vector("out_bias", "attention", d)
