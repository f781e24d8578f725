"""Entries and a device: time bounds, what binds, fit, energy and money. The only room that divides by a rate.

T_math = FLOPs / dense peak of the arithmetic each product runs in; T_mem = bytes / peak bandwidth.
lower = max(T_math, T_mem): perfect overlap at peak rates, which no machine beats. upper = T_math + T_mem: no overlap at peak rates.
Words and idea: scaling-book, https://jax-ml.github.io/scaling-book/roofline/.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from kvcalc.hardware import Device
from kvcalc.ledger import Entry, Ledger
from kvcalc.units import MILLION, SECONDS_PER_HOUR


@dataclass(frozen=True, slots=True)
class Bound:
    """Time bounds of some entries on a device [s]. `math` is None where the device's rate for them is unknown."""

    memory_seconds: float
    math_seconds: float | None
    flops: int
    bytes: int

    @property
    def lower(self) -> float:
        return max(self.memory_seconds, self.math_seconds or 0.0)

    @property
    def upper(self) -> float | None:
        return None if self.math_seconds is None else self.memory_seconds + self.math_seconds

    @property
    def bound_by(self) -> str:
        if self.math_seconds is None:
            return "memory, as far as is known"
        return "memory" if self.memory_seconds >= self.math_seconds else "compute"

    @property
    def intensity(self) -> float:
        """Arithmetic intensity [FLOP/byte]."""
        return self.flops / self.bytes if self.bytes else 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a device says to a ledger."""

    device: Device
    count: int
    bound: Bound
    fits: bool | None
    needed_bytes: int
    memory_bytes: int
    usable_bytes: int | None
    tokens_per_second: float
    joules_per_token: float | None
    usd_per_million_tokens: float | None
    notes: tuple[str, ...]

    @property
    def headroom_bytes(self) -> int | None:
        return None if self.usable_bytes is None else self.usable_bytes - self.needed_bytes


def bound(entries: Iterable[Entry], device: Device, count: int = 1) -> Bound:
    """Bounds of some entries, perfectly split over `count` devices."""
    flops_by_math: dict[str, int] = {}
    moved = 0
    for entry in entries:
        moved += entry.read_bytes + entry.written_bytes
        if entry.flops:
            flops_by_math[entry.math] = flops_by_math.get(entry.math, 0) + entry.flops
    seconds: Fraction | None = Fraction(0)
    for math, flops in flops_by_math.items():
        rate = device.rate(math)
        seconds = None if rate is None or seconds is None else seconds + Fraction(flops) / (rate[1] * count)
    return Bound(
        memory_seconds=float(Fraction(moved) / (device.bandwidth_bytes_per_s * count)),
        math_seconds=None if seconds is None else float(seconds),
        flops=sum(flops_by_math.values()),
        bytes=moved,
    )


def answer(ledger: Ledger, device: Device, count: int = 1) -> Answer:
    """Fit, bounds, energy and money of one step. Energy is TDP x lower bound, money the cloud price x lower bound: both lower bounds."""
    totals, scenario = ledger.totals, ledger.scenario
    whole = bound(ledger.entries, device, count)
    needed = totals.weight_bytes + totals.state_bytes
    memory = device.memory_bytes * count
    usable = None if device.usable_bytes is None else device.usable_bytes * count
    fits = needed <= usable if usable is not None else False if needed > memory else None
    tokens = scenario.batch * (scenario.context if scenario.phase == "prefill" else 1)
    watts, price = device.watts, device.usd_per_hour
    return Answer(
        device=device,
        count=count,
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
        notes=tuple(_notes(ledger, device, count, usable)),
    )


def _notes(ledger: Ledger, device: Device, count: int, usable: int | None) -> Iterable[str]:
    for math, entries in ledger.by("math").items():
        if not any(entry.flops for entry in entries):
            continue
        rate = device.rate(math)
        if rate is None:
            yield f"{device.id} has no published peak for {math}: its compute time is unknown, and the bound is memory's alone"
        elif rate[0] != math:
            pieces = dict.fromkeys(entry.piece for entry in entries if entry.flops)
            yield f"{device.id} has no {math} arithmetic: {', '.join(pieces)} computed in {rate[0]}"
    if usable is None and ledger.totals.weight_bytes + ledger.totals.state_bytes <= device.memory_bytes * count:
        yield f"{device.id}: what a program may use of {device.memory.value} is not published, so a fit cannot be promised"
    if count > 1:
        yield f"{count} devices: perfectly split, no time on the links; a bound, not a plan"
