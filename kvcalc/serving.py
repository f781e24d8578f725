"""Serving: time to the first token, time per token, throughput against batch with its knee, speculative decoding. All of it bounds.

TTFT  the prefill of one prompt, from its first uncached token [s]
TPOT  the decode step of the whole batch, over the tokens that a sequence gains by it [s/token]
knee  the first batch with half the throughput that an unlimited batch would reach: where a step takes a + b B, the batch a / b
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from kvcalc.errors import ScenarioError
from kvcalc.hardware import Device
from kvcalc.ledger import ledger, of_blocks
from kvcalc.parallel import Plan
from kvcalc.roofline import Bound, bound, in_turn, step_bound
from kvcalc.scenario import Scenario
from kvcalc.solve import Beside, fits, largest, largest_batch, nothing
from kvcalc.spec import ModelSpec
from kvcalc.units import MAX_BATCH

UNKNOWN_MOST = 1 << 10
UNLIMITED = MAX_BATCH
"""A batch so large that weights no longer count."""


@dataclass(frozen=True, slots=True)
class Speculation:
    """Speculative decoding: `draft_tokens` are guessed, then verified in one step of the model.

    Args:
        draft_tokens: guesses for each step (k).
        acceptance: chance that a guess is taken, given that those before it were (a).
        draft: the model that guesses; None: the draft layers of the model itself.
        free: the guesses cost nothing (looked up in the prompt).
    """

    draft_tokens: int
    acceptance: float
    draft: ModelSpec | None = None
    free: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.acceptance <= 1:
            raise ScenarioError(f"acceptance {self.acceptance:g} must be between 0 and 1")
        if self.draft_tokens < 1:
            raise ScenarioError(f"draft tokens {self.draft_tokens} must be at least 1")

    def held(self, model: ModelSpec, scenario: Scenario) -> Scenario:
        """The scenario with the draft layers of the model itself counted as held, where they guess."""
        if self.free or self.draft is not None:
            return scenario
        if model.draft is None:
            raise ScenarioError(
                f"{model.id} carries no draft layers",
                "name a drafting model with --draft, or --draft none for guesses that cost nothing",
            )
        return replace(scenario, include=tuple(dict.fromkeys((*scenario.include, "draft"))))

    def beside(self, devices: int) -> Beside:
        """Bytes of another model that guesses, with its state, evenly over the devices."""
        draft = self.draft
        if draft is None:
            return nothing

        def held(scenario: Scenario) -> int:
            sums = ledger(draft, replace(scenario, include=(), draft_tokens=0)).totals
            return -(-(sums.weight_bytes + sums.state_bytes) // devices)

        return held

    def check(self, model: ModelSpec) -> None:
        """Raises ScenarioError where the drafting model speaks other tokens."""
        if self.draft is not None and self.draft.embedding.vocab_size != model.embedding.vocab_size:
            raise ScenarioError(
                f"{self.draft.id} has a vocabulary of {self.draft.embedding.vocab_size:,}, {model.id} one of "
                f"{model.embedding.vocab_size:,}: it cannot draft for it",
                "take a model of the same family",
            )

    @property
    def tokens_per_step(self) -> float:
        """Tokens that one step yields in expectation: (1 - a^(k+1)) / (1 - a). Source: Leviathan et al. 2023, arXiv:2211.17192, eq. 1."""
        return sum(self.acceptance**place for place in range(self.draft_tokens + 1))


@dataclass(frozen=True, slots=True)
class Point:
    """Decode at one batch: bounds of one step, and what follows."""

    batch: int
    fits: bool | None
    bound: Bound
    tokens_per_step: float
    devices: int
    device: Device

    @property
    def tpot_seconds(self) -> float:
        """Time per token of a sequence [s]."""
        return self.bound.lower / self.tokens_per_step

    @property
    def tokens_per_second(self) -> float:
        """Tokens per second of the whole batch."""
        return self.batch / self.tpot_seconds

    @property
    def tokens_per_second_per_device(self) -> float:
        return self.tokens_per_second / self.devices


def ttft(model: ModelSpec, scenario: Scenario, device: Device, plan: Plan) -> Bound:
    """Bounds of the prefill that a prefill scenario describes."""
    return step_bound(ledger(model, scenario), device, plan)


def point(model: ModelSpec, scenario: Scenario, device: Device, plan: Plan, speculation: Speculation | None = None) -> Point:
    """Decode at the scenario's batch."""
    beside = nothing if speculation is None else speculation.beside(plan.devices)
    held = scenario if speculation is None else speculation.held(model, scenario)
    return Point(
        scenario.batch,
        fits(model, held, device, plan, beside) if device.usable_bytes is not None else None,
        decode_bound(model, scenario, device, plan, speculation),
        1.0 if speculation is None else speculation.tokens_per_step,
        plan.devices,
        device,
    )


def decode_bound(
    model: ModelSpec, scenario: Scenario, device: Device, plan: Plan, speculation: Speculation | None = None
) -> Bound:
    """Bounds of one decode step; with speculation, of the drafts and the step that verifies them."""
    if speculation is None:
        return step_bound(ledger(model, scenario), device, plan)
    verified = step_bound(ledger(model, replace(scenario, draft_tokens=speculation.draft_tokens)), device, plan)
    return in_turn([verified, *_drafting(model, scenario, device, plan, speculation)])


def _drafting(model: ModelSpec, scenario: Scenario, device: Device, plan: Plan, speculation: Speculation) -> list[Bound]:
    """One bound for each guess. Guesses are taken as perfectly split over all devices."""
    if speculation.free:
        return []
    if speculation.draft is not None:
        guess = bound(ledger(speculation.draft, scenario).entries, device, plan.devices)
        return [guess] * speculation.draft_tokens
    assert model.draft is not None  # held by Speculation.held
    layers = sum(group.size for group in model.draft.layers)
    own = [block._replace(held_only=False) for block in model.optional_blocks("draft")]
    head = [block for block in model.blocks if block.part == "embedding"]
    each = [
        bound(of_blocks(model, scenario, own).entries, device, plan.devices * layers),
        bound(of_blocks(model, scenario, head).entries, device, plan.devices),
    ]
    return each * speculation.draft_tokens


@dataclass(frozen=True, slots=True)
class Curve:
    """Decode over batch, from 1 to the largest that fits. `knee` and `within_target` are found by exact search; a knee may lie beyond.

    Where nobody knows what a program may use of the device, `fits_known` is False and the largest batch None.
    """

    points: tuple[Point, ...]
    largest_batch: int | None
    knee: int | None
    within_target: int | None
    fits_known: bool = True


def curve(
    model: ModelSpec,
    scenario: Scenario,
    device: Device,
    plan: Plan,
    speculation: Speculation | None = None,
    target_seconds: float | None = None,
    batches: Iterable[int] | None = None,
) -> Curve:
    """Throughput against batch: doubling batches up to the largest that fits, the knee, and the largest batch within a TPOT target.

    Where the usable memory of a device is unknown, batches run to what is built in could hold, 2^10 at most.
    """
    beside: Beside = nothing
    held = scenario
    if speculation is not None:
        speculation.check(model)
        beside, held = speculation.beside(plan.devices), speculation.held(model, scenario)
    known = device.usable_bytes is not None
    label = None if device.memory is None or known else device.with_usable(device.memory.value)
    most = largest_batch(model, held, label or device, plan, beside) if known or label else UNKNOWN_MOST
    if not known and most is not None:
        most = min(most, UNKNOWN_MOST)

    def at(batch: int) -> Point:
        return point(model, replace(scenario, batch=batch), device, plan, speculation)

    if batches is not None:
        return Curve(tuple(at(batch) for batch in batches), most if known else None, None, None, known)
    if most is None:
        return Curve((at(1),), None, None, None)
    half = at(UNLIMITED).tokens_per_second / 2
    knee = 1 + (largest(lambda batch: at(batch).tokens_per_second < half, 1, UNLIMITED) or 0)
    knee = next(b for b in range(max(knee - plan.dp + 1, 1), knee + 1) if at(b).tokens_per_second >= half or b == knee)
    within = None
    if target_seconds is not None:
        within = largest(lambda batch: at(batch).tpot_seconds <= target_seconds, 1, most)
    chosen = {1 << power for power in range(most.bit_length())} | {most, min(knee, most)} | ({within} if within else set())
    return Curve(tuple(at(batch) for batch in sorted(chosen)), most if known else None, knee, within, known)
