"""What is assumed about users, servers and buildings where nobody measured it for you: each value with its source, each to be changed."""

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from kvcalc.errors import KvcalcError
from kvcalc.kind import Record
from kvcalc.units import MAX_TOKENS, USD_PER_HOUR, WATTS, parse_quantity, parse_seconds


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
    return {"value": value, "evidence": "given", "source": "as asked"} if isinstance(value, int | float | str) else value


Value = Annotated[Assumed, BeforeValidator(_written_short)]


class Assumptions(Record):
    """Assumptions of `energy` and `fleet`."""

    pue: Value = Field(description="Power of the building over power of the servers")
    host_overhead: Value = Field(description="Power at the server's plug over the power of its devices")
    rack_power: Value = Field(description="What a rack may draw at the plugs of its servers [W]")
    data_centre_power: Value = Field(description="Size of a data centre to compare with [W]")
    spare: Value = Field(description="Devices kept beyond the peak, as a share of those at work")
    tokens_in: Value = Field(description="Prompt tokens per user and day")
    tokens_out: Value = Field(description="Generated tokens per user and day")
    peak_factor: Value = Field(description="Load of the busiest hour over the mean of the day")
    context: Value = Field(description="Tokens whose state is held while one is generated")
    prompt: Value = Field(description="Tokens of one prompt")
    cached_share: Value = Field(description="Share of prompt tokens whose state is cached")
    tpot: Value = Field(description="Time per token that a user may wait [s]")
    ttft: Value = Field(description="Time to the first token that a user may wait [s]")
    price: Value | None = Field(None, description="Price of one device [USD/h]; not given: the device's own")
    power: Value | None = Field(None, description="Power of one device at work [W]; not given: its TDP")
    decode_efficiency: Value | None = Field(
        None, description="Measured over bound speed in decode; not given: from published measurements"
    )
    prefill_efficiency: Value | None = Field(None, description="The same in prefill")

    @model_validator(mode="after")
    def _sensible(self) -> "Assumptions":
        for name, least, most in (
            ("pue", 1, 5),
            ("host_overhead", 1, 10),
            ("spare", 0, 10),
            ("tokens_in", 0, MAX_TOKENS),
            ("tokens_out", 0, MAX_TOKENS),
            ("peak_factor", 1, 1000),
            ("cached_share", 0, 1),
            ("decode_efficiency", 0, 1),
            ("prefill_efficiency", 0, 1),
        ):
            if getattr(self, name) is not None:
                _between(name, self.number(name), least, most)
        for name in ("context", "prompt"):
            _between(name, self.number(name), 1, MAX_TOKENS)
            if self.number(name) != int(self.number(name)):
                raise ValueError(f"{name}: {self.number(name):g} is not a whole number of tokens")
        _ = (self.tpot_seconds, self.ttft_seconds, self.rack_watts, self.data_centre_watts)  # each refuses what it cannot read
        _ = (self.price_usd_per_hour, self.power_watts)
        return self

    def number(self, name: str) -> float:
        """A value without a unit. Raises ValueError where it is not a number."""
        value = getattr(self, name).value
        if isinstance(value, str):
            raise ValueError(f"{name}: {value!r} is not a number")
        return float(value)

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

    def changed(self, **given: Any) -> "Assumptions":
        """The same with some values given. Raises KvcalcError for one that cannot be."""
        from pydantic import ValidationError

        kept = {name: value for name, value in given.items() if value is not None}
        try:
            return Assumptions.model_validate(self.model_dump(exclude_none=True) | kept)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            message = first["msg"].removeprefix("Value error, ")
            raise KvcalcError(f"{where}: {message}" if where else message) from None


def _between(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ValueError(f"{name}: {value:g} must be between {least:g} and {most:g}")


def _read(read: Callable[[], float]) -> float:
    try:
        return float(Fraction(read()))
    except KvcalcError as error:
        raise ValueError(error.message + (f"; {error.hint}" if error.hint else "")) from None
