"""Gated DeltaNet: linear attention with a gated delta-rule memory. Its state does not grow with the context.

Keeps     one matrix of linear_key_head_dim x linear_value_head_dim per value head, and the last linear_conv_kernel_dim - 1 inputs
          of the convolution on q, k and v
Formula   bytes/layer = value heads x key dim x value dim x 4 + (2 x key heads x key dim + value heads x value dim) x (taps - 1) x 2
Worked    qwen3-next-80b-a3b, bf16, fixed: 36 x (32 x 128 x 128 x 4 + (2 x 16 x 128 + 32 x 128) x 3 x 2) = 77,266,944 bytes
Omits     norms, gates and the l2 norm of q and k in the FLOPs; in a prefill the products within a chunk of the chunked form
Assumes   7 FLOPs per element of the matrix and token: decay 1, read for the correction 2, outer-product update 2, read-out 2;
          the recurrent state in fp32 (what the reference keeps), taps in the model's 16 bits
Used by   Qwen3-Next, Qwen3.5
Source    Gated Delta Networks, arXiv:2412.06464; transformers models/qwen3_next
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from kvcalc.kind import Attention, Count, Row, Site, Taps, Weight, Width, Work, vector
from kvcalc.slots import ONCE_PER_TOKEN, Fixed

FLOPS_PER_STATE_ELEMENT = 1 + 2 + 2 + 2


class GatedDeltaNet(Attention):
    kind: Literal["gdn"]
    linear_num_key_heads: Count = Field(description="Query and key heads")
    linear_num_value_heads: Count = Field(description="Value heads")
    linear_key_head_dim: Width = Field(description="Width of a query and key head [elements]")
    linear_value_head_dim: Width = Field(description="Width of a value head [elements]")
    linear_conv_kernel_dim: Taps = Field(description="Taps of the convolution, the current token included [tokens]")

    @property
    def key_width(self) -> int:
        return self.linear_num_key_heads * self.linear_key_head_dim

    @property
    def value_width(self) -> int:
        return self.linear_num_value_heads * self.linear_value_head_dim

    @property
    def state_elements(self) -> int:
        return self.linear_num_value_heads * self.linear_key_head_dim * self.linear_value_head_dim

    def rows(self, site: Site) -> Iterator[Row]:
        taps = Fixed(self.linear_conv_kernel_dim - 1)
        yield Row("recurrent", "recurrent", self.state_elements, Fixed(1), Fixed(1), split=self.linear_num_value_heads)
        yield Row("conv", "conv", 2 * self.key_width + self.value_width, taps, taps, split=self.linear_num_key_heads)

    def weights(self, site: Site) -> Iterator[Weight]:
        d, key_heads, value_heads = site.hidden_size, self.linear_num_key_heads, self.linear_num_value_heads
        yield Weight("in_proj_qkvz", "attention", (2 * self.key_width + 2 * self.value_width, d), split=key_heads)
        yield Weight("in_proj_ba", "attention", (2 * value_heads, d), split=value_heads)
        taps = (2 * self.key_width + self.value_width, self.linear_conv_kernel_dim)
        yield Weight("conv1d", "attention", taps, "conv", split=key_heads)
        yield vector("dt_bias", "attention", value_heads, split=value_heads)
        yield vector("A_log", "attention", value_heads, split=value_heads)
        yield vector("norm", "norms", self.linear_value_head_dim)
        yield Weight("out_proj", "attention", (d, self.value_width), split=value_heads)

    def work(self, site: Site) -> Iterator[Work]:
        flops = FLOPS_PER_STATE_ELEMENT * self.state_elements
        yield Work("delta rule", "attention", flops, ONCE_PER_TOKEN, "other", split=self.linear_num_value_heads)
