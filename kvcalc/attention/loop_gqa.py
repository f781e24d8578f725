"""A further pass of a looped model through a layer: it attends to the first pass's keys and values and, in a window, to its own.

Keeps     a key and a value of its own for the last loop_window_size tokens; those of every token stand with the layer's first pass
Formula   bytes/layer and pass = min(tokens, loop_window_size) x num_key_value_heads x 2 x head_dim x bytes/element;
          parameters/layer = num_attention_heads x (head_dim + 1) for the gate, the others are the first pass's
Worked    iquest-coder-v1-40b-loop, attention, parameters: 80 x (5120 x (2 x 5120 + 2 x 1024) + 40 x 129) = 5,033,577,600 parameters
Omits     softmax and the gated sum of the two outputs in the FLOPs
Assumes   the window counts the current token; the gate is a product of each query head with a vector of its own
Used by   IQuest-Coder-V1 Loop
Source    mlx-lm models/iquestloopcoder
"""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from kvcalc.kind import Row, Site, Tokens, Weight, Work, vector
from kvcalc.projections import GroupedQuery
from kvcalc.slots import EVERY, Law, Window


class LoopGQA(GroupedQuery):
    kind: Literal["loop_gqa"]
    loop_window_size: Tokens = Field(
        description="Window over the keys and values of this pass, the current token included [tokens]"
    )

    @property
    def own(self) -> Law:
        """The tokens of which this pass keeps keys and values."""
        return Window(self.loop_window_size)

    def without(self, site: Site) -> dict[str, dict[str, Any]]:
        return {"kv-sharing": {"kind": "gqa"} | self.model_dump(exclude={"kind", "loop_window_size"})} | self.without_groups()

    def rows(self, site: Site) -> Iterator[Row]:
        for row in self.grouped_rows(EVERY, EVERY):
            yield row._replace(owned=False)
        for row in self.grouped_rows(self.own, self.own):
            yield row._replace(name=f"{row.name}_loop")

    def weights(self, site: Site) -> Iterator[Weight]:
        heads = self.num_attention_heads
        yield from self.grouped_weights(site.hidden_size, site.hidden_size)
        yield Weight("loop_gate", "attention", (heads, self.head_dim), split=heads)
        yield vector("loop_gate_bias", "attention", heads, split=heads)

    def work(self, site: Site) -> Iterator[Work]:
        yield from self.grouped_work(EVERY)
        for work in self.grouped_work(self.own):
            yield work._replace(name=f"{work.name} of this pass")
