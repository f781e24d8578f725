"""RWKV's channel mixing: a plain feed-forward block with a squared ReLU, whose input is mixed with the last token's.

Keeps     the last input
Formula   bytes/layer = hidden_size x 2; parameters/layer = 2 x hidden_size x intermediate_size + hidden_size, and with a
          receptance hidden_size x hidden_size + hidden_size more
Worked    rwkv7-1.5b-world, bf16, fixed: 24 x 2048 x 2 = 98,304 bytes
Omits     the activation function, the product with the receptance and the mixing with the last input in the FLOPs
Assumes   every matrix is used once per token; the receptance scales the whole output and stands on every device; the last input
          in the model's 16 bits (some engines keep it in fp32)
Used by   RWKV-4, RWKV-6 (with a receptance), RWKV-7 (without)
Source    RWKV, arXiv:2305.13048; RWKV-7, arXiv:2503.14456; transformers models/rwkv; mlx_lm models/rwkv7.py
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from kvcalc.kind import FeedForward, Row, Site, Weight, Width, vector
from kvcalc.slots import Fixed


class RWKVChannelMix(FeedForward):
    kind: Literal["rwkv_channel_mix"]
    intermediate_size: Width = Field(description="Width of the block [elements]")
    receptance: bool = Field(True, description="A gate of hidden_size on the output")

    def rows(self, site: Site) -> Iterator[Row]:
        yield Row("token_shift", "conv", site.hidden_size, Fixed(1), Fixed(1), piece="dense_mlp")

    def weights(self, site: Site) -> Iterator[Weight]:
        d, width = site.hidden_size, self.intermediate_size
        yield vector("time_mix", "dense_mlp", d, copies=1 + self.receptance)
        yield Weight("key", "dense_mlp", (width, d), split=width)
        yield Weight("value", "dense_mlp", (d, width), split=width)
        if self.receptance:
            yield Weight("receptance", "dense_mlp", (d, d))
