"""A feed-forward block that nobody described: the config lacks a field, so weights and FLOPs of the model are not known.

Keeps     nothing
Formula   none
Worked    granite-4.0-h-micro, bf16, growth: 0 x 2 = 0 bytes
Omits     its weights and products: whoever asks for them is told which field is missing
Assumes   nothing; state does not depend on it
Used by   models whose config leaves out a width or a list of layers
Source    the config that the spec names
"""

from typing import Literal

from pydantic import Field

from kvcalc.kind import FeedForward


class UnknownFeedForward(FeedForward):
    kind: Literal["unknown"]
    fields: list[str] = Field(min_length=1, description="Config fields that are missing")

    @property
    def missing(self) -> tuple[str, ...]:
        return tuple(self.fields)
