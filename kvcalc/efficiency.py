"""What real systems reach of the bound: measured over bound speed, fitted on the published measurements that the package carries.

For each phase, device (or class of devices) and width of the weights: the number of rows, the median, and a range. The range is made
of order statistics: of n exchangeable measurements a further one falls between the k-th smallest and the k-th largest with
probability (n + 1 - 2k) / (n + 1); k is the largest with at least CLAIM. Where too few rows are known, the next coarser class is
taken, and named; where there is none, there is no factor. Never folded into a bound.
"""

import csv
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from statistics import median

from kvcalc.catalog import data_folder
from kvcalc.hardware import Device
from kvcalc.ledger import Ledger

CLAIM = Fraction(4, 5)
WORDS = ("id", "phase", "device", "device_class", "width", "era", "model", "source")
LEAST_ROWS = 6
"""Fewer rows than this make no factor."""
WIDE, MIDDLE = 9, 6.6
"""Bits per element above which weights count as 16-bit, and as 8-bit."""
PHASES = {
    "decode_tokens_per_second": "decode",
    "inter_token_seconds": "decode",
    "prefill_tokens_per_second": "prefill",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement: measured over bound speed, with what it was taken on."""

    id: str
    phase: str
    device: str
    device_class: str
    width: str
    era: str
    model: str
    source: str
    ratio: float


@dataclass(frozen=True, slots=True)
class Factor:
    """Measured over bound speed of a group of measurements.

    Args:
        label: which measurements: 'decode at batch 1, rtx-4090, 4-bit weights'.
        low, high: the range; claim: the share of further measurements of this kind that it should hold.
        eras: years of the software.
        ids: rows of the evidence.
    """

    label: str
    median: float
    low: float
    high: float
    claim: float
    eras: str
    ids: tuple[str, ...]

    @property
    def rows(self) -> int:
        return len(self.ids)


def factor(label: str, samples: Iterable[Sample]) -> Factor | None:
    """The factor of some measurements; None if they are too few."""
    listed = sorted(samples, key=lambda sample: sample.ratio)
    if len(listed) < LEAST_ROWS:
        return None
    k, claim = cut(len(listed))
    years = sorted({sample.era for sample in listed if sample.era})
    return Factor(
        label,
        median(sample.ratio for sample in listed),
        listed[k - 1].ratio,
        listed[-k].ratio,
        claim,
        years[0] if years and years[0] == years[-1] else f"{years[0]} to {years[-1]}" if years else "",
        tuple(sample.id for sample in listed),
    )


def width_of(bits: float) -> str:
    """The width class of weights of so many bits per element, scales included."""
    return "16-bit" if bits > WIDE else "8-bit" if bits > MIDDLE else "4-bit"


def average_bits(ledger: Ledger) -> float:
    """Bits per parameter as the weights of a ledger are stored."""
    return 8 * ledger.totals.weight_bytes / ledger.totals.parameters


def cut(n: int) -> tuple[int, float]:
    """k, and the probability that a further measurement falls between the k-th smallest and the k-th largest of n."""
    k = max(int((n + 1) * (1 - CLAIM) / 2), 1)
    return k, (n + 1 - 2 * k) / (n + 1)


@cache
def samples() -> tuple[Sample, ...]:
    """The same, as computed when the evidence last changed (kvcalc.fitting, tools/generate.py; a test computes them anew)."""
    with (data_folder("evidence") / "samples.csv").open(encoding="utf-8", newline="") as opened:
        return tuple(Sample(**{name: row[name] for name in WORDS}, ratio=float(row["ratio"])) for row in csv.DictReader(opened))


Fits = Callable[[Sample], bool]


def efficiency(device: Device, phase: str, batch: int, weight_width: str) -> Factor | None:
    """What measured systems like this one reach: the same device and width, else the device, else its class; None without evidence."""
    kind = "prefill" if phase == "prefill" else "decode at batch 1" if batch == 1 else "batched decode"
    levels: list[tuple[str, Fits]] = [
        (f"{device.id}, {weight_width} weights", lambda s: s.device == device.id and s.width == weight_width),
        (f"{device.id}", lambda s: s.device == device.id),
        (
            f"{device.device_class}, {weight_width} weights",
            lambda s: s.device_class == device.device_class and s.width == weight_width,
        ),
        (f"{device.device_class}", lambda s: s.device_class == device.device_class),
    ]
    for label, fits in levels:
        found = factor(f"{kind}, {label}", (s for s in samples() if s.phase == kind and fits(s)))
        if found is not None:
            return found
    return None
