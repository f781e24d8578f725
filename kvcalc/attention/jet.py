"""JetBlock: a gated delta rule whose values pass a short convolution with taps computed anew for each token.

Keeps     one matrix of head_dim x head_v_dim per head, and the last conv_size - 1 inputs of the convolution on v
Formula   bytes/layer = num_heads x head_dim x head_v_dim x 4 + num_heads x head_v_dim x (conv_size - 1) x 2
Worked    jet-nemotron-2b, bf16, fixed: 24 x (12 x 96 x 256 x 4 + 12 x 256 x 3 x 2) = 28,753,920 bytes
Omits     norms, gates and the l2 norm of q and k in the FLOPs; in a prefill the products within a chunk of the chunked form
Assumes   7 FLOPs per element of the matrix and token: decay 1, read for the correction 2, outer-product update 2, read-out 2; the
          recurrent state in fp32, taps in the model's 16 bits (the reference keeps conv_size columns, one more than needed)
Used by   Jet-Nemotron
Source    Jet-Nemotron, arXiv:2508.15884; github.com/NVlabs/Jet-Nemotron, jetai/modeling/hf/jet_block.py and dynamic_conv.py
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from kvcalc.kind import Attention, Count, Row, Site, Taps, Weight, Width, Work, vector
from kvcalc.slots import ONCE_PER_TOKEN, Fixed

FLOPS_PER_STATE_ELEMENT = 1 + 2 + 2 + 2


class JetBlock(Attention):
    kind: Literal["jet"]
    num_heads: Count = Field(description="Heads of queries, keys and values")
    head_dim: Width = Field(description="Width of a query and key head [elements]")
    head_v_dim: Width = Field(description="Width of a value head: head_dim x expand_v [elements]")
    conv_size: Taps = Field(description="Taps of the convolution, the current token included [tokens]")
    dconv_generator_reduction: Count = Field(description="How many times narrower than the values the maker of the taps is")

    @property
    def key_width(self) -> int:
        return self.num_heads * self.head_dim

    @property
    def value_width(self) -> int:
        return self.num_heads * self.head_v_dim

    @property
    def state_elements(self) -> int:
        return self.num_heads * self.head_dim * self.head_v_dim

    def rows(self, site: Site) -> Iterator[Row]:
        taps = Fixed(self.conv_size - 1)
        yield Row("recurrent", "recurrent", self.state_elements, Fixed(1), Fixed(1), split=self.num_heads)
        yield Row("conv", "conv", self.value_width, taps, taps, split=self.num_heads)

    def weights(self, site: Site) -> Iterator[Weight]:
        d, heads, taps = site.hidden_size, self.num_heads, self.value_width * self.conv_size
        generator = self.value_width // self.dconv_generator_reduction
        yield Weight("qk_proj", "attention", (2 * self.key_width, d), split=heads)
        yield Weight("vg_proj", "attention", (2 * self.value_width, d), split=heads)
        yield Weight("ab_proj", "attention", (2 * heads, d), split=heads)
        yield vector("A_log", "attention", heads, split=heads)
        yield vector("dt_bias", "attention", heads, split=heads)
        yield Weight("taps_down_proj", "attention", (generator, d))
        yield Weight("taps_up_proj", "attention", (taps, generator), split=heads)
        yield vector("taps_bias", "attention", taps, split=heads)
        yield vector("o_norm", "norms", self.head_v_dim)
        yield Weight("o_proj", "attention", (d, self.value_width), split=heads)

    def work(self, site: Site) -> Iterator[Work]:
        heads = self.num_heads
        yield Work(
            "dynamic convolution", "attention", 2 * self.value_width * self.conv_size, ONCE_PER_TOKEN, "other", split=heads
        )
        flops = FLOPS_PER_STATE_ELEMENT * self.state_elements
        yield Work("delta rule", "attention", flops, ONCE_PER_TOKEN, "other", split=heads)
