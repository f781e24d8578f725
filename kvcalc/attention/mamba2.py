"""Mamba-2: a selective state space whose decay is one number per head. Its state does not grow with the context.

Keeps     one matrix of head_dim x state_size per head, and the last conv_kernel - 1 inputs of the convolution on x, B and C
Formula   bytes/layer = num_heads x head_dim x state_size x 4
          + (num_heads x head_dim + 2 x n_groups x state_size) x (conv_kernel - 1) x 2
Worked    mamba-codestral-7b-v0.1, bf16, fixed: 64 x (128 x 64 x 128 x 4 + (128 x 64 + 2 x 8 x 128) x 3 x 2) = 272,367,616 bytes
Omits     the activation, norms, the gate, the exponential of the decay and the skip by D in the FLOPs; in a prefill the products
          within a chunk of the chunked form
Assumes   5 FLOPs per state element and token: decay 1, outer product of input and B 1, add 1, read-out with C 2; the recurrent
          state in fp32 (what the reference keeps), taps in the model's 16 bits; under tensor parallelism heads are cut, and groups
          too, or repeated where they are fewer than devices
Used by   Mamba-2, Codestral Mamba, Nemotron-H, Nemotron 2 and 3, Granite 4, Bamba, Zamba2, PLaMo-2; Falcon-H1 (beside attention)
Source    Mamba-2, arXiv:2405.21060; transformers models/mamba2, nemotron_h, falcon_h1, zamba2; PLaMo 2, arXiv:2509.04897
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, model_validator

from kvcalc.kind import Attention, Count, Row, Site, Taps, Weight, Width, Work, vector
from kvcalc.slots import ONCE_PER_TOKEN, Fixed

FLOPS_PER_STATE_ELEMENT = 1 + 1 + 1 + 2


class Mamba2(Attention):
    kind: Literal["mamba2"]
    num_heads: Count = Field(description="Heads")
    head_dim: Width = Field(description="Width of a head [elements]")
    state_size: Width = Field(description="State of one element of a head [elements]")
    n_groups: Count = Field(1, description="Groups of heads that share their B and C")
    conv_kernel: Taps = Field(description="Taps of the convolution, the current token included [tokens]")
    use_bias: bool = Field(False, description="A bias on the input projection")
    out_bias: bool = Field(False, description="A bias on the output projection")
    use_conv_bias: bool = Field(True, description="A bias on the convolution")
    gated_norm: bool = Field(True, description="A norm with weights on the gated output")
    time_step_rank: Width | None = Field(
        None,
        description="B, C and the step size come from the convolved x, the step size through so many elements, with a norm on "
        "each (PLaMo-2); not given: from the layer's input [elements]",
    )

    @model_validator(mode="after")
    def _consistent(self) -> "Mamba2":
        if self.num_heads % self.n_groups:
            raise ValueError(f"num_heads {self.num_heads} is not a multiple of n_groups {self.n_groups}")
        return self

    @property
    def inner_width(self) -> int:
        return self.num_heads * self.head_dim

    @property
    def group_width(self) -> int:
        """B and C of all groups."""
        return 2 * self.n_groups * self.state_size

    def rows(self, site: Site) -> Iterator[Row]:
        taps = Fixed(self.conv_kernel - 1)
        yield Row("recurrent", "recurrent", self.inner_width * self.state_size, Fixed(1), Fixed(1), split=self.num_heads)
        yield Row("conv", "conv", self.inner_width, taps, taps, split=self.num_heads)
        if self.time_step_rank is None:
            yield Row("conv_bc", "conv", self.group_width, taps, taps, split=self.n_groups)

    def weights(self, site: Site) -> Iterator[Weight]:
        d, heads, groups, inner = site.hidden_size, self.num_heads, self.n_groups, self.inner_width
        yield Weight("in_proj_zx", "attention", (2 * inner, d), split=heads)
        yield Weight("conv1d_x", "attention", (inner, self.conv_kernel), "conv", split=heads)
        if self.time_step_rank is None:
            yield Weight("in_proj_bc", "attention", (self.group_width, d), split=groups, uneven="repeat")
            yield Weight("in_proj_dt", "attention", (heads, d), split=heads)
            taps = (self.group_width, self.conv_kernel)
            yield Weight("conv1d_bc", "attention", taps, "conv", split=groups, uneven="repeat")
            if self.use_conv_bias:
                yield vector("conv_bias_bc", "attention", self.group_width, split=groups, uneven="repeat")
        else:
            yield Weight("bcdt_proj", "attention", (self.group_width + self.time_step_rank, inner), split=heads)
            yield Weight("dt_proj", "attention", (heads, self.time_step_rank), split=heads)
            yield vector("dt_norm", "norms", self.time_step_rank)
            yield vector("b_norm", "norms", self.state_size)
            yield vector("c_norm", "norms", self.state_size)
        yield vector("dt_bias", "attention", heads, split=heads)
        yield vector("A_log", "attention", heads, split=heads)
        yield vector("D", "attention", heads, split=heads)
        yield Weight("out_proj", "attention", (d, inner), split=heads)
        if self.use_conv_bias:
            yield vector("conv_bias", "attention", inner, split=heads)
        if self.use_bias:
            beside = self.group_width + heads if self.time_step_rank is None else 0
            yield vector("in_bias", "attention", 2 * inner + beside)
        if self.out_bias:
            yield vector("out_bias", "attention", d)
        if self.gated_norm:
            yield vector("gated_norm", "norms", inner, split=heads)

    def work(self, site: Site) -> Iterator[Work]:
        flops = FLOPS_PER_STATE_ELEMENT * self.inner_width * self.state_size
        yield Work("state update", "attention", flops, ONCE_PER_TOKEN, "other", split=self.num_heads)
