"""Attention residuals: attention and feed-forward read a softmax-weighted sum over the outputs of earlier blocks of layers, with a
learned query and a norm for each of the two, and for the end of the model.

Keeps     nothing: the sums of the blocks live for one step
Formula   parameters/layer = 2 x 2 x hidden_size + 2 norms of hidden_size; end of the model: 2 x hidden_size and the final norm
Worked    kimi-k3, attn_res, parameters: 93 x 4 x 7168 + 2 x 7168 = 2,680,832 parameters
Omits     the weighted sums, in FLOPs and traffic: a few vectors of hidden_size for each block so far
Assumes   queries and norms are read with the layer
Used by   Kimi-K3
Source    mlx-lm models/kimi_k3; llama.cpp conversion/kimi_k3
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.kind import Residual, Site, Weight, vector

NORMS_PER_LAYER = 2
SITES_PER_LAYER = 2
QUERY_AND_NORM = 2


class AttentionResidual(Residual):
    kind: Literal["attn_res"]

    def weights(self, site: Site) -> Iterator[Weight]:
        yield vector("layer_norms", "norms", site.hidden_size, copies=NORMS_PER_LAYER)
        yield vector("attn_res", "attn_res", site.hidden_size, copies=SITES_PER_LAYER * QUERY_AND_NORM)

    def model_weights(self, site: Site) -> Iterator[Weight]:
        yield vector("final_norm", "norms", site.hidden_size)
        yield vector("output_attn_res", "attn_res", site.hidden_size, copies=QUERY_AND_NORM)
