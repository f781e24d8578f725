"""Residual scaling: both terms of each sum get a learned scale and bias per element, and so does the embedding.

Keeps     nothing
Formula   parameters = layers x 2 x 4 x hidden_size + 2 x hidden_size, + norms
Worked    zaya1-8b, residual_scaling, parameters: 40 x 8 x 2048 + 2 x 2048 = 659,456 parameters
Omits     elementwise products in the FLOPs; the stream's own traffic (kept in fp32 by the reference)
Assumes   two sums per layer, after attention and after the experts
Used by   ZAYA1
Source    transformers models/zaya; ZAYA1 technical report, arXiv:2511.17127
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.kind import Residual, Site, Weight, vector

NORMS_PER_LAYER = 2
SCALED_SUMS_PER_LAYER = 2
VECTORS_PER_SUM = 4


class ScaledResidual(Residual):
    kind: Literal["scaled"]

    def weights(self, site: Site) -> Iterator[Weight]:
        yield vector("layer_norms", "norms", site.hidden_size, copies=NORMS_PER_LAYER)
        yield vector("residual_scales", "residual_scaling", site.hidden_size, copies=SCALED_SUMS_PER_LAYER * VECTORS_PER_SUM)

    def model_weights(self, site: Site) -> Iterator[Weight]:
        yield vector("final_norm", "norms", site.hidden_size)
        yield vector("input_scales", "residual_scaling", site.hidden_size, copies=2)
