"""Entries and devices: time bounds, what binds, fit, energy and money. The only room that divides by a rate.

T_math = FLOPs / dense peak of the arithmetic each product runs in; T_mem = bytes / peak bandwidth; T_link = bytes sent / link rate.
lower = the largest of them: perfect overlap at peak rates, which no machine beats. upper = their sum: no overlap at peak rates.
Words and idea: scaling-book, https://jax-ml.github.io/scaling-book/roofline/.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

from kvcalc.allocator import IDEAL, applied, asked
from kvcalc.errors import KvcalcError, PlanError, ScenarioError
from kvcalc.formats import get_format
from kvcalc.hardware import Device
from kvcalc.ledger import Entry, Ledger
from kvcalc.parallel import Collective, Plan, Stage, plans, shard, usual
from kvcalc.scenario import NATIVE, Scenario
from kvcalc.spec import ModelSpec
from kvcalc.units import MILLION, SECONDS_PER_HOUR


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
    """What devices say to a ledger. Byte counts are of all devices, each taken as full as the fullest.

    Args:
        edge: time bounds of the step; None where the device's bandwidth is not known, and so nothing of its time.
        measured: the same with the products at measured rates, where no peak is published for some of them.
    """

    device: Device
    count: int
    plan: Plan
    plan_asked: bool
    stages: tuple[Stage, ...]
    edge: Bound | None
    measured: Bound | None
    tokens: int
    fits: bool | None
    needed_bytes: int
    memory_bytes: int | None
    usable_bytes: int | None
    notes: tuple[str, ...]

    @property
    def bound(self) -> Bound:
        """Time bounds of the step. Raises KvcalcError where the device's bandwidth is not known."""
        if self.edge is None:
            raise KvcalcError(f"{self.device.id}: its memory bandwidth is not known, so no time can be bounded", _see(self.device))
        return self.edge

    @property
    def tokens_per_second(self) -> float:
        """At most, for the whole batch."""
        return self.tokens / self.bound.lower

    @property
    def joules_per_token(self) -> float | None:
        """At the power of the data sheet for the lower bound's time [J/token]."""
        watts = self.device.watts
        return None if watts is None or self.edge is None else float(watts) * self.count * self.edge.lower / self.tokens

    @property
    def usd_per_million_tokens(self) -> float | None:
        """At the price list's rent for the lower bound's time."""
        price = self.device.usd_per_hour
        if price is None or self.edge is None:
            return None
        return float(price) / SECONDS_PER_HOUR * self.count * self.edge.lower / self.tokens * MILLION

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


def _see(device: Device) -> str:
    return f"see kvcalc explain {device.id}"


def bound(entries: Iterable[Entry], device: Device, count: int = 1, *, measured: bool = False) -> Bound:
    """Bounds of some entries on one device, or perfectly split over `count`: nothing copied, no time on the links.

    `measured`: products without a published peak run at the rate that was measured.
    """
    flops_by_math: dict[str, int] = {}
    moved = 0
    for entry in entries:
        moved += entry.read_bytes + entry.written_bytes
        if entry.flops:
            flops_by_math[entry.math] = flops_by_math.get(entry.math, 0) + entry.flops
    exact: Fraction | None = Fraction(0)
    for math, flops in flops_by_math.items():
        rate = _rate(device, math, measured=measured)
        exact = None if rate is None or exact is None else exact + Fraction(flops) / (rate * count)
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


def _rate(device: Device, math: str, *, measured: bool) -> Fraction | None:
    """FLOP/s of an arithmetic: its peak; where none is published, what was measured of it or of its 16-bit twin."""
    peak = device.rate(math)
    if not measured or (peak is not None and peak.how != "unpublished"):
        return None if peak is None else peak.per_s
    known = [device.sizes.get(f"measured_peak.{name}") for name in (math, *TWINS)]
    return next((rate for rate in known if rate is not None), None if peak is None else peak.per_s)


TWINS = ("bf16", "fp16")


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


def stage_bound(stage: Stage, device: Device, *, measured: bool = False) -> Bound:
    """Bounds of one stage: its passes in turn; what it sends may overlap with all of them."""
    passes = in_turn(bound(entries, device, measured=measured) for entries in stage.ledger.passes)
    sent = sum(link_seconds(collective, device) or 0.0 for collective in stage.collectives)
    return replace(
        passes,
        link_seconds=sent,
        lower=max(passes.lower, sent),
        upper=None if passes.upper is None else passes.upper + sent,
    )


def link_seconds(collective: Collective, device: Device) -> float | None:
    """Time of a collective on the link, one direction [s]; None where the link's rate is unknown or lies between nodes."""
    rate = device.link_rate(collective.devices)
    return None if rate is None else float(Fraction(collective.bytes) / rate)


def step_bound(
    ledger: Ledger, device: Device, plan: Plan, *, measured: bool = False, stages: tuple[Stage, ...] | None = None
) -> Bound:
    """Bounds of one step of the whole batch under a plan; `stages`: what `shard` says of it, where it is known already."""
    if plan == Plan():
        return stage_bound(_whole(ledger), device, measured=measured)
    stages = shard(ledger.model, ledger.scenario, plan) if stages is None else stages
    if plan.pp == 1:
        return stage_bound(stages[0], device, measured=measured)
    return _pipelined(ledger, device, plan, stages, measured=measured)


def _pipelined(ledger: Ledger, device: Device, plan: Plan, stages: tuple[Stage, ...], *, measured: bool) -> Bound:
    """Bounds over any number of microbatches and any cut of the layers.

    A sequence passes every stage, in company of at least batch // pp; and every stage is busy with all microbatches, of which fewer
    than pp read the weights less often, but make each of them later. A prompt can run in chunks that follow each other through the
    stages. Stages of other lengths share the work more evenly at best: the mean counts, not the slowest; and another cut may need no copy
    of rows that layers share. No overlap at all, and one microbatch, is the upper bound.
    """
    scenario = ledger.scenario
    runs = tuple(stage.layers for stage in stages)

    def through(sequences: int) -> Bound:
        some = shard(ledger.model, replace(scenario, batch=plan.dp * sequences), plan, runs, copies=False)
        return in_turn(stage_bound(stage, device, measured=measured) for stage in some)

    serial = in_turn(stage_bound(stage, device, measured=measured) for stage in stages)
    replica = ceil(Fraction(scenario.batch, plan.dp))
    parts = 1 if scenario.phase == "prefill" else min(plan.pp, replica)
    small, larger = divmod(replica, parts)
    if parts == 1:
        bare = shard(ledger.model, scenario, plan, runs, copies=False)
        alone = in_turn(stage_bound(stage, device, measured=measured) for stage in bare)
        least = alone if scenario.phase == "decode" else _scaled(alone, Fraction(1, plan.pp))
    else:
        one = through(small)
        rest = through(small + 1) if larger else one
        busy = _scaled(in_turn([one] * (parts - larger) + [rest] * larger), Fraction(1, plan.pp))
        least = max(one, busy, key=lambda each: each.lower)
    return replace(least, upper=serial.upper, flops=serial.flops, bytes=serial.bytes)


def _scaled(whole: Bound, part: Fraction) -> Bound:
    """So much of every time."""
    share = float(part)
    return replace(
        whole,
        memory_seconds=whole.memory_seconds * share,
        math_seconds=None if whole.math_seconds is None else whole.math_seconds * share,
        link_seconds=whole.link_seconds * share,
        lower=whole.lower * share,
    )


def _whole(ledger: Ledger) -> Stage:
    """One device that holds and runs it all."""
    return Stage(tuple(range(ledger.model.num_hidden_layers)), ledger, ())


def plan_of(model: ModelSpec, scenario: Scenario, device: Device, count: int) -> Plan:
    """The plan where none is given: the first of the usual ones that fits, else the first.

    Raises:
        PlanError: no usual plan uses exactly `count` devices.
    """
    first = usual(model, count, device.max_per_node)
    if count == 1 or device.usable_bytes is None:
        return first
    room = device.usable_bytes
    fitting = (
        plan
        for plan in plans(model, count, device.max_per_node)
        if max(stage.held_bytes for stage in shard(model, scenario, plan)) <= room
    )
    return next(fitting, first)


def answer(ledger: Ledger, device: Device, count: int = 1, plan: Plan | None = None) -> Answer:
    """Fit, bounds, energy and money of one step: the power of the data sheet and the rent, for the lower bound's time.

    Raises:
        PlanError: the plan's devices are not `count`, or the model does not divide so.
    """
    model, scenario = ledger.model, ledger.scenario
    chosen = plan if plan is not None else plan_of(model, scenario, device, count)
    if chosen.devices != count:
        raise PlanError(
            f"tp {chosen.tp} x pp {chosen.pp} x dp {chosen.dp} = {chosen.devices:,} devices, but {count:,} are given",
            f"--on {chosen.devices}x{device.id}, or another plan",
        )
    _refuse_missing(scenario, device)
    stages = (_whole(ledger),) if chosen == Plan() else _reserved(model, scenario, chosen, shard(model, scenario, chosen))
    timed = device.bandwidth is not None
    edge = step_bound(ledger, device, chosen, stages=stages) if timed else None
    better = timed and _has_better_rates(ledger, device)
    as_measured = step_bound(ledger, device, chosen, measured=True, stages=stages) if better else None
    needed = count * max(stage.held_bytes for stage in stages)
    memory = None if device.memory_bytes is None else device.memory_bytes * count
    usable = None if device.usable_bytes is None else device.usable_bytes * count
    fits = needed <= usable if usable is not None else False if memory is not None and needed > memory else None
    tokens = scenario.tokens if scenario.phase == "prefill" else scenario.batch
    return Answer(
        device=device,
        count=count,
        plan=chosen,
        plan_asked=plan is not None,
        stages=stages,
        edge=edge,
        measured=as_measured,
        tokens=tokens,
        fits=fits,
        needed_bytes=needed,
        memory_bytes=memory,
        usable_bytes=usable,
        notes=tuple(_notes(ledger, device, chosen, stages, needed, usable, chosen_here=plan is None)),
    )


def _reserved(model: ModelSpec, scenario: Scenario, plan: Plan, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """The stages holding what the scenario's engine sets aside on each of its devices.

    Raises:
        PlanError: stages, whose cut an engine's pools do not follow here.
    """
    if scenario.allocator == IDEAL:
        return stages
    if plan.pp > 1:
        raise PlanError(f"what {scenario.allocator} reserves is not worked out for pipeline stages", "leave out --allocator, or take --tp")
    replica = replace(scenario, batch=ceil(Fraction(scenario.batch, plan.dp)))
    reservation = asked(scenario.allocator).cut(plan.tp).reserve(model, replica)
    return tuple(replace(stage, ledger=applied(stage.ledger, reservation)) for stage in stages)


def _has_better_rates(ledger: Ledger, device: Device) -> bool:
    """Whether some product has no published peak here but a measured rate."""
    maths = {entry.math for entry in ledger.entries if entry.flops}
    return any(_rate(device, math, measured=True) != _rate(device, math, measured=False) for math in maths)


def _refuse_missing(scenario: Scenario, device: Device) -> None:
    """A format that was asked for must run on the device. What a release itself uses falls to the next arithmetic, and is said."""
    asked = scenario.math
    if asked == NATIVE and scenario.weight_format != NATIVE:
        stored = get_format(scenario.weight_format)
        asked = NATIVE if stored.packed else stored.math  # ggml's are multiplied in integers where that is possible, else unpacked
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
        if device.bandwidth is None or not any(entry.flops for entry in entries):
            continue
        rate = device.rate(math)
        if rate is None:
            yield f"{device.id} has no known peak for {math}: its compute time is unknown, and the bound is memory's alone"
        elif rate.how == "unpublished":
            yield f"{device.id}: its rate for {math} is not known; no faster than its {rate.arithmetic}, which is taken"
        elif rate.how == "absent":
            pieces = dict.fromkeys(entry.piece for entry in entries if entry.flops)
            yield f"{device.id} has no {math} arithmetic: {', '.join(pieces)} computed in {rate.arithmetic}"
    if device.bandwidth is None:
        yield f"{device.id}: its memory bandwidth is not known, so no time, energy or cost is said"
    if device.seen_as is not None:
        yield f"{device.id} is {device.seen_as} devices to software: taken as one, without the time in which they talk to each other"
    if ledger.scenario.tokens > 1 and any(0 < entry.read_bytes < entry.weight_bytes for entry in ledger.entries if entry.experts):
        yield "experts: read as often as tokens that choose evenly would; a batch whose tokens choose alike reads fewer and can be faster"
    if usable is None and (device.memory_bytes is None or needed <= device.memory_bytes * plan.devices):
        yield f"{device.id}: what a program may use of {device.label} is not known, so a fit cannot be promised"
    if plan.devices > 1 and chosen_here:
        yield f"plan {plan.line}: as much tensor parallelism as heads, a node and memory allow; choose with --tp --pp --ep --dp"
    if plan.pp > 1:
        yield "pipeline: the bound takes stages of equal length, always busy; a piece's time is that in all stages one after the other"
    if plan.dp > ledger.scenario.batch:
        yield f"dp {plan.dp} with a batch of {ledger.scenario.batch:,}: {plan.dp - ledger.scenario.batch} replicas have nothing to do"
    copied = plan.devices * max(stage.held_bytes for stage in stages) - ledger.totals.weight_bytes - ledger.totals.state_bytes
    if plan.devices > 1 and copied > (ledger.totals.weight_bytes + ledger.totals.state_bytes) // 10:
        yield "the fullest device counts for all: copies (KV heads beyond tp, latents, index keys, embeddings) and uneven stages are in it"
    unknown = {sent.name for stage in stages for sent in stage.collectives if link_seconds(sent, device) is None}
    if unknown:
        where = "no link's rate is carried" if device.link_bytes_per_s is None else "no carried link joins so many"
        yield f"{device.id}: no time counted for {', '.join(sorted(unknown))}: {where}"
