"""RWKV-4's time mixing: an average of values with an exponential decay for each channel. Its state does not grow.

Keeps     per channel the numerator, the denominator and the largest exponent of the average; and the last input
Formula   bytes/layer = 3 x attention_hidden_size x 4 + hidden_size x 2
Worked    rwkv-4-169m-pile, bf16, fixed: 12 x (3 x 768 x 4 + 768 x 2) = 129,024 bytes
Omits     norms, gates, exponentials, the division and the mixing with the last input in the FLOPs
Assumes   10 FLOPs per channel and token: numerator 3 and denominator 2, once for the output and once for the state; the average
          in fp32, the last input in the model's 16 bits
Used by   RWKV-4
Source    RWKV, arXiv:2305.13048; transformers models/rwkv
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from kvcalc.kind import Attention, Row, Site, Weight, Width, Work, vector
from kvcalc.slots import ONCE_PER_TOKEN, Fixed

FLOPS_PER_CHANNEL = 2 * (3 + 2)
NUMBERS_PER_CHANNEL = 3
"""Numerator, denominator, largest exponent."""
MIXED = 3
"""Mixed with the last input: what key, value and receptance are made of."""


class RWKV4(Attention):
    kind: Literal["rwkv4"]
    attention_hidden_size: Width | None = Field(None, description="Channels of the average [elements]; hidden_size if not given")

    def width(self, site: Site) -> int:
        return self.attention_hidden_size or site.hidden_size

    def rows(self, site: Site) -> Iterator[Row]:
        width = self.width(site)
        yield Row("recurrent", "recurrent", NUMBERS_PER_CHANNEL * width, Fixed(1), Fixed(1), split=width)
        yield Row("token_shift", "conv", site.hidden_size, Fixed(1), Fixed(1))

    def weights(self, site: Site) -> Iterator[Weight]:
        d, width = site.hidden_size, self.width(site)
        yield vector("time_mix", "attention", d, copies=MIXED)
        yield vector("time_decay", "attention", width, split=width)
        yield vector("time_first", "attention", width, split=width)
        yield Weight("rkv_proj", "attention", (width, d), copies=3, split=width)
        yield Weight("output", "attention", (d, width), split=width)

    def work(self, site: Site) -> Iterator[Work]:
        width = self.width(site)
        yield Work("decayed average", "attention", FLOPS_PER_CHANNEL * width, ONCE_PER_TOKEN, "other", split=width)
