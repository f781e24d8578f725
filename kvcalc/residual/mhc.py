"""Manifold-constrained hyper-connections (mHC): n copies of the residual stream, mixed by a doubly stochastic matrix at each site.

Keeps     nothing: it costs traffic and a little work, and saves no cache
Formula   parameters/site = n(n + 2) x n d + n(n + 2) + 3, two sites per layer; head: n x n d + n + 1.
          FLOPs/site and token = 2 n(n + 2) n d (coefficients) + 2 n d (into the block) + 2 n^2 d + 2 n d (mix and write back)
Worked    deepseek-v4-flash, mhc, parameters: 43 x 2 x (24 x 4 x 4096 + 24 + 3) + 4 x 4 x 4096 + 4 + 1 = 33,884,439 parameters
Omits     the Sinkhorn iterations (n x n numbers) and norms in the FLOPs
Assumes   traffic is what n streams add to a plain residual's three passes over d elements per site: two-pass kernels move (3n + 2) d,
          single-pass ones (2n + 2) d; elements of 16 bits
Used by   DeepSeek-V4 (two-pass), V4.1 (single-pass, no head)
Source    mHC, arXiv:2512.24880; DeepSeek-V4, arXiv:2606.19348, section 2.2; transformers models/deepseek_v4
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from kvcalc.kind import Count, Residual, Site, Stream, Weight, Work, vector
from kvcalc.slots import ONCE_PER_TOKEN

NORMS_PER_LAYER = 2
SITES_PER_LAYER = 2


class HyperConnections(Residual):
    kind: Literal["mhc"]
    hc_mult: Count = Field(description="Copies of the residual stream (n)")
    head: bool = Field(True, description="A learned mix of the copies before the final norm")
    passes: Literal[1, 2] = Field(2, description="Passes of the fused kernels over the streams")

    @property
    def streams_kept(self) -> int:
        return self.hc_mult

    def weights(self, site: Site) -> Iterator[Weight]:
        n, d = self.hc_mult, site.hidden_size
        yield vector("layer_norms", "norms", d, copies=NORMS_PER_LAYER)
        yield Weight("hc_coefficients", "mhc", (n * (n + 2), n * d), copies=SITES_PER_LAYER)
        yield vector("hc_base", "mhc", n * (n + 2), copies=SITES_PER_LAYER)
        yield vector("hc_scale", "mhc", 3, copies=SITES_PER_LAYER)

    def model_weights(self, site: Site) -> Iterator[Weight]:
        n, d = self.hc_mult, site.hidden_size
        yield vector("final_norm", "norms", d)
        if self.head:
            yield Weight("hc_head", "mhc", (n, n * d))
            yield vector("hc_head_base", "mhc", n + 1)

    def work(self, site: Site) -> Iterator[Work]:
        n, d = self.hc_mult, site.hidden_size
        per_site = 2 * n * d + 2 * n * n * d + 2 * n * d
        yield Work("stream mixing", "mhc", SITES_PER_LAYER * per_site, ONCE_PER_TOKEN, "other")

    def streams(self, site: Site) -> Iterator[Stream]:
        n, d = self.hc_mult, site.hidden_size
        read = (2 * n + 1 if self.passes == 2 else n + 1) * d
        written = (n + 1) * d
        yield Stream("residual streams", "mhc", SITES_PER_LAYER * (read - 2 * d), SITES_PER_LAYER * (written - d))
