"""Lightning attention: linear attention with a fixed decay per head. Its state does not grow with the context.

Keeps     one matrix of head_dim x head_dim per head
Formula   bytes/layer = num_attention_heads x head_dim x head_dim x 4
Worked    minimax-text-01, bf16, fixed: 70 x 64 x 128 x 128 x 4 = 293,601,280 bytes
Omits     norms, gates and rotary embeddings in the FLOPs; in a prefill the products within a block of the blockwise form; the
          decays, which are computed from the place of head and layer and are no weights
Assumes   5 FLOPs per element of the matrix and token: decay 1, outer-product update 2, read-out 2; the state in fp32
Used by   MiniMax-Text-01, MiniMax-M1, Ring-linear, Ling-2.5, Ling-2.6, MiniCPM-SALA
Source    Lightning Attention-2, arXiv:2401.04658; MiniMax-01, arXiv:2501.08313; transformers models/minimax
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from kvcalc.kind import Attention, Count, Row, Site, Weight, Width, Work, vector
from kvcalc.slots import ONCE_PER_TOKEN, Fixed

FLOPS_PER_STATE_ELEMENT = 1 + 2 + 2


class Lightning(Attention):
    kind: Literal["lightning"]
    num_attention_heads: Count = Field(description="Heads of queries, keys and values")
    head_dim: Width = Field(description="Width of a query, key and value head [elements]")
    output_gate: bool = Field(True, description="A gate for each element of the attention output")
    output_norm: bool = Field(True, description="A norm on the attention output, with a weight for each element of all heads")
    qk_norm: bool = Field(False, description="A norm of head_dim weights on queries and one on keys")
    qkv_bias: bool = Field(False, description="Biases on the q, k and v projections")
    gate_bias: bool = Field(False, description="Bias on the projection of the output gate")
    o_bias: bool = Field(False, description="Bias on the output projection")

    @property
    def width(self) -> int:
        """Elements of q, of k and of v."""
        return self.num_attention_heads * self.head_dim

    @property
    def state_elements(self) -> int:
        return self.num_attention_heads * self.head_dim * self.head_dim

    def rows(self, site: Site) -> Iterator[Row]:
        yield Row("recurrent", "recurrent", self.state_elements, Fixed(1), Fixed(1), split=self.num_attention_heads)

    def weights(self, site: Site) -> Iterator[Weight]:
        d, heads = site.hidden_size, self.num_attention_heads
        yield Weight("qkv_proj", "attention", (3 * self.width, d), split=heads)
        yield Weight("o_proj", "attention", (d, self.width), split=heads)
        if self.output_gate:
            yield Weight("gate_proj", "attention", (self.width, d), split=heads)
        if self.qkv_bias:
            yield vector("qkv_bias", "attention", 3 * self.width, split=heads)
        if self.gate_bias:
            yield vector("gate_bias", "attention", self.width, split=heads)
        if self.o_bias:
            yield vector("o_bias", "attention", d)
        if self.qk_norm:
            yield vector("q_norm", "norms", self.head_dim)
            yield vector("k_norm", "norms", self.head_dim)
        if self.output_norm:
            yield vector("o_norm", "norms", self.width, split=heads)

    def work(self, site: Site) -> Iterator[Work]:
        flops = FLOPS_PER_STATE_ELEMENT * self.state_elements
        yield Work("linear attention", "attention", flops, ONCE_PER_TOKEN, "other", split=self.num_attention_heads)
