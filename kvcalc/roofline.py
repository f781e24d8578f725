"""Entries and devices: time bounds, what binds, fit, energy and money. The only room that divides by a rate.

T_math = FLOPs / dense peak of the arithmetic each product runs in; T_mem = bytes / peak bandwidth; T_link = bytes sent / link rate.
lower = the largest of them: perfect overlap at peak rates, which no machine beats. upper = their sum: no overlap at peak rates.
Words and idea: scaling-book, https://jax-ml.github.io/scaling-book/roofline/.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

from kvcalc.allocator import IDEAL
from kvcalc.errors import PlanError, ScenarioError
from kvcalc.formats import get_format
from kvcalc.hardware import Device
from kvcalc.ledger import Entry, Ledger
from kvcalc.parallel import Collective, Plan, Stage, shard, usual
from kvcalc.scenario import NATIVE, Scenario
from kvcalc.units import MILLION, SECONDS_PER_HOUR

PAIR = 2
"""Two devices alone may not get all links of each."""


@dataclass(frozen=True, slots=True)
class Bound:
    """Time bounds [s]. `math_seconds` is None where the device's rate for some product is unknown."""

    memory_seconds: float
    math_seconds: float | None
    link_seconds: float
    lower: float
    upper: float | None
    flops: int
    bytes: int

    @property
    def bound_by(self) -> str:
        """memory, compute or link."""
        if self.link_seconds > max(self.memory_seconds, self.math_seconds or 0.0):
            return "link"
        if self.math_seconds is None:
            return "memory, as far as is known"
        return "memory" if self.memory_seconds >= self.math_seconds else "compute"

    @property
    def intensity(self) -> float:
        """Arithmetic intensity [FLOP/byte]."""
        return self.flops / self.bytes if self.bytes else 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What devices say to a ledger. Byte counts are of all devices, each taken as full as the fullest."""

    device: Device
    count: int
    plan: Plan
    plan_asked: bool
    stages: tuple[Stage, ...]
    bound: Bound
    fits: bool | None
    needed_bytes: int
    memory_bytes: int | None
    usable_bytes: int | None
    tokens_per_second: float
    joules_per_token: float | None
    usd_per_million_tokens: float | None
    notes: tuple[str, ...]

    @property
    def headroom_bytes(self) -> int | None:
        return None if self.usable_bytes is None else self.usable_bytes - self.needed_bytes

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What one device of each stage runs, stage after stage."""
        return tuple(entry for stage in self.stages for entry in stage.ledger.entries)

    @property
    def collectives(self) -> tuple[Collective, ...]:
        return tuple(sent for stage in self.stages for sent in stage.collectives)


def memory_seconds(moved: int | Fraction, device: Device, count: int = 1) -> float:
    """Least time in which `count` devices together read and write so many bytes [s]."""
    return float(Fraction(moved) / (device.bandwidth_bytes_per_s * count))


def bound(entries: Iterable[Entry], device: Device, count: int = 1) -> Bound:
    """Bounds of some entries on one device, or perfectly split over `count`: nothing copied, no time on the links."""
    flops_by_math: dict[str, int] = {}
    moved = 0
    for entry in entries:
        moved += entry.read_bytes + entry.written_bytes
        if entry.flops:
            flops_by_math[entry.math] = flops_by_math.get(entry.math, 0) + entry.flops
    exact: Fraction | None = Fraction(0)
    for math, flops in flops_by_math.items():
        rate = device.rate(math)
        exact = None if rate is None or exact is None else exact + Fraction(flops) / (rate[1] * count)
    memory = memory_seconds(moved, device, count)
    seconds = None if exact is None else float(exact)
    return Bound(
        memory_seconds=memory,
        math_seconds=seconds,
        link_seconds=0.0,
        lower=max(memory, seconds or 0.0),
        upper=None if seconds is None else memory + seconds,
        flops=sum(flops_by_math.values()),
        bytes=moved,
    )


def in_turn(bounds: Iterable[Bound]) -> Bound:
    """Bounds of what runs one after the other: every time adds up."""
    listed = list(bounds)
    maths = [each.math_seconds for each in listed if each.math_seconds is not None]
    uppers = [each.upper for each in listed if each.upper is not None]
    return Bound(
        memory_seconds=sum(each.memory_seconds for each in listed),
        math_seconds=sum(maths) if len(maths) == len(listed) else None,
        link_seconds=sum(each.link_seconds for each in listed),
        lower=sum(each.lower for each in listed),
        upper=sum(uppers) if len(uppers) == len(listed) else None,
        flops=sum(each.flops for each in listed),
        bytes=sum(each.bytes for each in listed),
    )


def stage_bound(stage: Stage, device: Device) -> Bound:
    """Bounds of one stage: its passes in turn; what it sends may overlap with all of them."""
    passes = in_turn(bound(entries, device) for entries in stage.ledger.passes)
    sent = sum(link_seconds(collective, device) or 0.0 for collective in stage.collectives)
    return replace(
        passes,
        link_seconds=sent,
        lower=max(passes.lower, sent),
        upper=None if passes.upper is None else passes.upper + sent,
    )


def link_seconds(collective: Collective, device: Device) -> float | None:
    """Time of a collective on the link, one direction [s]; None where the link's rate is unknown or lies between nodes."""
    rate = device.link_pair_bytes_per_s if collective.devices == PAIR else device.link_bytes_per_s
    if rate is None or (device.max_per_node is not None and collective.devices > device.max_per_node):
        return None
    return float(Fraction(collective.bytes) / rate)


def step_bound(ledger: Ledger, device: Device, plan: Plan) -> Bound:
    """Bounds of one step of the whole batch under a plan.

    A pipeline runs the batch as m microbatches: the step lasts at least as long as one microbatch through all stages, and as m
    microbatches through the slowest. The better of m = 1 and m = pp is taken.
    """
    if plan == Plan():
        return stage_bound(_whole(ledger), device)
    if plan.pp == 1:
        return stage_bound(shard(ledger.model, ledger.scenario, plan)[0], device)
    replica = ceil(Fraction(ledger.scenario.batch, plan.dp))
    return min((_pipelined(ledger, device, plan, m) for m in {1, min(plan.pp, replica)}), key=lambda each: each.lower)


def _whole(ledger: Ledger) -> Stage:
    """One device that holds and runs it all."""
    return Stage(tuple(range(ledger.model.num_hidden_layers)), ledger, ())


def _pipelined(ledger: Ledger, device: Device, plan: Plan, microbatches: int) -> Bound:
    scenario: Scenario = ledger.scenario
    batch = plan.dp * ceil(Fraction(ceil(Fraction(scenario.batch, plan.dp)), microbatches))
    stages = [stage_bound(stage, device) for stage in shard(ledger.model, replace(scenario, batch=batch), plan)]
    through = in_turn(stages)
    slowest = max(stages, key=lambda each: each.lower)
    if microbatches * slowest.lower <= through.lower:
        return through
    return in_turn([slowest] * microbatches)


def answer(ledger: Ledger, device: Device, count: int = 1, plan: Plan | None = None) -> Answer:
    """Fit, bounds, energy and money of one step. Energy is TDP x lower bound, money the cloud price x lower bound: both lower bounds.

    Raises:
        PlanError: the plan's devices are not `count`, or the model does not divide so.
    """
    model, scenario = ledger.model, ledger.scenario
    chosen = plan if plan is not None else usual(model, count, device.max_per_node)
    if chosen.devices != count:
        raise PlanError(
            f"tp {chosen.tp} x pp {chosen.pp} x dp {chosen.dp} = {chosen.devices:,} devices, but {count:,} are given",
            f"--on {chosen.devices}x{device.id}, or another plan",
        )
    _refuse_missing(scenario, device)
    if chosen != Plan() and scenario.allocator != IDEAL:
        raise PlanError(
            f"what {scenario.allocator} reserves is worked out for one device", "leave out --allocator, or ask for one device"
        )
    stages = (_whole(ledger),) if chosen == Plan() else shard(model, scenario, chosen)
    whole = step_bound(ledger, device, chosen)
    needed = count * max(stage.held_bytes for stage in stages)
    memory = None if device.memory_bytes is None else device.memory_bytes * count
    usable = None if device.usable_bytes is None else device.usable_bytes * count
    fits = needed <= usable if usable is not None else False if memory is not None and needed > memory else None
    tokens = scenario.tokens if scenario.phase == "prefill" else scenario.batch
    watts, price = device.watts, device.usd_per_hour
    return Answer(
        device=device,
        count=count,
        plan=chosen,
        plan_asked=plan is not None,
        stages=stages,
        bound=whole,
        fits=fits,
        needed_bytes=needed,
        memory_bytes=memory,
        usable_bytes=usable,
        tokens_per_second=tokens / whole.lower,
        joules_per_token=None if watts is None else float(watts) * count * whole.lower / tokens,
        usd_per_million_tokens=None
        if price is None
        else float(price) / SECONDS_PER_HOUR * count * whole.lower / tokens * MILLION,
        notes=tuple(_notes(ledger, device, chosen, stages, needed, usable, chosen_here=plan is None)),
    )


def _refuse_missing(scenario: Scenario, device: Device) -> None:
    """A format that was asked for must run on the device. What a release itself uses falls to the next arithmetic, and is said."""
    asked = scenario.math
    if asked == NATIVE and scenario.weight_format != NATIVE:
        asked = get_format(scenario.weight_format).math
    if asked != NATIVE and device.rate(asked) is not None and device.lacks(asked):
        raise ScenarioError(
            f"{device.id} has no {asked} arithmetic"
            + (f", in which weights in {scenario.weight_format} run" if scenario.math == NATIVE else ""),
            "store them so and compute in 16 bits with --math bf16, or take another --weight-format",
        )


def _notes(
    ledger: Ledger,
    device: Device,
    plan: Plan,
    stages: tuple[Stage, ...],
    needed: int,
    usable: int | None,
    *,
    chosen_here: bool,
) -> Iterator[str]:
    for math, entries in ledger.by("math").items():
        if not any(entry.flops for entry in entries):
            continue
        rate = device.rate(math)
        if rate is None:
            yield f"{device.id} has no published peak for {math}: its compute time is unknown, and the bound is memory's alone"
        elif rate[0] != math:
            pieces = dict.fromkeys(entry.piece for entry in entries if entry.flops)
            yield f"{device.id} has no {math} arithmetic: {', '.join(pieces)} computed in {rate[0]}"
    if usable is None and (device.memory_bytes is None or needed <= device.memory_bytes * plan.devices):
        yield f"{device.id}: what a program may use of {device.label} is not published, so a fit cannot be promised"
    if plan.devices > 1 and chosen_here:
        yield f"plan {plan.line}: as much tensor parallelism as heads and a node allow; choose with --tp --pp --ep --dp"
    if plan.dp > ledger.scenario.batch:
        yield f"dp {plan.dp} with a batch of {ledger.scenario.batch:,}: {plan.dp - ledger.scenario.batch} replicas have nothing to do"
    copied = plan.devices * max(stage.held_bytes for stage in stages) - ledger.totals.weight_bytes - ledger.totals.state_bytes
    if plan.devices > 1 and copied > (ledger.totals.weight_bytes + ledger.totals.state_bytes) // 10:
        yield "the fullest device counts for all: copies (KV heads beyond tp, latents, index keys, embeddings) and uneven stages are in it"
    unknown = {sent.name for stage in stages for sent in stage.collectives if link_seconds(sent, device) is None}
    if unknown:
        where = "its link's rate is not published" if device.link_bytes_per_s is None else "they cross nodes"
        yield f"{device.id}: no time counted for {', '.join(sorted(unknown))}: {where}"
