"""Alternating updates (AltUp) with LAuReL: n copies of the residual stream, of which each layer runs one and predicts the others.

Keeps     nothing: it costs weights, traffic and a little work, and saves no cache
Formula   parameters/layer = n x hidden_size + n^3 + n^2 + hidden_size (altup) + 2 x laurel_rank x hidden_size (laurel), + norms;
          once in the model = 2 (n - 1) x hidden_size^2, which make n copies of the embedding and one vector of the n
Worked    gemma-3n-e4b, altup, parameters: 35 x (4 x 2048 + 64 + 16 + 2048) + 2 x 3 x 2048 x 2048 = 25,527,024 parameters
Omits     norms and tanh in the FLOPs
Assumes   the n copies are read and written once by the prediction and once by the correction, elements of 16 bits; what a layer
          does to the one copy that it runs is a plain residual's
Used by   Gemma 3n
Source    AltUp, arXiv:2301.13310; LAuReL, arXiv:2411.07501; transformers models/gemma3n
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from kvcalc.kind import Count, Residual, Site, Stream, Weight, Width, Work, vector
from kvcalc.slots import ONCE_PER_TOKEN


class AlternatingUpdates(Residual):
    kind: Literal["altup"]
    altup_num_inputs: Count = Field(description="Copies of the residual stream (n)")
    laurel_rank: Width = Field(description="Width of the low-rank branch beside attention [elements]")
    norms_per_layer: Annotated[int, Field(ge=0, le=64)] = Field(
        4, description="Norms of hidden_size in each layer, without those of the router and of the low-rank branch"
    )

    @property
    def streams_kept(self) -> int:
        return self.altup_num_inputs

    def weights(self, site: Site) -> Iterator[Weight]:
        n, d = self.altup_num_inputs, site.hidden_size
        yield vector("layer_norms", "norms", d, copies=self.norms_per_layer)
        yield Weight("modality_router", "altup", (n, d))
        yield vector("router_norm", "norms", d)
        yield Weight("prediction_coefs", "altup", (n * n, n))
        yield Weight("correction_coefs", "altup", (n, n))
        yield vector("correct_output_scale", "altup", d)
        yield Weight("laurel_left", "laurel", (self.laurel_rank, d), split=self.laurel_rank)
        yield Weight("laurel_right", "laurel", (d, self.laurel_rank), split=self.laurel_rank)
        yield vector("post_laurel_norm", "norms", d)

    def model_weights(self, site: Site) -> Iterator[Weight]:
        n, d = self.altup_num_inputs, site.hidden_size
        yield vector("final_norm", "norms", d)
        if n > 1:
            yield Weight("altup_projections", "altup", (d, d), copies=n - 1, split=d)
            yield Weight("altup_unembed_projections", "altup", (d, d), copies=n - 1, split=d)

    def work(self, site: Site) -> Iterator[Work]:
        n, d = self.altup_num_inputs, site.hidden_size
        correction = 2 * n * d + 2 * n * d  # the router's second use, on the layer's output; then the copies are corrected
        yield Work("stream mixing", "altup", 2 * n * n * d + correction, ONCE_PER_TOKEN, "other")

    def streams(self, site: Site) -> Iterator[Stream]:
        n, d = self.altup_num_inputs, site.hidden_size
        yield Stream("residual streams", "altup", (2 * n + 1) * d, 2 * n * d)
