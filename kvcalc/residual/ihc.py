"""Independent hyper-connections (iHC): n copies of the residual stream, each read and added to by a gate of its own, and not mixed.

Keeps     nothing: it costs traffic and a little work, and saves no cache
Formula   parameters/site = 2 n x n d + 2 n + 2, two sites per layer; head: n x n d + n + 1; d = hidden_size.
          FLOPs/site and token = 2 x 2 n x n d (coefficients) + 2 n d (into the block) + 2 n d (write back)
Worked    hy-v4-preview, mhc, parameters: 78 x 2 x (8 x 4 x 6144 + 8 + 2) + 4 x 4 x 6144 + 4 + 1 = 30,770,717 parameters
Omits     gates and norms in the FLOPs
Assumes   traffic is what n streams add to a plain residual's three passes over d elements per site, in kernels of two passes:
          (3n + 2) d; elements of 16 bits
Used by   HY-V4
Source    transformers models/hy_v4; vLLM 0.33.0 models/hy_v4
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from kvcalc.kind import Count, Residual, Site, Stream, Weight, Work, vector
from kvcalc.slots import ONCE_PER_TOKEN

NORMS_PER_LAYER = 2
SITES_PER_LAYER = 2
GATES = 2
"""Of each copy and site: one into the block, one from it."""


class IndependentHyperConnections(Residual):
    kind: Literal["ihc"]
    hc_mult: Count = Field(description="Copies of the residual stream (n)")

    @property
    def streams_kept(self) -> int:
        return self.hc_mult

    def weights(self, site: Site) -> Iterator[Weight]:
        n, d = self.hc_mult, site.hidden_size
        yield vector("layer_norms", "norms", d, copies=NORMS_PER_LAYER)
        yield Weight("hc_coefficients", "mhc", (GATES * n, n * d), copies=SITES_PER_LAYER)
        yield vector("hc_base", "mhc", GATES * n, copies=SITES_PER_LAYER)
        yield vector("hc_scale", "mhc", GATES, copies=SITES_PER_LAYER)

    def model_weights(self, site: Site) -> Iterator[Weight]:
        n, d = self.hc_mult, site.hidden_size
        yield vector("final_norm", "norms", d)
        yield Weight("hc_head", "mhc", (n, n * d))
        yield vector("hc_head_base", "mhc", n + 1)

    def work(self, site: Site) -> Iterator[Work]:
        per_site = 2 * GATES * self.hc_mult * site.hidden_size
        yield Work("stream mixing", "mhc", SITES_PER_LAYER * per_site, ONCE_PER_TOKEN, "other")

    def streams(self, site: Site) -> Iterator[Stream]:
        n, d = self.hc_mult, site.hidden_size
        read, written = (2 * n + 1) * d, (n + 1) * d
        yield Stream("residual streams", "mhc", SITES_PER_LAYER * (read - 2 * d), SITES_PER_LAYER * (written - d))
