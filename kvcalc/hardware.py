"""A device: memory, bandwidth, dense peak per format, power, link and price, each value with its source, evidence and date.

What nobody published stays unknown, and what follows from that is said by `kvcalc.roofline`.
"""

from collections.abc import Mapping
from datetime import date
from fractions import Fraction
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

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


class Sourced(Record):
    """A value with its unit, and who says so."""

    value: str = Field(description="Number and unit: '81559 MiB', '3.35 TB/s', '989.4 TFLOP/s', '700 W'")
    evidence: Literal["official", "measured", "derived", "secondary", "given"] = Field(
        description="official: the vendor's own number; measured; derived: arithmetic from the others; secondary: a database or shop"
    )
    source: str
    date: str | None = Field(None, description="When the value was published or read")
    note: str | None = None


class Advertised(Sourced):
    """The number on the vendor's page where it is not the dense rate. Kept so that nobody takes it for one."""

    counts: Literal["sparsity", "several units", "adaptive compression"] = Field(
        "sparsity",
        description="What makes it larger than the dense rate: 2:4 sparsity; several units summed; compressed operands",
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
    launched: str | None = Field(None, description="When it was launched, as far as is known")
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
    power: Sourced | None = Field(None, description="TDP (or the vendor's other name for the most it draws): the upper bound [W]")
    idle_power: Sourced | None = Field(None, description="Power at rest [W]")
    link: Link | None = Field(None, description="Link to the other devices, one direction [bytes/s]")
    max_per_node: Annotated[int, Field(ge=1)] | None = Field(None, description="Devices that the link joins in a node")
    price: Sourced | None = Field(None, description="Price of one [USD]")
    cloud_price: Sourced | None = Field(None, description="On-demand price of one, the one that is used [USD/h]")
    cloud_prices: list[Offer] = Field(default_factory=list, description="Other offers, dated [USD/h]")
    caveats: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _readable(self) -> "Device":
        try:
            for value, units, what in self._quantities():
                parse_quantity(value.value, units, what)
        except KvcalcError as error:
            raise ValueError(error.message + (f"; {error.hint}" if error.hint else "")) from None
        if self.usable_bytes is not None and self.memory_bytes is not None and self.usable_bytes > self.memory_bytes:
            raise ValueError("usable_memory is more than memory")
        self._no_trap()
        self._no_future()
        return self

    def _no_trap(self) -> None:
        """What vendors print and buyers misread: sparsity, fp16 accumulation, both directions."""
        for name in self.absent:
            if name in self.peak:
                raise ValueError(f"{name} stands in peak and in absent")
        for name, headline in self.advertised.items():
            if name in self.peak and self._ops(self.peak[name]) >= self._ops(headline):
                raise ValueError(f"peak.{name} is the advertised figure, which counts {headline.counts}: give the dense rate")
        for name, fast in self.peak_fp16_accumulate.items():
            if name in self.peak and self._ops(self.peak[name]) > self._ops(fast):
                raise ValueError(f"peak.{name} is above the rate with fp16 accumulation: the two are swapped")
        if self.link is not None and self.link.both_directions is not None:
            both = parse_quantity(self.link.both_directions, BYTES_PER_S, "link.both_directions")
            if both != 2 * parse_quantity(self.link.value, BYTES_PER_S, "link"):
                raise ValueError("link is not half of link.both_directions: give one direction")

    def _no_future(self) -> None:
        today = date.today().isoformat()
        for value, _, what in self._quantities():
            if value.date is not None and value.date > today[: len(value.date)]:
                raise ValueError(f"{what}: its date {value.date} lies in the future")

    @staticmethod
    def _ops(value: Sourced) -> Fraction:
        return parse_quantity(value.value, OPS_PER_S, "peak")

    def _quantities(self) -> list[tuple[Sourced, Any, str]]:
        single: list[tuple[Sourced | None, Any, str]] = [
            (self.memory, BYTES, "memory"),
            (self.usable_memory, BYTES, "usable_memory"),
            (self.bandwidth, BYTES_PER_S, "bandwidth"),
            (self.measured_bandwidth, BYTES_PER_S, "measured_bandwidth"),
            (self.power, WATTS, "power"),
            (self.idle_power, WATTS, "idle_power"),
            (self.link, BYTES_PER_S, "link"),
            (self.price, USD, "price"),
            (self.cloud_price, USD_PER_HOUR, "cloud_price"),
            *((offer, USD_PER_HOUR, f"cloud_prices.{place}") for place, offer in enumerate(self.cloud_prices)),
        ]
        tables: dict[str, Mapping[Arithmetic, Sourced]] = {
            "peak": self.peak,
            "peak_fp16_accumulate": self.peak_fp16_accumulate,
            "advertised": self.advertised,
            "measured_peak": self.measured_peak,
        }
        peaks = [(value, OPS_PER_S, f"{name}.{key}") for name, table in tables.items() for key, value in table.items()]
        return [(value, units, what) for value, units, what in single if value is not None] + peaks

    @cached_property
    def memory_bytes(self) -> int | None:
        return None if self.memory is None else int(parse_quantity(self.memory.value, BYTES, "memory"))

    @cached_property
    def usable_bytes(self) -> int | None:
        return None if self.usable_memory is None else int(parse_quantity(self.usable_memory.value, BYTES, "usable_memory"))

    @cached_property
    def bandwidth_bytes_per_s(self) -> Fraction:
        """Peak memory bandwidth. Raises KvcalcError where nobody published it: then nothing can be said about time."""
        if self.bandwidth is None:
            raise KvcalcError(
                f"{self.id}: its memory bandwidth is not published, so no time can be bounded", "see kvcalc explain " + self.id
            )
        return parse_quantity(self.bandwidth.value, BYTES_PER_S, "bandwidth")

    @cached_property
    def link_bytes_per_s(self) -> Fraction | None:
        return None if self.link is None else parse_quantity(self.link.value, BYTES_PER_S, "link")

    @cached_property
    def watts(self) -> Fraction | None:
        return None if self.power is None else parse_quantity(self.power.value, WATTS, "power")

    @cached_property
    def idle_watts(self) -> Fraction | None:
        return None if self.idle_power is None else parse_quantity(self.idle_power.value, WATTS, "idle_power")

    @cached_property
    def usd_per_hour(self) -> Fraction | None:
        return None if self.cloud_price is None else parse_quantity(self.cloud_price.value, USD_PER_HOUR, "cloud_price")

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

    def has(self, arithmetic: Arithmetic) -> bool | None:
        """True if a peak for it is published, False if the device is known not to have it, None if nobody said."""
        return True if arithmetic in self.peak else False if arithmetic in self.absent else None

    def lacks(self, arithmetic: str) -> bool:
        """Whether the device is known not to have an arithmetic, and it is not one that falls to its 16-bit twin."""
        return arithmetic in self.absent and arithmetic not in ("bf16", "fp16")

    def rate(self, arithmetic: str) -> tuple[Arithmetic, Fraction] | None:
        """The arithmetic in which such products run here, and its dense peak in FLOP/s; None if no peak was published."""
        for candidate in FALLBACK.get(arithmetic, ()):
            if candidate in self.peak:
                return candidate, parse_quantity(self.peak[candidate].value, OPS_PER_S, f"peak.{candidate}")
        return None


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a device file, for editors."""
    return Device.model_json_schema(by_alias=True)
