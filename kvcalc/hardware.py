"""A device: memory, bandwidth, dense peak per format, power, link and price, each value with its source, evidence and date.

What nobody published stays unknown, and what follows from that is said by `kvcalc.roofline`.
"""

from fractions import Fraction
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from kvcalc.errors import KvcalcError
from kvcalc.kind import Name, Record
from kvcalc.units import BYTES, BYTES_PER_S, OPS_PER_S, USD, USD_PER_HOUR, WATTS, parse_quantity

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


class Device(Record):
    """One device. Peaks are dense and accumulate in fp32 (int32 for integers)."""

    id: Name
    name: str
    vendor: str
    device_class: Literal["datacenter-gpu", "workstation-gpu", "consumer-gpu", "phone-soc-npu"] = Field(alias="class")
    launched: str
    memory: Sourced = Field(description="Capacity on the label [bytes]")
    usable_memory: Sourced | None = Field(None, description="What a program can see of it [bytes]")
    bandwidth: Sourced = Field(description="Peak memory bandwidth [bytes/s]")
    measured_bandwidth: Sourced | None = Field(None, description="Best documented read-mostly stream [bytes/s]")
    peak: dict[Arithmetic, Sourced] = Field(default_factory=dict, description="Dense peak per arithmetic [FLOP/s or OP/s]")
    measured_peak: dict[Arithmetic, Sourced] = Field(default_factory=dict, description="Measured matrix-product rate [FLOP/s]")
    power: Sourced | None = Field(None, description="TDP: the upper bound [W]")
    idle_power: Sourced | None = Field(None, description="Power at rest [W]")
    link: Sourced | None = Field(None, description="Link to the other devices, one direction [bytes/s]")
    max_per_node: Annotated[int, Field(ge=1)] | None = Field(None, description="Devices in a node")
    price: Sourced | None = Field(None, description="Price of one [USD]")
    cloud_price: Sourced | None = Field(None, description="On-demand price of one [USD/h]")
    caveats: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _readable(self) -> "Device":
        try:
            for value, units, what in self._quantities():
                parse_quantity(value.value, units, what)
        except KvcalcError as error:
            raise ValueError(error.message + (f"; {error.hint}" if error.hint else "")) from None
        if self.memory_bytes < 1 or self.usable_bytes == 0:
            raise ValueError("memory must be at least one byte")
        if self.usable_bytes is not None and self.usable_bytes > self.memory_bytes:
            raise ValueError("usable_memory is more than memory")
        return self

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
        ]
        peaks = [(value, OPS_PER_S, f"peak.{key}") for key, value in (self.peak | self.measured_peak).items()]
        return [(value, units, what) for value, units, what in single if value is not None] + peaks

    @cached_property
    def memory_bytes(self) -> int:
        return int(parse_quantity(self.memory.value, BYTES, "memory"))

    @cached_property
    def usable_bytes(self) -> int | None:
        return None if self.usable_memory is None else int(parse_quantity(self.usable_memory.value, BYTES, "usable_memory"))

    @cached_property
    def bandwidth_bytes_per_s(self) -> Fraction:
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
        if size > self.memory_bytes:
            raise KvcalcError(f"usable memory: {text} is more than the {self.memory.value} of {self.id}")
        given = {"value": text, "evidence": "given", "source": "as asked"}
        return Device.model_validate(self.model_dump(by_alias=True, exclude_none=True) | {"usable_memory": given})

    def rate(self, arithmetic: str) -> tuple[Arithmetic, Fraction] | None:
        """The arithmetic in which such products run here, and its dense peak in FLOP/s; None if no peak was published."""
        for candidate in FALLBACK.get(arithmetic, ()):
            if candidate in self.peak:
                return candidate, parse_quantity(self.peak[candidate].value, OPS_PER_S, f"peak.{candidate}")
        return None


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a device file, for editors."""
    return Device.model_json_schema(by_alias=True)
