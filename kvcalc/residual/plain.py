"""The plain residual: x + f(norm(x)) around attention and feed-forward, and a final norm.

Keeps     nothing
Formula   parameters = layers x norms_per_layer x hidden_size + hidden_size (twice that with a norm on the embeddings),
          doubled by norm biases; a layer that has only one of attention and feed-forward has half the norms
Worked    llama-2-7b, norms, parameters: 32 x 2 x 4096 + 4096 = 266,240 parameters
Omits     additions and norms in the FLOPs; the stream's own traffic (a fused step keeps hidden_size elements on the chip)
Assumes   norms are read with the layer
Used by   nearly all
Source    He et al. 2015, arXiv:1512.03385; Zhang and Sennrich 2019, arXiv:1910.07467
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from kvcalc.kind import Residual, Site, Weight, vector

BLOCKS = 2
"""Attention and feed-forward: what a whole layer has."""


class PlainResidual(Residual):
    kind: Literal["plain"]
    norms_per_layer: Annotated[int, Field(ge=0, le=64)] = Field(2, description="Norms of hidden_size in each layer")
    norm_bias: bool = Field(False, description="LayerNorm with bias")
    embedding_norm: bool = Field(False, description="A norm on the embeddings, before the first layer")
    no_final_norm: bool = Field(False, description="The final norm has no weights, or there is none")
    stream_scales: bool = Field(False, description="The stream has a learned scale per element in each of its two sums")

    def weights(self, site: Site) -> Iterator[Weight]:
        norms = self.norms_per_layer * site.blocks // BLOCKS
        if norms:
            yield vector("layer_norms", "norms", site.hidden_size, copies=norms * (1 + self.norm_bias))
        if self.stream_scales:
            yield vector("stream_scales", "residual_scaling", site.hidden_size, copies=site.blocks)

    def model_weights(self, site: Site) -> Iterator[Weight]:
        if not self.no_final_norm:
            yield vector("final_norm", "norms", site.hidden_size, copies=1 + self.norm_bias)
        if self.embedding_norm:
            yield vector("embedding_norm", "norms", site.hidden_size, copies=1 + self.norm_bias)
