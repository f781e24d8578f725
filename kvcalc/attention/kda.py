"""Kimi delta attention (KDA): a gated delta rule whose decay has a rate for each channel of the key. Its state does not grow.

Keeps     one matrix of head_dim x head_dim per head, and the last short_conv_kernel_size - 1 inputs of the convolution on
          q, k and v
Formula   bytes/layer = num_heads x head_dim x head_dim x 4 + 3 x num_heads x head_dim x (taps - 1) x 2
Worked    kimi-linear-48b-a3b, bf16, fixed: 20 x (32 x 128 x 128 x 4 + 3 x 32 x 128 x 3 x 2) = 43,417,600 bytes
Omits     norms, gates and the l2 norm of q and k in the FLOPs; in a prefill the products within a chunk of the chunked form
Assumes   7 FLOPs per element of the matrix and token: decay 1, read for the correction 2, outer-product update 2, read-out 2;
          the recurrent state in fp32 (what reference and engines keep), taps in the model's 16 bits
Used by   Kimi-Linear, Kimi-K3, Ling-3.0, GLM-5.3-Flash
Source    Kimi Linear, arXiv:2510.26692; transformers models/kimi_linear, models/bailing_hybrid, models/glm5_next
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from kvcalc.kind import Attention, Count, Row, Site, Taps, Weight, Width, Work, vector
from kvcalc.slots import ONCE_PER_TOKEN, Fixed

FLOPS_PER_STATE_ELEMENT = 1 + 2 + 2 + 2


class KimiDeltaAttention(Attention):
    kind: Literal["kda"]
    num_heads: Count = Field(description="Heads of queries, keys and values")
    head_dim: Width = Field(description="Width of a query, key and value head [elements]")
    short_conv_kernel_size: Taps = Field(description="Taps of the convolution, the current token included [tokens]")
    no_kda_lora: bool = Field(False, description="Decay and output gate by full matrices; otherwise by two through head_dim")
    use_full_rank_gate: bool = Field(False, description="The output gate alone by a full matrix")

    @property
    def width(self) -> int:
        """Elements of q, of k and of v."""
        return self.num_heads * self.head_dim

    @property
    def state_elements(self) -> int:
        return self.num_heads * self.head_dim * self.head_dim

    def rows(self, site: Site) -> Iterator[Row]:
        taps = Fixed(self.short_conv_kernel_size - 1)
        yield Row("recurrent", "recurrent", self.state_elements, Fixed(1), Fixed(1), split=self.num_heads)
        yield Row("conv", "conv", 3 * self.width, taps, taps, split=self.num_heads)

    def weights(self, site: Site) -> Iterator[Weight]:
        d, heads = site.hidden_size, self.num_heads
        yield Weight("qkv_proj", "attention", (3 * self.width, d), split=heads)
        yield Weight("conv1d", "attention", (3 * self.width, self.short_conv_kernel_size), "conv", split=heads)
        yield from self._by_channel("f", d, full_rank=self.no_kda_lora)
        yield vector("dt_bias", "attention", self.width, split=heads)
        yield vector("A_log", "attention", heads, split=heads)
        yield Weight("b_proj", "attention", (heads, d), split=heads)
        yield from self._by_channel("g", d, full_rank=self.no_kda_lora or self.use_full_rank_gate)
        yield vector("o_norm", "norms", self.head_dim)
        yield Weight("o_proj", "attention", (d, self.width), split=heads)

    def _by_channel(self, name: str, hidden_size: int, *, full_rank: bool) -> Iterator[Weight]:
        """hidden -> one number for each channel of each head; through head_dim where the rank is low."""
        if full_rank:
            yield Weight(f"{name}_proj", "attention", (self.width, hidden_size), split=self.num_heads)
        else:
            yield Weight(f"{name}_a_proj", "attention", (self.head_dim, hidden_size))
            yield Weight(f"{name}_b_proj", "attention", (self.width, self.head_dim), split=self.num_heads)

    def work(self, site: Site) -> Iterator[Work]:
        flops = FLOPS_PER_STATE_ELEMENT * self.state_elements
        yield Work("delta rule", "attention", flops, ONCE_PER_TOKEN, "other", split=self.num_heads)
