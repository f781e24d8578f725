"""The question: phase, context, batch, formats, and how a step is taken. Frozen, small, printable in one line."""

from dataclasses import dataclass
from typing import Literal

from kvcalc.errors import ScenarioError
from kvcalc.formats import get_format
from kvcalc.units import MAX_BATCH, MAX_TOKENS, tokens

NATIVE = "native"
MATHS = ("fp32", "tf32", "bf16", "fp16", "fp8", "fp4", "int8", "int4")
MAX_CHUNKS = 65_536
MAX_DRAFT = 64
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
        cached: prefill: first tokens of the prompt whose state is there already (a cached prefix) [tokens].
        chunk: prefill: the prompt runs in pieces of so many tokens, each reading the weights anew [tokens]; None: in one.
        allocator: who sets the state aside: ideal, or an engine with its settings (see kvcalc.allocator).
        math: arithmetic of the products with weights (bf16: weights are stored narrow and computed in 16 bits); native: the format's own.
        steady: decode: the sequences of a batch stand at different places, so that what a step reads is the mean over the period of what
            comes in blocks (a compressor that closes every 128 tokens); False: all stand at `context`.
        draft_tokens: decode: drafted tokens that the step verifies beside its own (speculative decoding) [tokens].
    """

    phase: Phase = "decode"
    context: int = 131072
    batch: int = 1
    kv_format: str = NATIVE
    weight_format: str = NATIVE
    include: tuple[str, ...] = ()
    allocator: str = "ideal"
    cached: int = 0
    chunk: int | None = None
    draft_tokens: int = 0
    math: str = NATIVE
    steady: bool = False

    def __post_init__(self) -> None:
        if self.phase not in ("decode", "prefill"):
            raise ScenarioError(f"unknown phase {self.phase!r}", "phases: decode, prefill")
        if not 1 <= self.context <= MAX_TOKENS:
            raise ScenarioError(f"context {self.context:,} must be between 1 and 2^40 tokens")
        if not 1 <= self.batch <= MAX_BATCH:
            raise ScenarioError(f"batch {self.batch:,} must be between 1 and {MAX_BATCH:,}")
        if self.phase == "decode" and (self.cached or self.chunk is not None):
            raise ScenarioError("cached tokens and chunks belong to a prefill", "add --phase prefill")
        if self.phase == "prefill" and self.draft_tokens:
            raise ScenarioError("draft tokens belong to a decode", "leave out --phase prefill")
        if self.phase == "prefill" and self.steady:
            raise ScenarioError("a mean over many steps belongs to a decode")
        if not 0 <= self.cached < self.context:
            raise ScenarioError(f"{self.cached:,} cached tokens leave nothing to prefill of a prompt of {self.context:,}")
        if self.chunk is not None and self.chunk < 1:
            raise ScenarioError(f"a chunk of {self.chunk:,} tokens must be at least 1")
        if self.chunk is not None and -(-(self.context - self.cached) // self.chunk) > MAX_CHUNKS:
            raise ScenarioError(f"chunks of {self.chunk:,} tokens: more than {MAX_CHUNKS:,} of them", "take larger chunks")
        if not 0 <= self.draft_tokens <= MAX_DRAFT:
            raise ScenarioError(f"draft tokens {self.draft_tokens:,} must be between 0 and {MAX_DRAFT}")
        if self.draft_tokens >= self.context:
            raise ScenarioError(f"{self.draft_tokens:,} draft tokens do not fit a context of {self.context:,}")
        if self.math not in (NATIVE, *MATHS):
            raise ScenarioError(f"unknown arithmetic {self.math!r}", "known: " + ", ".join(MATHS))
        for field in ("kv_format", "weight_format"):
            name = getattr(self, field)
            if name != NATIVE:
                chosen = get_format(name)
                if chosen.math == "none":
                    raise ScenarioError(f"{chosen.name} is for integer tables, not for {field.replace('_', ' ')}")
                object.__setattr__(self, field, chosen.name)

    @property
    def spans(self) -> list[tuple[int, int]]:
        """The passes of the step: (tokens before, tokens after). One, but for a prefill in chunks."""
        if self.phase == "decode":
            return [(self.context - 1 - self.draft_tokens, self.context)]
        starts = range(self.cached, self.context, self.chunk or self.context)
        return [(start, min(start + (self.chunk or self.context), self.context)) for start in starts]

    @property
    def tokens(self) -> int:
        """Tokens that the step runs, for all sequences: prompt tokens that were not cached, or one (and the drafted) per sequence."""
        return self.batch * self.tokens_per_sequence

    @property
    def tokens_per_sequence(self) -> int:
        """Tokens that the step runs for one sequence."""
        return 1 + self.draft_tokens if self.phase == "decode" else self.context - self.cached

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
        parts += [f"{tokens(self.cached)} cached"] if self.cached else []
        parts += [f"chunks of {tokens(self.chunk)}"] if self.chunk else []
        parts += [f"reserved by {self.allocator}"] if self.allocator != "ideal" else []
        parts += [f"computed in {self.math}"] if self.math != NATIVE else []
        parts += [f"{self.draft_tokens} drafted"] if self.draft_tokens else []
        parts += ["mean step"] if self.steady else []
        return " · ".join(parts + [f"with {piece}" for piece in self.include])
