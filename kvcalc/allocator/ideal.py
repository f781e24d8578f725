"""What the layout needs, and no more: every live slot once, in its format.

Reserves  for each row the slots that a sequence holds at the context, for each sequence of the batch
Formula   bytes = sum over rows of layers x batch x held(t) x bytes of a slot
Worked    llama-3.1-8b, 131,072 tokens, bf16: 131,072 x 131,072 = 17,179,869,184 bytes
Omits     nothing is rounded to pages, blocks or groups; no copies
Assumes   nothing
Source    the ledger
"""

from typing import ClassVar

from kvcalc.allocator import Allocator, Reservation, owned, reserved
from kvcalc.ledger import row_format
from kvcalc.scenario import Scenario
from kvcalc.spec import ModelSpec


class Ideal(Allocator):
    about: ClassVar[str] = "ideal"

    def reserve(self, model: ModelSpec, scenario: Scenario) -> Reservation:
        rows = (
            reserved(block, row, row_format(model, scenario, row), row.held.count(scenario.context), scenario.batch)
            for block, row in owned(model, scenario)
        )
        return Reservation(self.about, tuple(rows))
