"""Dense feed-forward block, gated (SwiGLU, GeGLU: three matrices) or plain (two).

Keeps     nothing
Formula   parameters/layer = (3 if gated else 2) x hidden_size x intermediate_size, + biases
Worked    llama-3.1-8b, dense_mlp, parameters: 32 x 3 x 4096 x 14336 = 5,637,144,576 parameters
Omits     the activation function and the product with the gate in the FLOPs
Assumes   every matrix is used once per token
Used by   Llama, Qwen, Mistral, Gemma; GPT-2 (plain); the first layers of DeepSeek and Laguna
Source    Shazeer 2020, arXiv:2002.05202
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from kvcalc.kind import Count, FeedForward, Site, Weight, Width, vector


class MLP(FeedForward):
    kind: Literal["mlp"]
    intermediate_size: Width = Field(description="Width of the block [elements]")
    gated: bool = Field(True, description="Three matrices (gate, up, down); otherwise two")
    mlp_bias: bool = Field(False, description="Biases on every matrix")
    global_scale: bool = Field(False, description="One learned scale of the output")
    inner_norm: bool = Field(False, description="A norm before the last matrix")
    activation_parameters: Count | None = Field(None, description="Learned numbers of the activation function")

    def weights(self, site: Site) -> Iterator[Weight]:
        into, width = 2 if self.gated else 1, self.intermediate_size
        yield Weight("up_proj", "dense_mlp", (width, site.hidden_size), copies=into, split=width)
        yield Weight("down_proj", "dense_mlp", (site.hidden_size, width), split=width)
        if self.mlp_bias:
            yield vector("up_bias", "dense_mlp", width, copies=into, split=width)
            yield vector("down_bias", "dense_mlp", site.hidden_size)
        if self.global_scale:
            yield vector("global_scale", "dense_mlp", 1)
        if self.inner_norm:
            yield vector("inner_norm", "norms", width)
        if self.activation_parameters is not None:
            yield vector("activation", "dense_mlp", self.activation_parameters)
