"""Real-gated linear recurrent unit (RG-LRU): one number per channel, decayed and fed through gates. Its state does not grow.

Keeps     one number per channel of `lru_width`, and the last conv1d_width - 1 inputs of the convolution before it
Formula   bytes/layer = lru_width x 4 + lru_width x (conv1d_width - 1) x 2
Worked    recurrentgemma-2b, bf16, fixed: 18 x (2560 x 4 + 2560 x 3 x 2) = 460,800 bytes
Omits     the activation, sigmoids, exponentials and roots, and the gate of the other branch in the FLOPs
Assumes   10 FLOPs per channel and token: biases of the two gates 2, logarithm of the decay 2, its double 1, 1 - a^2 1, gate and
          scale of the input 2, decay 1, add 1; the recurrent state in fp32 (as the reference keeps it), taps in 16 bits
Used by   RecurrentGemma (Griffin)
Source    Griffin, arXiv:2402.19427, section 2.4; transformers models/recurrent_gemma
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, model_validator

from kvcalc.kind import Attention, Count, Row, Site, Taps, Weight, Width, Work, vector
from kvcalc.slots import ONCE_PER_TOKEN, Fixed

FLOPS_PER_CHANNEL = 2 + 2 + 1 + 1 + 2 + 1 + 1


class RGLRU(Attention):
    kind: Literal["rglru"]
    lru_width: Width = Field(description="Channels [elements]")
    conv1d_width: Taps = Field(description="Taps of the convolution, the current token included [tokens]")
    num_blocks: Count = Field(description="Diagonal blocks of the two gates (num_attention_heads)")

    @model_validator(mode="after")
    def _consistent(self) -> "RGLRU":
        if self.lru_width % self.num_blocks:
            raise ValueError(f"lru_width {self.lru_width} is not a multiple of num_blocks {self.num_blocks}")
        return self

    def rows(self, site: Site) -> Iterator[Row]:
        taps = Fixed(self.conv1d_width - 1)
        yield Row("recurrent", "recurrent", self.lru_width, Fixed(1), Fixed(1), split=self.num_blocks)
        yield Row("conv", "conv", self.lru_width, taps, taps, split=self.num_blocks)

    def weights(self, site: Site) -> Iterator[Weight]:
        d, width, blocks = site.hidden_size, self.lru_width, self.num_blocks
        block = (width // blocks, width // blocks)
        yield Weight("linear_x", "attention", (width, d), split=blocks)
        yield Weight("linear_y", "attention", (width, d), split=blocks)
        yield Weight("conv_1d", "attention", (width, self.conv1d_width), "conv", split=blocks)
        yield Weight("input_gate", "attention", block, copies=blocks, split=blocks)
        yield Weight("recurrent_gate", "attention", block, copies=blocks, split=blocks)
        yield vector("recurrent_param", "attention", width, split=blocks)
        yield Weight("linear_out", "attention", (d, width), split=blocks)
        yield vector("in_biases", "attention", width, copies=2, split=blocks)
        yield vector("conv_bias", "attention", width, split=blocks)
        yield vector("gate_biases", "attention", width, copies=2, split=blocks)
        yield vector("out_bias", "attention", d)

    def work(self, site: Site) -> Iterator[Work]:
        flops = FLOPS_PER_CHANNEL * self.lru_width
        yield Work("recurrence", "attention", flops, ONCE_PER_TOKEN, "other", split=self.num_blocks)
