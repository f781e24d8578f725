"""A device: memory, bandwidth, dense peak per format, power, link and price, each value with its source, evidence and date.

What nobody published stays unknown, and what follows from that is said by `kvcalc.roofline`.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from kvcalc.errors import KvcalcError
from kvcalc.kind import Name, Record
from kvcalc.units import BYTES, BYTES_PER_S, OPS_PER_S, USD, USD_PER_HOUR, WATTS, parse_quantity

DeviceClass = Literal[
    "datacenter-gpu",
    "datacenter-superchip",
    "datacenter-asic",
    "rack",
    "workstation-gpu",
    "consumer-gpu",
    "desktop-soc",
    "unified-soc",
    "phone-soc-npu",
    "edge-module",
    "tpu",
    "sram-asic",
    "cpu-server",
    "sbc",
]
Arithmetic = Literal["fp32", "tf32", "bf16", "fp16", "fp8", "fp4", "int8", "int4"]

ARITHMETIC: tuple[Arithmetic, ...] = get_args(Arithmetic)
BITS: dict[Arithmetic, int] = {"fp32": 32, "tf32": 32, "bf16": 16, "fp16": 16, "fp8": 8, "int8": 8, "fp4": 4, "int4": 4}
"""Width of an operand. No arithmetic of a device is faster than its fastest of as many bits or fewer."""

FALLBACK: dict[str, tuple[Arithmetic, ...]] = {
    "fp4": ("fp4", "fp8", "bf16", "fp16"),
    "fp8": ("fp8", "bf16", "fp16"),
    "int4": ("int4", "int8", "bf16", "fp16"),
    "int8": ("int8", "bf16", "fp16"),
    "bf16": ("bf16", "fp16"),
    "fp16": ("fp16", "bf16"),
    "tf32": ("tf32", "fp32", "bf16", "fp16"),
    "fp32": ("fp32",),
}
"""Where a device has not the arithmetic of a format, the next one that it may have, in order."""


Support = Literal["native", "rate unpublished", "absent", "unpublished"]


class Rate(NamedTuple):
    """How fast products of an arithmetic run, at most.

    native: `per_s` is its published peak; absent: the device has it not, and `arithmetic` is the next one that it has; unpublished:
    its own peak is not known, and `per_s` is that of the fastest arithmetic of as many bits or fewer: a ceiling.
    """

    arithmetic: Arithmetic
    per_s: Fraction
    how: Literal["native", "absent", "unpublished"]


FIRST_YEAR = 1990


def _day(text: str) -> str:
    """A date as far as it is known."""
    match = re.fullmatch(r"([0-9]{4})(?:-([0-9]{2})(?:-[0-9]{2})?)?", text)
    try:
        if match is None or (match[2] is not None and not 1 <= int(match[2]) <= 12):
            raise ValueError
        if len(text) == len("2025-01-30"):
            date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no date: write 2025, 2025-01 or 2025-01-30") from None
    if int(match[1]) < FIRST_YEAR:
        raise ValueError(f"{text} lies before {FIRST_YEAR}: which year is meant?")
    return text


Day = Annotated[
    str, AfterValidator(_day), Field(json_schema_extra={"pattern": r"^(199|2[0-9]{2})[0-9](-(0[1-9]|1[0-2])(-[0-3][0-9])?)?$"})
]
"""A date as far as it is known: 2025, 2025-01 or 2025-01-30."""

MEASURED_OVER_PEAK = Fraction(105, 100)
"""So much of a peak may be measured: clocks and sizes are rounded. More is another thing."""
BOOSTED_OVER_PEAK = Fraction(111, 100)
"""So much of a peak products may reach: cards boost above the clock that the peak is printed for."""
LEAST_USABLE = Fraction(30, 100)
"""No system keeps more than 70 % of the memory for itself: the strictest known, iPadOS 26.4, leaves 37.5 %."""
ROUNDED = Fraction(2, 100)
"""Printed rates are rounded: within so much two are the same."""
READ_ONCE = (Fraction(1, 10000), Fraction(10))
"""How long a device takes to read its memory once [s]; memory on the chip is faster."""
RACK = 1000
"""A rack, or a wafer of memory, may have so many times as much."""


class Limit(NamedTuple):
    """Between what a value of one device lies: as text, and in the base unit. `grows`: a rack may have more."""

    least: str
    most: str
    low: Fraction
    high: Fraction
    grows: bool


def _limit(units: dict[str, int] | dict[str, Fraction], least: str, most: str, *, grows: bool = False) -> Limit:
    return Limit(least, most, parse_quantity(least, units, "limit"), parse_quantity(most, units, "limit"), grows)


LIMITS = {
    "memory": _limit(BYTES, "64 MiB", "64 TiB", grows=True),
    "usable_memory": _limit(BYTES, "64 MiB", "64 TiB", grows=True),
    "peak": _limit(OPS_PER_S, "1 GFLOP/s", "1 EFLOP/s", grows=True),
    "power": _limit(WATTS, "0.5 W", "300 kW"),
    "cloud_price": _limit(USD_PER_HOUR, "0.001 USD/h", "1000 USD/h"),
    "cloud_prices": _limit(USD_PER_HOUR, "0.001 USD/h", "1000 USD/h"),
}
"""More or less is a slip of the unit."""


def _never_bare(value: Any) -> Any:
    number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    if (number and value < 0) or (isinstance(value, str) and value.lstrip().startswith("-")):
        raise ValueError(f"{value} must be more than zero")
    if number:
        raise ValueError(f"{value} has no unit: write the number and its unit, e.g. '81559 MiB', '3.35 TB/s', '700 W'")
    return value


def _names_a_source(text: str) -> str:
    if len(re.findall(r"[^\W_]", text)) < 3:
        raise ValueError(f"{text!r} names no source: give a URL, a publication or a method")
    return text


def _no_count(name: str) -> str:
    if re.match(r"[0-9]+x", name):
        raise ValueError(f"{name!r} reads as a number of devices: begin with a letter")
    return name


Quantity = Annotated[str, BeforeValidator(_never_bare)]


class Sourced(Record):
    """A value with its unit, and who says so."""

    value: Quantity = Field(description="Number and unit: '81559 MiB', '3.35 TB/s', '989.4 TFLOP/s', '700 W'")
    evidence: Literal["official", "measured", "derived", "secondary", "given"] = Field(
        description="official: the vendor's own number; measured; derived: arithmetic from the others; secondary: a database or shop"
    )
    source: Annotated[str, AfterValidator(_names_a_source), Field(min_length=3)] = Field(
        description="URL, publication or method, as anybody can find it"
    )
    date: Day | None = Field(None, description="When the value was published or read; needed unless it is given")
    note: str | None = None


class Advertised(Sourced):
    """The number on the vendor's page where it is not the dense rate. Kept so that nobody takes it for one."""

    counts: Literal["sparsity", "several units", "adaptive compression", "a higher clock", "format not said"] = Field(
        "sparsity",
        description="Why it is no dense rate: 2:4 sparsity; several units summed; compressed operands; an unsold clock; "
        "the vendor does not say of which number format it is",
    )


class Power(Sourced):
    """A power, and of what."""

    kind: Literal["tdp", "tgp", "tbp", "max", "system", "supply"] = Field(
        description="tdp: thermal design of the part; tgp, tbp: whole graphics board; max: printed maximum of the part; "
        "system: the machine around it; supply: what its supply can give"
    )


class Link(Sourced):
    """What connects a device to the others: `value` is one direction, all links of the device together."""

    kind: Literal["nvlink", "nvlink-c2c", "pcie", "infinity-fabric", "ici", "neuronlink", "ethernet"]
    both_directions: Quantity | None = Field(
        None, description="The headline that adds both directions; twice `value`, or refused; only pcie and ethernet go without"
    )
    pair: Quantity | None = Field(None, description="Rate between two devices alone, where a pair does not get all links")


ONE_WAY_HEADLINES = ("pcie", "ethernet")
"""Links that are sold by one direction. The headlines of the others add both."""


class Offer(Sourced):
    """One on-demand price of one device for an hour."""

    provider: str


class Device(Record):
    """One device. Peaks are dense and accumulate in fp32 (int32 for integers)."""

    id: Annotated[Name, AfterValidator(_no_count)]
    name: str
    vendor: str
    device_class: DeviceClass = Field(alias="class")
    launched: Day | None = Field(None, description="When it was launched, as far as is known")
    seen_as: Annotated[int, Field(ge=2)] | None = Field(
        None,
        description="Devices that software sees in it, where they are several: 2 in an MI250X, 72 in a rack; values are of all",
    )
    memory: Sourced | None = Field(None, description="Capacity on the label: GiB where the label says GB and means GiB [bytes]")
    usable_memory: Sourced | None = Field(None, description="What a program can see of it [bytes]")
    bandwidth: Sourced | None = Field(None, description="Peak memory bandwidth [bytes/s]")
    measured_bandwidth: Sourced | None = Field(None, description="Best documented read-mostly stream [bytes/s]")
    peak: dict[Arithmetic, Sourced] = Field(default_factory=dict, description="Dense peak per arithmetic [FLOP/s or OP/s]")
    peak_fp16_accumulate: dict[Arithmetic, Sourced] = Field(
        default_factory=dict, description="Dense peak where sums are kept in fp16, which `peak` never means [FLOP/s]"
    )
    advertised: dict[Arithmetic, Advertised] = Field(default_factory=dict, description="Headlines that are no dense peak")
    absent: list[Arithmetic] = Field(default_factory=list, description="Arithmetic that the device is known not to have")
    supported: list[Arithmetic] = Field(
        default_factory=list, description="Arithmetic that the vendor says it has, at a rate that is not known"
    )
    measured_peak: dict[Arithmetic, Sourced] = Field(default_factory=dict, description="Measured matrix-product rate [FLOP/s]")
    power: Power | None = Field(None, description="The most it draws, the upper bound [W]")
    idle_power: Sourced | None = Field(None, description="Power at rest [W]")
    link: Link | None = Field(None, description="Link to the other devices, one direction [bytes/s]")
    measured_link: Sourced | None = Field(None, description="What collectives or copies reach on it, one direction [bytes/s]")
    max_per_node: Annotated[int, Field(ge=1)] | None = Field(None, description="Devices that the link joins in a node")
    price: Sourced | None = Field(None, description="Price of one, list or street [USD]")
    cloud_price: Sourced | None = Field(None, description="On-demand price of one, the one that is used [USD/h]")
    cloud_prices: list[Offer] = Field(default_factory=list, description="Other offers, dated [USD/h]")
    caveats: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _sound(self) -> "Device":
        try:
            wrong = [*self._ranges(self.sizes), *self._lists(), *self._traps(self.sizes), *self._dates()]
        except KvcalcError as error:
            raise ValueError(error.message + (f"; {error.hint}" if error.hint else "")) from None
        if wrong:
            raise ValueError(wrong[0])
        return self

    def _traps(self, sizes: Mapping[str, Fraction]) -> Iterator[str]:
        """What vendors print and buyers misread, each as 'place: what is wrong'."""
        for name, dense in self.peak.items():
            rate = sizes[f"peak.{name}"]
            headline, fast = self.advertised.get(name), self.peak_fp16_accumulate.get(name)
            if headline is not None and headline.counts != "format not said":
                printed = sizes[f"advertised.{name}"]
                if rate >= printed:
                    yield (
                        f"peak.{name}.value: {dense.value} is the advertised figure, which counts {headline.counts}: "
                        "give the dense rate"
                    )
                elif headline.counts == "sparsity" and headline.note is None and abs(printed - 2 * rate) > ROUNDED * 2 * rate:
                    yield (
                        f"advertised.{name}.value: {headline.value} is not twice the dense {dense.value}, as sparsity counts: "
                        "correct one of the two, or say why in its note"
                    )
            if fast is not None and rate > sizes[f"peak_fp16_accumulate.{name}"]:
                yield f"peak.{name}.value: {dense.value} is above the {fast.value} with fp16 accumulation: the two are swapped"
        if "bf16" in self.peak and "fp16" in self.peak:
            slow, quick = sorted(("bf16", "fp16"), key=lambda name: sizes[f"peak.{name}"])
            slower = self.peak["bf16" if slow == "bf16" else "fp16"]
            if 2 * sizes[f"peak.{slow}"] < sizes[f"peak.{quick}"] and slower.note is None:
                yield f"peak.{slow}.value: {slower.value} is less than half of the rate of {quick}: correct it, or say why in its note"
        for inner, outer, slack, why in (
            ("usable_memory", "memory", Fraction(1), "a label of GB may mean GiB"),
            ("idle_power", "power", Fraction(1), "the two may be swapped"),
            ("measured_bandwidth", "bandwidth", MEASURED_OVER_PEAK, "a cache was measured"),
            ("measured_link", "link", MEASURED_OVER_PEAK, "both directions were added"),
            ("link.pair", "link", Fraction(1), "a pair cannot have more than all"),
            *(
                (f"measured_peak.{name}", f"peak.{name}", BOOSTED_OVER_PEAK, "one of the two counts sparsity or sums in fp16")
                for name in self.measured_peak
            ),
        ):
            if inner in sizes and outer in sizes and sizes[inner] > slack * sizes[outer]:
                place = inner if inner == "link.pair" else f"{inner}.value"
                yield f"{place}: {inner} is more than {outer}: {why}"
        if "link.both_directions" in sizes and sizes["link.both_directions"] != 2 * sizes["link"]:
            yield "link.value: link is not half of link.both_directions: give one direction"
        if self.link is not None and self.link.both_directions is None and self.link.kind not in ONE_WAY_HEADLINES:
            yield (
                f"link.both_directions: missing: headlines of {self.link.kind} add both directions: give it, and half of it as value"
            )

    def _lists(self) -> Iterator[str]:
        """Arithmetic that is said twice, or both had and not had."""
        for place, names in (("absent", self.absent), ("supported", self.supported)):
            for name in dict.fromkeys(name for name in names if names.count(name) > 1):
                yield f"{place}: {name} stands there twice: leave one"
        rates: tuple[tuple[str, Mapping[Arithmetic, Sourced]], ...] = (
            ("peak", self.peak),
            ("peak_fp16_accumulate", self.peak_fp16_accumulate),
            ("advertised", self.advertised),
            ("measured_peak", self.measured_peak),
        )
        for name in self.absent:
            yield from (f"{table}.{name}: {name} stands in absent too" for table, values in rates if name in values)
            if name in self.supported:
                yield f"supported: {name} stands in absent too: leave one"
        yield from (f"supported: {name} has a peak: leave it out here" for name in self.supported if name in self.peak)

    def _ranges(self, sizes: Mapping[str, Fraction]) -> Iterator[str]:
        """Sizes that no device has: slips of the unit."""
        large = self.device_class in ("rack", "sram-asic")
        for value, _, what in self.quantities():
            limit = LIMITS.get(what.partition(".")[0])
            if limit is None:
                continue
            times = RACK if large and limit.grows else 1
            if not limit.low <= sizes[what] <= times * limit.high:
                most = limit.most if times == 1 else f"{times:,} times {limit.most}"
                yield f"{what}.value: {value.value} is not between {limit.least} and {most}: check its unit"
        usable = None if self.usable_memory is None or self.usable_memory.evidence == "given" else self.usable_memory.value
        if usable is not None and self.memory is not None and sizes["usable_memory"] < LEAST_USABLE * sizes["memory"]:
            yield f"usable_memory.value: {usable} is less than 30 % of {self.memory.value}: check both units"
        if self.memory is not None and self.bandwidth is not None and self.device_class != "sram-asic":
            least_time, most_time = READ_ONCE
            if not least_time <= sizes["memory"] / sizes["bandwidth"] <= most_time:
                yield (
                    f"bandwidth.value: {self.bandwidth.value} would read {self.memory.value} in less than 0.1 ms or more than 10 s: "
                    "check both units"
                )

    def _dates(self) -> Iterator[str]:
        """Values need a date, and none of tomorrow."""
        today = date.today().isoformat()
        for value, _, what in self.quantities():
            if value.date is None and value.evidence != "given":
                yield f"{what}: date: missing: when was it published or read?"
            if value.date is not None and value.date > today[: len(value.date)]:
                yield f"{what}.date: {value.date} lies in the future"
        if self.launched is not None and self.launched > today[: len(self.launched)]:
            yield f"launched: {self.launched} lies in the future"

    def quantities(self) -> Iterator[tuple[Sourced, dict[str, int] | dict[str, Fraction], str]]:
        """Every value that the file has, with its units and its place in the file: 'peak.fp8'."""
        single: tuple[tuple[Sourced | None, dict[str, int] | dict[str, Fraction], str], ...] = (
            (self.memory, BYTES, "memory"),
            (self.usable_memory, BYTES, "usable_memory"),
            (self.bandwidth, BYTES_PER_S, "bandwidth"),
            (self.measured_bandwidth, BYTES_PER_S, "measured_bandwidth"),
            (self.power, WATTS, "power"),
            (self.idle_power, WATTS, "idle_power"),
            (self.link, BYTES_PER_S, "link"),
            (self.measured_link, BYTES_PER_S, "measured_link"),
            (self.price, USD, "price"),
            (self.cloud_price, USD_PER_HOUR, "cloud_price"),
        )
        yield from ((value, units, what) for value, units, what in single if value is not None)
        tables: tuple[tuple[str, Mapping[Arithmetic, Sourced]], ...] = (
            ("peak", self.peak),
            ("peak_fp16_accumulate", self.peak_fp16_accumulate),
            ("advertised", self.advertised),
            ("measured_peak", self.measured_peak),
        )
        for table, values in tables:
            yield from ((value, OPS_PER_S, f"{table}.{name}") for name, value in values.items())
        yield from ((offer, USD_PER_HOUR, f"cloud_prices.{place}") for place, offer in enumerate(self.cloud_prices))

    @cached_property
    def sizes(self) -> dict[str, Fraction]:
        """Every quantity in its base unit, by its place in the file. Raises UnitError."""
        sizes = {what: parse_quantity(value.value, units, what) for value, units, what in self.quantities()}
        if self.link is not None:
            for name, text in (("both_directions", self.link.both_directions), ("pair", self.link.pair)):
                if text is not None:
                    sizes[f"link.{name}"] = parse_quantity(text, BYTES_PER_S, f"link.{name}")
        return sizes

    @property
    def memory_bytes(self) -> int | None:
        """The label."""
        return None if self.memory is None else int(self.sizes["memory"])

    @property
    def usable_bytes(self) -> int | None:
        """What a program can see."""
        return None if self.usable_memory is None else int(self.sizes["usable_memory"])

    @property
    def bandwidth_bytes_per_s(self) -> Fraction:
        """Peak memory bandwidth. Raises KvcalcError where none is carried: then nothing can be said about time."""
        if self.bandwidth is None:
            raise KvcalcError(
                f"{self.id}: no memory bandwidth is carried, so no time can be bounded", "see kvcalc explain " + self.id
            )
        return self.sizes["bandwidth"]

    @property
    def link_bytes_per_s(self) -> Fraction | None:
        """One direction, all links together."""
        return self.sizes.get("link")

    @property
    def link_pair_bytes_per_s(self) -> Fraction | None:
        """One direction between two devices alone: all of the link, unless `link.pair` says less."""
        return self.sizes.get("link.pair", self.sizes.get("link"))

    def link_rate(self, devices: int) -> Fraction | None:
        """The most that one of `devices` devices may send to the others, one direction [bytes/s].

        None where no link is carried, where it joins a CPU only, or where it does not reach so many devices.
        """
        link = self.link_bytes_per_s
        if self.link is None or link is None or self.link.kind == "nvlink-c2c":
            return None
        if self.max_per_node is not None and devices > self.max_per_node:
            return None
        return min(link, self.sizes.get("link.pair", link) * max(devices - 1, 1))

    @property
    def watts(self) -> Fraction | None:
        return self.sizes.get("power")

    @property
    def idle_watts(self) -> Fraction | None:
        return self.sizes.get("idle_power")

    @property
    def usd_per_hour(self) -> Fraction | None:
        return self.sizes.get("cloud_price")

    def with_usable(self, text: str) -> "Device":
        """The same device of which a program may use so much: '8GiB'. Raises UnitError, or KvcalcError where it is more than there is."""
        size = parse_quantity(text, BYTES, "usable memory")
        if self.memory is not None and self.memory_bytes is not None and size > self.memory_bytes:
            raise KvcalcError(f"usable memory: {text} is more than the {self.memory.value} of {self.id}")
        given = {"value": text, "evidence": "given", "source": "as asked"}
        return Device.model_validate(self.model_dump(by_alias=True, exclude_none=True) | {"usable_memory": given})

    @property
    def label(self) -> str:
        """The memory on the label, in words."""
        return "a memory that is not carried" if self.memory is None else self.memory.value

    def support(self, arithmetic: Arithmetic) -> Support:
        """native: a peak for it is carried; rate unpublished: the device has it, at a rate that is not known; absent: it is known not
        to have it; unpublished: nothing about it is known."""
        if arithmetic in self.peak:
            return "native"
        if arithmetic in self.supported:
            return "rate unpublished"
        return "absent" if arithmetic in self.absent else "unpublished"

    def lacks(self, arithmetic: str) -> bool:
        """Whether the device is known not to have an arithmetic, and it is not one that falls to its 16-bit twin."""
        return arithmetic in self.absent and arithmetic not in ("bf16", "fp16")

    def rate(self, arithmetic: str) -> Rate | None:
        """How fast products of an arithmetic run here, at most. None where nothing bounds it, or where there is no such arithmetic.

        What the device is known not to have falls to the next arithmetic that it may have; what is merely unknown falls to a ceiling.
        """
        for candidate in FALLBACK.get(arithmetic, ()):
            if candidate in self.peak:
                how: Literal["native", "absent"] = "native" if candidate == arithmetic else "absent"
                return Rate(candidate, self.sizes[f"peak.{candidate}"], how)
            if candidate not in self.absent:
                return self._ceiling(candidate)
        return None

    def _ceiling(self, arithmetic: Arithmetic) -> Rate | None:
        """The fastest published peak among arithmetics of as many bits or fewer; of equal ones the widest."""
        known = [name for name in ARITHMETIC if name in self.peak and BITS[name] <= BITS[arithmetic]]
        if not known:
            return None
        fastest = max(known, key=lambda name: self.sizes[f"peak.{name}"])
        return Rate(fastest, self.sizes[f"peak.{fastest}"], "unpublished")


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a device file, for editors."""
    return Device.model_json_schema(by_alias=True)
