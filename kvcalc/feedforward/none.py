"""No feed-forward block: a layer that only mixes tokens, and has no norm before a block.

Keeps     nothing
Formula   0 parameters
Worked    nemotron-h-8b, dense_mlp, parameters: 24 x 2 x 4096 x 21504 = 4,227,858,432 parameters
Omits     nothing
Assumes   the layer is only its sequence mixing and its norm
Used by   Nemotron-H, Mamba, Nemotron-NAS
Source    Nemotron-H, arXiv:2504.03624; Mamba, arXiv:2312.00752
"""

from typing import Literal

from kvcalc.kind import FeedForward


class NoFeedForward(FeedForward):
    kind: Literal["none"]

    @property
    def absent(self) -> bool:
        return True
