"""RWKV-7's time mixing: a delta rule that removes at one key and writes at another. Its state does not grow.

Keeps     one matrix of head_dim x head_dim per head, and the last input
Formula   bytes/layer = num_heads x head_dim x head_dim x 4 + hidden_size x 2
Worked    rwkv7-1.5b-world, bf16, fixed: 24 x (32 x 64 x 64 x 4 + 2048 x 2) = 12,681,216 bytes
Omits     norms, gates, the bonus of the current token and the mixing with the last input in the FLOPs; in a prefill the products
          within a chunk of the chunked form
Assumes   9 FLOPs per element of the matrix and token: decay 1, read at the removed key 2, its outer product 2, the new key's 2,
          read-out 2; the matrix in fp32, the last input in the model's 16 bits (some engines keep both in fp32)
Used by   RWKV-7
Source    RWKV-7, arXiv:2503.14456; github.com/fla-org/flash-linear-attention, fla/layers/rwkv7.py; mlx_lm models/rwkv7.py
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from kvcalc.kind import Attention, Count, Row, Site, Weight, Width, Work, vector
from kvcalc.slots import ONCE_PER_TOKEN, Fixed

FLOPS_PER_STATE_ELEMENT = 1 + 2 + 2 + 2 + 2
MIXED = 6
"""Mixed with the last input: what receptance, decay, key, value, learning rate and gate are made of."""


class RWKV7(Attention):
    kind: Literal["rwkv7"]
    num_heads: Count = Field(description="Heads of receptances, keys and values: hidden_size / head_dim")
    head_dim: Width = Field(description="Width of a receptance, key and value head [elements]")
    decay_low_rank_dim: Width = Field(description="Rank of the decay [elements]")
    a_low_rank_dim: Width = Field(description="Rank of the learning rate [elements]")
    gate_low_rank_dim: Width = Field(description="Rank of the output gate [elements]")
    v_low_rank_dim: Width | None = Field(
        None, description="Rank of the mixing with the first layer's values [elements]; not given: none (the first layer)"
    )

    @property
    def width(self) -> int:
        """Elements of the receptance, of the key and of the value."""
        return self.num_heads * self.head_dim

    @property
    def state_elements(self) -> int:
        return self.num_heads * self.head_dim * self.head_dim

    def rows(self, site: Site) -> Iterator[Row]:
        yield Row("recurrent", "recurrent", self.state_elements, Fixed(1), Fixed(1), split=self.num_heads)
        yield Row("token_shift", "conv", site.hidden_size, Fixed(1), Fixed(1))

    def weights(self, site: Site) -> Iterator[Weight]:
        d, heads = site.hidden_size, self.num_heads
        yield vector("x_mix", "attention", d, copies=MIXED)
        yield vector("k_k", "attention", self.width, split=heads)
        yield vector("k_a", "attention", self.width, split=heads)
        yield vector("r_k", "attention", self.width, split=heads)
        yield Weight("rkv_proj", "attention", (self.width, d), copies=3, split=heads)
        yield from self._low_rank("w", d, self.decay_low_rank_dim)
        yield from self._low_rank("a", d, self.a_low_rank_dim)
        yield from self._low_rank("g", d, self.gate_low_rank_dim, bias=False)
        if self.v_low_rank_dim is not None:
            yield from self._low_rank("v", d, self.v_low_rank_dim)
        yield vector("g_norm", "norms", self.width, copies=2, split=heads)
        yield Weight("o_proj", "attention", (d, self.width), split=heads)

    def _low_rank(self, name: str, hidden_size: int, rank: int, *, bias: bool = True) -> Iterator[Weight]:
        """hidden -> rank -> one number for each channel of each head."""
        yield Weight(f"{name}_down_proj", "attention", (rank, hidden_size))
        yield Weight(f"{name}_up_proj", "attention", (self.width, rank), split=self.num_heads)
        if bias:
            yield vector(f"{name}_bias", "attention", self.width, split=self.num_heads)

    def work(self, site: Site) -> Iterator[Work]:
        flops = FLOPS_PER_STATE_ELEMENT * self.state_elements
        yield Work("delta rule", "attention", flops, ONCE_PER_TOKEN, "other", split=self.num_heads)
