"""Gated hyper-connections: n copies of the residual stream, mixed into a block by a gate per element, and added to by a gate per copy.

Keeps     nothing: it costs traffic and a little work, and saves no cache
Formula   parameters/site = 2 r x n d (through rank r) + n x n d, two sites per layer; end of the model: 2 r x n d; a norm of n d each
Worked    qwen3.8-flash-next, mhc, parameters: 96 x (2 x 320 + 4) x 4 x 2560 + 2 x 320 x 4 x 2560 = 639,631,360 parameters
Omits     norms and activations in the FLOPs
Assumes   traffic is what n streams add to a plain residual's three passes over d elements per site, in kernels of two passes:
          (3n + 2) d; elements of 16 bits
Used by   Qwen3.8-Flash-Next
Source    transformers models/qwen4_exp
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from kvcalc.kind import Count, Residual, Site, Stream, Weight, Width, Work, vector
from kvcalc.slots import ONCE_PER_TOKEN

SITES_PER_LAYER = 2


class GatedStreams(Residual):
    kind: Literal["gated_streams"]
    hc_count: Count = Field(description="Copies of the residual stream (n)")
    hc_lowrank: Width = Field(description="Rank of the gate that mixes them into a block (r) [elements]")

    @property
    def streams_kept(self) -> int:
        return self.hc_count

    def weights(self, site: Site) -> Iterator[Weight]:
        yield from self._mixer(site, SITES_PER_LAYER)
        yield Weight("hc_inject", "mhc", (self.hc_count, self.hc_count * site.hidden_size), copies=SITES_PER_LAYER)

    def model_weights(self, site: Site) -> Iterator[Weight]:
        yield from self._mixer(site, 1)

    def _mixer(self, site: Site, copies: int) -> Iterator[Weight]:
        width, rank = self.hc_count * site.hidden_size, self.hc_lowrank
        yield vector("hc_norm", "norms", width, copies=copies)
        yield Weight("hc_mix_down", "mhc", (rank, width), copies=copies)
        yield Weight("hc_mix_up", "mhc", (width, rank), copies=copies)

    def work(self, site: Site) -> Iterator[Work]:
        per_site = 2 * self.hc_count * site.hidden_size + 2 * self.hc_count * site.hidden_size
        yield Work("stream mixing", "mhc", SITES_PER_LAYER * per_site, ONCE_PER_TOKEN, "other")

    def streams(self, site: Site) -> Iterator[Stream]:
        n, d = self.hc_count, site.hidden_size
        read, written = (2 * n + 1) * d, (n + 1) * d
        yield Stream("residual streams", "mhc", SITES_PER_LAYER * (read - 2 * d), SITES_PER_LAYER * (written - d))
