"""mLSTM: an LSTM whose cell is a matrix per head, with exponential gates. Its state does not grow with the context.

Keeps     per head one matrix of qk_head_dim x v_head_dim, a normaliser of qk_head_dim and the largest gate so far
Formula   bytes/layer = num_heads x (qk_head_dim x v_head_dim + qk_head_dim + 1) x 4
Worked    xlstm-7b, bf16, fixed: 32 x 8 x (256 x 512 + 256 + 1) x 4 = 134,480,896 bytes
Omits     norms, gates and the stabiliser in the FLOPs; in a prefill the products within a chunk of the chunked form
Assumes   5 FLOPs per element of matrix and normaliser and token: forget gate 1, update 2, read-out 2; the state in fp32 (what the
          config asks for; transformers allocates it in the model's format)
Used by   xLSTM-7B
Source    xLSTM, arXiv:2405.04517; xLSTM 7B, arXiv:2503.13427; transformers models/xlstm
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from kvcalc.kind import Attention, Count, Row, Site, Weight, Width, Work, vector
from kvcalc.slots import ONCE_PER_TOKEN, Fixed

FLOPS_PER_STATE_ELEMENT = 1 + 2 + 2


class MLSTM(Attention):
    kind: Literal["mlstm"]
    num_heads: Count = Field(description="Heads of queries, keys and values")
    qk_head_dim: Width = Field(description="Width of a query and key head: embedding_dim x qk_dim_factor / num_heads [elements]")
    v_head_dim: Width = Field(description="Width of a value head: embedding_dim x v_dim_factor / num_heads [elements]")
    use_bias: bool = Field(
        False, description="Biases on every projection and on the norm; the input and forget gates always have one"
    )

    @property
    def qk_width(self) -> int:
        return self.num_heads * self.qk_head_dim

    @property
    def value_width(self) -> int:
        return self.num_heads * self.v_head_dim

    @property
    def state_elements(self) -> int:
        """Matrix, normaliser and largest gate of all heads."""
        return self.num_heads * (self.qk_head_dim * self.v_head_dim + self.qk_head_dim + 1)

    def rows(self, site: Site) -> Iterator[Row]:
        yield Row("recurrent", "recurrent", self.state_elements, Fixed(1), Fixed(1), split=self.num_heads)

    def weights(self, site: Site) -> Iterator[Weight]:
        d, heads = site.hidden_size, self.num_heads
        yield Weight("qk_proj", "attention", (2 * self.qk_width, d), split=heads)
        yield Weight("v_proj", "attention", (self.value_width, d), split=heads)
        yield Weight("output_gate_proj", "attention", (self.value_width, d), split=heads)
        yield Weight("input_forget_gate_proj", "attention", (2 * heads, d), split=heads)
        yield vector("input_forget_gate_bias", "attention", 2 * heads, split=heads)
        yield vector("multihead_norm", "norms", self.value_width, copies=1 + self.use_bias, split=heads)
        yield Weight("out_proj", "attention", (d, self.value_width), split=heads)
        if self.use_bias:
            yield vector("qk_bias", "attention", 2 * self.qk_width, split=heads)
            yield vector("v_bias", "attention", self.value_width, split=heads)
            yield vector("output_gate_bias", "attention", self.value_width, split=heads)
            yield vector("out_bias", "attention", d)

    def work(self, site: Site) -> Iterator[Work]:
        flops = FLOPS_PER_STATE_ELEMENT * self.qk_width * (self.v_head_dim + 1)
        yield Work("matrix memory", "attention", flops, ONCE_PER_TOKEN, "other", split=self.num_heads)
