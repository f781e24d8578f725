"""A device: memory, bandwidth, dense peak per format, power, link and price, each value with its source, evidence and date.

What nobody published stays unknown, and what follows from that is said by `kvcalc.roofline`.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

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

FALLBACK: dict[str, tuple[Arithmetic, ...]] = {
    "fp4": ("fp4", "fp8", "bf16", "fp16"),
    "fp8": ("fp8", "bf16", "fp16"),
    "int8": ("int8", "bf16", "fp16"),
    "bf16": ("bf16", "fp16"),
    "fp16": ("fp16", "bf16"),
    "tf32": ("tf32", "fp32", "bf16", "fp16"),
}
"""Where a device has not the arithmetic of a format, the next one that it may have, in order."""


Support = Literal["native", "absent", "unpublished"]

Day = Annotated[str, Field(pattern=r"^[12][0-9]{3}(-[01][0-9](-[0-3][0-9])?)?$")]
"""A date as far as it is known: 2025, 2025-01 or 2025-01-30."""

MEASURED_OVER_PEAK = Fraction(105, 100)
"""So much of a peak may be measured: clocks and sizes are rounded. More is another thing."""


def _never_bare(value: Any) -> Any:
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        raise ValueError(f"{value} has no unit: write the number and its unit, e.g. '81559 MiB', '3.35 TB/s', '700 W'")
    return value


class Sourced(Record):
    """A value with its unit, and who says so."""

    value: Annotated[str, BeforeValidator(_never_bare)] = Field(
        description="Number and unit: '81559 MiB', '3.35 TB/s', '989.4 TFLOP/s', '700 W'"
    )
    evidence: Literal["official", "measured", "derived", "secondary", "given"] = Field(
        description="official: the vendor's own number; measured; derived: arithmetic from the others; secondary: a database or shop"
    )
    source: Annotated[str, Field(min_length=3)] = Field(description="URL, publication or method, as anybody can find it")
    date: Day | None = Field(None, description="When the value was published or read; needed unless it is given")
    note: str | None = None


class Advertised(Sourced):
    """The number on the vendor's page where it is not the dense rate. Kept so that nobody takes it for one."""

    counts: Literal["sparsity", "several units", "adaptive compression", "a higher clock"] = Field(
        "sparsity",
        description="What makes it larger than the dense rate: 2:4 sparsity; several units summed; compressed operands; an unsold clock",
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
    both_directions: str | None = Field(None, description="The headline that adds both directions; twice `value`, or refused")
    pair: str | None = Field(None, description="Rate between two devices alone, where a pair does not get all links")


class Offer(Sourced):
    """One on-demand price of one device for an hour."""

    provider: str


class Device(Record):
    """One device. Peaks are dense and accumulate in fp32 (int32 for integers)."""

    id: Name
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
            wrong = [*self._traps(self.sizes), *self._dates()]
        except KvcalcError as error:
            raise ValueError(error.message + (f"; {error.hint}" if error.hint else "")) from None
        if wrong:
            raise ValueError(wrong[0])
        return self

    def _traps(self, sizes: Mapping[str, Fraction]) -> Iterator[str]:
        """What vendors print and buyers misread, each as 'place: what is wrong'."""
        rates: tuple[tuple[str, Mapping[Arithmetic, Sourced]], ...] = (
            ("peak", self.peak),
            ("peak_fp16_accumulate", self.peak_fp16_accumulate),
            ("measured_peak", self.measured_peak),
        )
        for table, values in rates:
            for name in self.absent:
                if name in values:
                    yield f"{table}.{name}: {name} stands in absent too"
        for name, dense in self.peak.items():
            rate = sizes[f"peak.{name}"]
            headline, fast = self.advertised.get(name), self.peak_fp16_accumulate.get(name)
            if headline is not None and rate >= sizes[f"advertised.{name}"]:
                yield f"peak.{name}.value: {dense.value} is the advertised figure, which counts {headline.counts}: give the dense rate"
            if fast is not None and rate > sizes[f"peak_fp16_accumulate.{name}"]:
                yield f"peak.{name}.value: {dense.value} is above the {fast.value} with fp16 accumulation: the two are swapped"
        for inner, outer, slack, why in (
            ("usable_memory", "memory", Fraction(1), "a label of GB may mean GiB"),
            ("measured_bandwidth", "bandwidth", MEASURED_OVER_PEAK, "a cache was measured"),
            ("measured_link", "link", MEASURED_OVER_PEAK, "both directions were added"),
            ("link.pair", "link", Fraction(1), "a pair cannot have more than all"),
        ):
            if inner in sizes and outer in sizes and sizes[inner] > slack * sizes[outer]:
                place = inner if "." in inner else f"{inner}.value"
                yield f"{place}: {inner} is more than {outer}: {why}"
        if "link.both_directions" in sizes and sizes["link.both_directions"] != 2 * sizes["link"]:
            yield "link.value: link is not half of link.both_directions: give one direction"

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
        """Peak memory bandwidth. Raises KvcalcError where nobody published it: then nothing can be said about time."""
        if self.bandwidth is None:
            raise KvcalcError(
                f"{self.id}: its memory bandwidth is not published, so no time can be bounded", "see kvcalc explain " + self.id
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
        return "an unpublished memory" if self.memory is None else self.memory.value

    def support(self, arithmetic: Arithmetic) -> Support:
        """native: a peak for it is published; absent: the device is known not to have it; unpublished: nobody said."""
        return "native" if arithmetic in self.peak else "absent" if arithmetic in self.absent else "unpublished"

    def lacks(self, arithmetic: str) -> bool:
        """Whether the device is known not to have an arithmetic, and it is not one that falls to its 16-bit twin."""
        return arithmetic in self.absent and arithmetic not in ("bf16", "fp16")

    def rate(self, arithmetic: str) -> tuple[Arithmetic, Fraction] | None:
        """The arithmetic in which such products run here, and its dense peak in FLOP/s; None if no peak was published."""
        for candidate in FALLBACK.get(arithmetic, ()):
            if candidate in self.peak:
                return candidate, self.sizes[f"peak.{candidate}"]
        return None


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a device file, for editors."""
    return Device.model_json_schema(by_alias=True)
