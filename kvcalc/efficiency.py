"""What real systems reach of the bound: measured over bound speed, fitted on the published measurements that the package carries.

Rows of one device, model, width of weights and publication are one system: a sweep of contexts or batches is no further evidence. A
system counts once, with the median of its rows. Of n exchangeable systems a further one falls between the k-th smallest and the k-th
largest with probability (n + 1 - 2k) / (n + 1); for a device with enough systems of its own, k is the largest with at least CLAIM.

For a device with fewer, all systems of its class make the range, from the least to the most. It claims what its devices allow: of d
exchangeable devices a further one falls between the least and the most with (d - 1) / (d + 1); or, where that is more, what the m
systems of the device itself allow, (m - 1) / (m + 1). What would claim less than LEAST_CLAIM is no factor. Never folded into a bound.
"""

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from statistics import median

from kvcalc.catalog import data_folder
from kvcalc.formats import FORMATS
from kvcalc.hardware import Device
from kvcalc.ledger import Ledger
from kvcalc.scenario import NATIVE

CLAIM = Fraction(4, 5)
LEAST_SYSTEMS = 9
"""Systems of one device below which no range of them holds CLAIM of further ones."""
LEAST_CLAIM = Fraction(1, 2)
WORDS = ("id", "phase", "device", "device_class", "width", "era", "engine", "model", "source")
WIDE, MIDDLE = 12, 6
"""Bits per element above which weights count as 16-bit, and as 8-bit: half way to the next."""
PHASES = {
    "decode_tokens_per_second": "decode",
    "inter_token_seconds": "decode",
    "prefill_tokens_per_second": "prefill",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement: measured over bound speed, with what it was taken on. `source` is the publication."""

    id: str
    phase: str
    device: str
    device_class: str
    width: str
    era: str
    engine: str
    model: str
    source: str
    ratio: float


@dataclass(frozen=True, slots=True)
class System:
    """All rows of one device, model, width and publication, as one: their median."""

    device: str
    rows: tuple[Sample, ...]
    ratio: float


@dataclass(frozen=True, slots=True)
class Factor:
    """Measured over bound speed of a group of systems.

    Args:
        label: which measurements: 'decode at batch 1, rtx-4090, 4-bit weights'.
        low, high: the range; claim: the share of further systems of this kind that it should hold.
        eras: years of the software; engines: their names.
        ids: rows of the evidence; systems: how many they make; devices: on how many devices.
    """

    label: str
    median: float
    low: float
    high: float
    claim: float
    eras: str
    ids: tuple[str, ...]
    systems: int = 0
    devices: int = 0
    engines: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        return len(self.ids)


def systems(samples: Iterable[Sample]) -> list[System]:
    """Samples as systems, the slowest first."""
    found: dict[tuple[str, ...], list[Sample]] = defaultdict(list)
    for sample in samples:
        found[(sample.phase, sample.device, sample.width, sample.model, sample.source)].append(sample)
    made = [System(rows[0].device, tuple(rows), median(row.ratio for row in rows)) for rows in found.values()]
    return sorted(made, key=lambda system: system.ratio)


def of_device(label: str, samples: Iterable[Sample]) -> Factor | None:
    """The factor of one device's own systems; None if they are too few to claim CLAIM."""
    listed = systems(samples)
    if len(listed) < LEAST_SYSTEMS:
        return None
    k, claim = cut(len(listed))
    return _factor(label, listed, median(one.ratio for one in listed), listed[k - 1].ratio, listed[-k].ratio, claim)


def of_class(label: str, samples: Iterable[Sample], device: str) -> Factor | None:
    """The factor of all systems of a class, for one device that is of it; None if they claim less than LEAST_CLAIM."""
    listed = systems(samples)
    own = sum(one.device == device for one in listed)
    by_device: dict[str, list[float]] = defaultdict(list)
    for one in listed:
        by_device[one.device].append(one.ratio)
    claim = max(_between_the_ends(len(by_device)), _between_the_ends(own))
    if claim < LEAST_CLAIM:
        return None
    themselves = f"{device} in {own} of them, too few alone" if own else f"{device} itself not among them"
    middle = median(median(ratios) for ratios in by_device.values())
    return _factor(f"{label}, {themselves}", listed, middle, listed[0].ratio, listed[-1].ratio, claim)


def _between_the_ends(n: int) -> float:
    """The probability that a further one of n exchangeable values falls between the least and the most."""
    return max(n - 1, 0) / (n + 1)


def _factor(label: str, listed: Sequence[System], middle: float, low: float, high: float, claim: float) -> Factor:
    rows = [row for one in listed for row in one.rows]
    years = sorted({row.era for row in rows if row.era})
    return Factor(
        label,
        middle,
        low,
        high,
        claim,
        years[0] if years and years[0] == years[-1] else f"{years[0]} to {years[-1]}" if years else "",
        tuple(row.id for row in rows),
        len(listed),
        len({one.device for one in listed}),
        tuple(sorted({row.engine for row in rows if row.engine})),
    )


def width_of(bits: float) -> str:
    """The width class of weights of so many bits per element, scales included."""
    return "16-bit" if bits > WIDE else "8-bit" if bits > MIDDLE else "4-bit"


def average_bits(ledger: Ledger) -> float:
    """Bits per parameter as the weights of a ledger are stored."""
    return 8 * ledger.totals.weight_bytes / ledger.totals.parameters


def weight_width(ledger: Ledger) -> str:
    """The width class of a ledger's weights: of the format that was asked for, whatever some tables are kept in; native: on average."""
    name = ledger.scenario.weight_format
    return width_of(average_bits(ledger) if name == NATIVE else float(FORMATS[name].bits_per_element))


def cut(n: int) -> tuple[int, float]:
    """k, and the probability that a further measurement falls between the k-th smallest and the k-th largest of n."""
    k = max(int((n + 1) * (1 - CLAIM) / 2), 1)
    return k, (n + 1 - 2 * k) / (n + 1)


@cache
def samples() -> tuple[Sample, ...]:
    """The samples, as computed when the evidence last changed (kvcalc.fitting, tools/generate.py; a test computes them anew)."""
    with (data_folder("evidence") / "samples.csv").open(encoding="utf-8", newline="") as opened:
        return tuple(Sample(**{name: row[name] for name in WORDS}, ratio=float(row["ratio"])) for row in csv.DictReader(opened))


def kind_of(phase: str, batch: int) -> str:
    """prefill, decode at batch 1 or batched decode: which measurements answer for a step."""
    return "prefill" if phase == "prefill" else "decode at batch 1" if batch == 1 else "batched decode"


Make = Callable[[str, Iterable[Sample]], Factor | None]


def efficiency(device: Device, phase: str, batch: int, width: str, among: Sequence[Sample] | None = None) -> Factor | None:
    """What measured systems like this one reach: the same device and width, else the device, else its class and width, else its class;
    of each the newest year of software where that alone claims CLAIM. A prefill is bound by arithmetic, which goes with the width: other
    widths do not answer for it. None without evidence. `among`: not given: all samples."""
    kind = kind_of(phase, batch)
    fitting = [sample for sample in (samples() if among is None else among) if sample.phase == kind]
    own = [sample for sample in fitting if sample.device == device.id]
    like = [sample for sample in fitting if sample.device_class == device.device_class]

    def class_of(label: str, rows: Iterable[Sample]) -> Factor | None:
        return of_class(label, rows, device.id)

    def wide(rows: Iterable[Sample]) -> list[Sample]:
        return [sample for sample in rows if sample.width == width]

    levels: list[tuple[str, list[Sample], Make]] = [
        (f"{device.id}, {width} weights", wide(own), of_device),
        (device.id, own, of_device),
        (f"{device.device_class}, {width} weights", wide(like), class_of),
        (device.device_class, like, class_of),
    ]
    for label, rows, make in levels[::2] if phase == "prefill" else levels:
        newest = max((sample.era for sample in rows), default="")
        new = make(f"{kind}, {label}", [sample for sample in rows if sample.era == newest])
        found = new if new is not None and new.claim >= CLAIM else make(f"{kind}, {label}", rows)
        if found is not None:
            return found
    return None
