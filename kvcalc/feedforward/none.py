"""No feed-forward block: a layer that only mixes tokens, and has no norm before a block; or a matrix in its place, with its norm.

Keeps     nothing
Formula   0 parameters; hidden_size x hidden_size with a matrix in its place
Worked    nemotron-h-8b, dense_mlp, parameters: 24 x 2 x 4096 x 21504 = 4,227,858,432 parameters
Omits     nothing
Assumes   the layer is only its sequence mixing and its norm, or has a matrix and its norm too
Used by   Nemotron-H, Mamba, Nemotron-NAS
Source    Nemotron-H, arXiv:2504.03624; Mamba, arXiv:2312.00752
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from kvcalc.kind import FeedForward, Site, Weight


class NoFeedForward(FeedForward):
    kind: Literal["none"]
    replace_with_linear: bool = Field(False, description="A matrix of hidden_size x hidden_size in its place")

    @property
    def absent(self) -> bool:
        return not self.replace_with_linear

    def weights(self, site: Site) -> Iterator[Weight]:
        if self.replace_with_linear:
            yield Weight("linear", "dense_mlp", (site.hidden_size, site.hidden_size))
