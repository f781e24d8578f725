"""The question: phase, context, batch, formats. Frozen, small, printable in one line."""

from dataclasses import dataclass
from typing import Literal

from kvcalc.errors import ScenarioError
from kvcalc.formats import get_format
from kvcalc.units import MAX_BATCH, MAX_TOKENS, tokens

NATIVE = "native"
Phase = Literal["decode", "prefill"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One step of a model.

    Args:
        phase: decode: one token per sequence, at `context` tokens; prefill: a prompt of `context` tokens from nothing.
        context: tokens whose state is held once the step is done [tokens].
        batch: sequences.
        kv_format: format of kv and index rows; native: as released.
        weight_format: format of every matrix; native: as released.
        include: pieces outside the plain decode that are counted as held (draft, vision_tower ...).
    """

    phase: Phase = "decode"
    context: int = 131072
    batch: int = 1
    kv_format: str = NATIVE
    weight_format: str = NATIVE
    include: tuple[str, ...] = ()
    allocator: Literal["ideal"] = "ideal"

    def __post_init__(self) -> None:
        if self.phase not in ("decode", "prefill"):
            raise ScenarioError(f"unknown phase {self.phase!r}", "phases: decode, prefill")
        if not 1 <= self.context <= MAX_TOKENS:
            raise ScenarioError(f"context {self.context:,} must be between 1 and 2^40 tokens")
        if not 1 <= self.batch <= MAX_BATCH:
            raise ScenarioError(f"batch {self.batch:,} must be between 1 and {MAX_BATCH:,}")
        for field in ("kv_format", "weight_format"):
            name = getattr(self, field)
            if name != NATIVE:
                chosen = get_format(name)
                if chosen.math == "none":
                    raise ScenarioError(f"{chosen.name} is for integer tables, not for {field.replace('_', ' ')}")
                object.__setattr__(self, field, chosen.name)

    @property
    def line(self) -> str:
        """The scenario in one line, for the head of a table."""
        parts = [
            self.phase,
            f"context {tokens(self.context)}",
            f"batch {self.batch:,}",
            f"state {self.kv_format}",
            f"weights {self.weight_format}",
        ]
        return " · ".join(parts + [f"with {piece}" for piece in self.include])
