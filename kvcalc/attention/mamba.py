"""Mamba (Mamba-1): a selective state space with a decay for each element of its state, which does not grow with the context.

Keeps     one vector of `state_size` per channel of `intermediate_size`, and the last conv_kernel - 1 inputs of the convolution
Formula   bytes/layer = intermediate_size x state_size x 4 + intermediate_size x (conv_kernel - 1) x 2
Worked    mamba-2.8b, bf16, fixed: 64 x (5120 x 16 x 4 + 5120 x 3 x 2) = 22,937,600 bytes
Omits     the activation, the gate, the exponential of the decay and the skip by D in the FLOPs; in a prefill the products of a
          parallel scan; under tensor parallelism the sum of x_proj over devices
Assumes   6 FLOPs per state element and token: step x A 1, decay 1, outer product of input and B 1, add 1, read-out with C 2;
          the recurrent state in fp32 (what the reference keeps), taps in the model's 16 bits
Used by   Mamba, Falcon-Mamba (norms without weights), Jamba (norms with weights), Hymba (beside attention)
Source    Mamba, arXiv:2312.00752; Jamba, arXiv:2403.19887; transformers models/mamba, falcon_mamba, jamba
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from kvcalc.kind import Attention, Row, Site, Taps, Weight, Width, Work, vector
from kvcalc.slots import ONCE_PER_TOKEN, Fixed

FLOPS_PER_STATE_ELEMENT = 1 + 1 + 1 + 1 + 2


class Mamba(Attention):
    kind: Literal["mamba"]
    intermediate_size: Width = Field(description="Channels: expand x hidden_size [elements]")
    state_size: Width = Field(description="State of one channel [elements]")
    conv_kernel: Taps = Field(description="Taps of the convolution, the current token included [tokens]")
    time_step_rank: Width = Field(description="Width of the low-rank step size [elements]")
    use_bias: bool = Field(False, description="Biases on the input and output projections")
    use_conv_bias: bool = Field(True, description="A bias on the convolution")
    dt_b_c_norms: bool = Field(False, description="Norms with weights on the step size, B and C (Jamba)")

    def rows(self, site: Site) -> Iterator[Row]:
        channels, taps = self.intermediate_size, Fixed(self.conv_kernel - 1)
        yield Row("recurrent", "recurrent", channels * self.state_size, Fixed(1), Fixed(1), split=channels)
        yield Row("conv", "conv", channels, taps, taps, split=channels)

    def weights(self, site: Site) -> Iterator[Weight]:
        d, channels, state, rank = site.hidden_size, self.intermediate_size, self.state_size, self.time_step_rank
        yield Weight("in_proj", "attention", (2 * channels, d), split=channels)
        yield Weight("conv1d", "attention", (channels, self.conv_kernel), "conv", split=channels)
        yield Weight("x_proj", "attention", (rank + 2 * state, channels), split=channels)
        yield Weight("dt_proj", "attention", (channels, rank), split=channels)
        yield vector("dt_bias", "attention", channels, split=channels)
        yield vector("A_log", "attention", channels * state, split=channels)
        yield vector("D", "attention", channels, split=channels)
        yield Weight("out_proj", "attention", (d, channels), split=channels)
        if self.use_conv_bias:
            yield vector("conv_bias", "attention", channels, split=channels)
        if self.use_bias:
            yield vector("in_bias", "attention", 2 * channels, split=channels)
            yield vector("out_bias", "attention", d)
        if self.dt_b_c_norms:
            yield vector("dt_norm", "norms", rank)
            yield vector("b_norm", "norms", state)
            yield vector("c_norm", "norms", state)

    def work(self, site: Site) -> Iterator[Work]:
        flops = FLOPS_PER_STATE_ELEMENT * self.intermediate_size * self.state_size
        yield Work("state update", "attention", flops, ONCE_PER_TOKEN, "other", split=self.intermediate_size)
