"""What is assumed about users, servers and buildings where nobody measured it for you: each value with its source, each to be changed."""

import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from kvcalc.errors import KvcalcError
from kvcalc.kind import Record
from kvcalc.units import MAX_TOKENS, USD_PER_HOUR, WATTS, parse_quantity, parse_seconds, parse_tokens

AS_ASKED = "as asked"
"""The source of a value that a flag or a bare line of a file gives."""
_PLAIN = re.compile(r"[0-9]{1,30}(\.[0-9]{1,30})?")


class Assumed(Record):
    """A value, with its unit where it has one, and who says so."""

    value: int | float | str
    evidence: Literal["official", "measured", "derived", "secondary", "given"]
    source: str
    date: str | None = None
    note: str | None = None


def _written_short(value: Any) -> Any:
    """`pue: 1.1` is `pue: {value: 1.1, evidence: given, source: as asked}`."""
    if isinstance(value, Decimal):
        value = float(value)
    if value is None:
        raise ValueError("null gives no value")
    if isinstance(value, bool):
        raise ValueError(f"{str(value).lower()} is neither a number nor text")
    return {"value": value, "evidence": "given", "source": AS_ASKED} if isinstance(value, int | float | str) else value


Value = Annotated[Assumed, BeforeValidator(_written_short)]

LIMITS: dict[str, tuple[float, float]] = {
    "cached_share": (0, 1),
    "peak_factor": (1, 1000),
    "spare": (0, 10),
    "host_overhead": (1, 10),
    "pue": (1, 5),
}
"""Least and most of what may be the least."""
SHARES = ("memory_utilisation", "utilisation", "decode_efficiency", "prefill_efficiency")
"""More than 0, at most 1."""


class Assumptions(Record):
    """Assumptions of `energy` and `fleet`, in the order in which they are printed."""

    tokens_in: Value = Field(description="prompt tokens of a user in a day")
    tokens_out: Value = Field(description="generated tokens of a user in a day")
    cached_share: Value = Field(description="share of prompt tokens whose state is cached")
    peak_factor: Value = Field(description="load of the busiest hour over the day's mean")
    context: Value = Field(description="tokens held while one is generated")
    prompt: Value = Field(description="tokens of one prompt")
    tpot: Value = Field(description="time per token that a user may wait")
    ttft: Value = Field(description="time to the first token that a user may wait")
    memory_utilisation: Value = Field(description="share of the usable memory to fill")
    utilisation: Value = Field(description="share of a replica's speed used at the peak")
    decode_efficiency: Value | None = Field(None, description="decode: speed over the bound's")
    prefill_efficiency: Value | None = Field(None, description="prefill: speed over the bound's")
    spare: Value = Field(description="replicas beyond the peak, over those at work")
    power: Value | None = Field(None, description="power of one device at work")
    idle_power: Value | None = Field(None, description="power of one device at rest")
    host_overhead: Value = Field(description="power at the plug over that of the devices")
    pue: Value = Field(description="power of the building over that at the plugs")
    rack_power: Value = Field(description="what a rack may draw at its plugs")
    data_centre_power: Value = Field(description="a data centre to compare with")
    price: Value | None = Field(None, description="price of one device")

    @model_validator(mode="after")
    def _sensible(self) -> "Assumptions":
        for name, (least, most) in LIMITS.items():
            value = self.number(name)
            if not least <= value <= most:
                raise ValueError(f"{name}: {value:g} must be between {least:g} and {most:g}")
        for name in SHARES:
            if getattr(self, name) is not None and not 0 < self.number(name) <= 1:
                raise ValueError(f"{name}: {self.number(name):g} must be more than 0 and at most 1")
        for name in ("tokens_in", "tokens_out"):
            if not 0 <= self.tokens(name) <= MAX_TOKENS:
                raise ValueError(f"{name}: {getattr(self, name).value} must be between 0 and 2^40 tokens")
        for name in ("context", "prompt"):
            wanted = self.tokens(name)
            if wanted.denominator != 1:
                raise ValueError(f"{name}: {getattr(self, name).value} is not a whole number of tokens")
            if not 1 <= wanted <= MAX_TOKENS:
                raise ValueError(f"{name}: {getattr(self, name).value} must be between 1 and 2^40 tokens")
        _ = (self.tpot_seconds, self.ttft_seconds, self.rack_watts, self.data_centre_watts)  # each refuses what it cannot read
        _ = (self.price_usd_per_hour, self.power_watts, self.idle_watts)
        return self

    def exact(self, name: str) -> Fraction:
        """A value without a unit, as it is written: 0.07 is 7/100. Raises ValueError where it is not a number."""
        value = getattr(self, name).value
        if isinstance(value, str) or not isfinite(value):
            raise ValueError(f"{name}: {value!r} is not a number")
        return Fraction(str(value))

    def number(self, name: str) -> float:
        """The same, as a float."""
        return float(self.exact(name))

    def tokens(self, name: str) -> Fraction:
        """Tokens, as a plain number or as people say them: 8K is 8,192."""
        value = getattr(self, name).value
        if not isinstance(value, str):
            return self.exact(name)
        if _PLAIN.fullmatch(value.strip()):
            return Fraction(value)
        return Fraction(_read(lambda: parse_tokens(value, name)))

    def _quantity(self, name: str, units: dict[str, Any]) -> float | None:
        given: Assumed | None = getattr(self, name)
        return None if given is None else _read(lambda: float(parse_quantity(given.value, units, name)))

    @property
    def tpot_seconds(self) -> float:
        return _read(lambda: parse_seconds(str(self.tpot.value), "tpot"))

    @property
    def ttft_seconds(self) -> float:
        return _read(lambda: parse_seconds(str(self.ttft.value), "ttft"))

    @property
    def rack_watts(self) -> float:
        return self._quantity("rack_power", WATTS) or 0.0

    @property
    def data_centre_watts(self) -> float:
        return self._quantity("data_centre_power", WATTS) or 0.0

    @property
    def price_usd_per_hour(self) -> float | None:
        return self._quantity("price", USD_PER_HOUR)

    @property
    def power_watts(self) -> float | None:
        return self._quantity("power", WATTS)

    @property
    def idle_watts(self) -> float | None:
        return self._quantity("idle_power", WATTS)

    @property
    def surroundings(self) -> float:
        """host_overhead x pue: power of the building over that of the devices."""
        return self.number("host_overhead") * self.number("pue")

    def changed(self, **given: Any) -> "Assumptions":
        """The same with some values given. Raises KvcalcError for one that cannot be."""
        from pydantic import ValidationError

        kept = {name: value for name, value in given.items() if value is not None}
        try:
            return Assumptions.model_validate({name: getattr(self, name) for name in Assumptions.model_fields} | kept)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            message = first["msg"].removeprefix("Value error, ")
            raise KvcalcError(f"{where}: {message}" if where else message) from None


def _read(read: Callable[[], float]) -> float:
    try:
        return read()
    except KvcalcError as error:
        raise ValueError(error.message + (f"; {error.hint}" if error.hint else "")) from None


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a file of assumptions, for editors."""
    return Assumptions.model_json_schema()
