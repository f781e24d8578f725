"""RWKV-6's time mixing: linear attention with a decay that each token sets for each channel. Its state does not grow.

Keeps     one matrix of head_dim x v_head_dim per head, and the last input
Formula   bytes/layer = num_heads x head_dim x v_head_dim x 4 + hidden_size x 2
Worked    rwkv6-1.6b-finch, bf16, fixed: 24 x (32 x 64 x 64 x 4 + 2048 x 2) = 12,681,216 bytes
Omits     norms, gates, the bonus of the current token and the mixing with the last input in the FLOPs; in a prefill the products
          within a chunk of the chunked form
Assumes   5 FLOPs per element of the matrix and token: decay 1, outer-product update 2, read-out 2; the matrix in fp32, the last
          input in the model's 16 bits
Used by   RWKV-6
Source    Eagle and Finch, arXiv:2404.05892; github.com/fla-org/flash-linear-attention, fla/layers/rwkv6.py
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from kvcalc.kind import Attention, Count, Row, Site, Weight, Width, Work, vector
from kvcalc.slots import ONCE_PER_TOKEN, Fixed

FLOPS_PER_STATE_ELEMENT = 1 + 2 + 2
MIXED = 5
"""Mixed with the last input: what receptance, decay, key, value and gate are made of."""


class RWKV6(Attention):
    kind: Literal["rwkv6"]
    num_heads: Count = Field(description="Heads of receptances, keys and values")
    head_dim: Width = Field(description="Width of a receptance and key head [elements]")
    v_head_dim: Width | None = Field(None, description="Width of a value head [elements]; head_dim if not given")
    proj_low_rank_dim: Width = Field(description="Rank of each of the five mixings with the last input [elements]")
    gate_low_rank_dim: Width = Field(description="Rank of the decay [elements]")

    @property
    def key_width(self) -> int:
        return self.num_heads * self.head_dim

    @property
    def value_width(self) -> int:
        return self.num_heads * (self.v_head_dim or self.head_dim)

    @property
    def state_elements(self) -> int:
        return self.head_dim * self.value_width

    def rows(self, site: Site) -> Iterator[Row]:
        yield Row("recurrent", "recurrent", self.state_elements, Fixed(1), Fixed(1), split=self.num_heads)
        yield Row("token_shift", "conv", site.hidden_size, Fixed(1), Fixed(1))

    def weights(self, site: Site) -> Iterator[Weight]:
        d, heads, rank = site.hidden_size, self.num_heads, MIXED * self.proj_low_rank_dim
        yield vector("x_bias", "attention", d, copies=1 + MIXED)
        yield Weight("x_down_proj", "attention", (rank, d))
        yield Weight("x_up_proj", "attention", (d, rank))
        yield Weight("rk_proj", "attention", (self.key_width, d), copies=2, split=heads)
        yield Weight("vg_proj", "attention", (self.value_width, d), copies=2, split=heads)
        yield Weight("w_down_proj", "attention", (self.gate_low_rank_dim, d))
        yield Weight("w_up_proj", "attention", (self.key_width, self.gate_low_rank_dim), split=heads)
        yield vector("w_bias", "attention", self.key_width, split=heads)
        yield vector("bonus", "attention", self.key_width, split=heads)
        yield vector("g_norm", "norms", self.value_width, copies=2, split=heads)
        yield Weight("o_proj", "attention", (d, self.value_width), split=heads)

    def work(self, site: Site) -> Iterator[Work]:
        flops = FLOPS_PER_STATE_ELEMENT * self.state_elements
        yield Work("linear attention", "attention", flops, ONCE_PER_TOKEN, "other", split=self.num_heads)
