"""No attention: a layer that mixes no tokens, and has no norm before it.

Keeps     nothing
Formula   0 bytes, 0 parameters
Worked    llama-3.3-nemotron-super-49b-v1, bf16, growth: 0 x 2 = 0 bytes
Omits     nothing
Assumes   the layer is only a feed-forward block and its norm
Used by   Nemotron-H (MLP and MoE layers), layers that a search cut from Nemotron-NAS models
Source    Puzzle, arXiv:2411.19146; Nemotron-H, arXiv:2504.03624
"""

from typing import Literal

from kvcalc.kind import Attention


class NoAttention(Attention):
    kind: Literal["none"]

    @property
    def absent(self) -> bool:
        return True
