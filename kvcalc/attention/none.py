"""No attention: a layer that mixes no tokens, and has no norm before it; or a matrix in its place, with its norm.

Keeps     nothing
Formula   0 bytes, 0 parameters; hidden_size x hidden_size with a matrix in its place
Worked    llama-3.3-nemotron-super-49b-v1, bf16, growth: 0 x 2 = 0 bytes
Omits     nothing
Assumes   the layer is only a feed-forward block and its norm, or has a matrix and its norm too
Used by   Nemotron-H (MLP and MoE layers), layers that a search cut from Nemotron-NAS models
Source    Puzzle, arXiv:2411.19146; Nemotron-H, arXiv:2504.03624
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from kvcalc.kind import Attention, Site, Weight


class NoAttention(Attention):
    kind: Literal["none"]
    replace_with_linear: bool = Field(False, description="A matrix of hidden_size x hidden_size in its place")

    @property
    def absent(self) -> bool:
        return not self.replace_with_linear

    def weights(self, site: Site) -> Iterator[Weight]:
        if self.replace_with_linear:
            yield Weight("linear", "attention", (site.hidden_size, site.hidden_size))
