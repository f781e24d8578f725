"""The only room that knows 1024, 1000, GiB, GB, "128K" and "3.35 TB/s": text to exact integers and back.

K and M are 2^10 and 2^20 for tokens only. GB is 10^9 bytes and GiB 2^30 bytes, always. Rates are decimal: TB/s is 10^12 bytes/s.
"""

import re
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

from kvcalc.errors import UnitError

Number = int | float | Fraction

_DECIMAL = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50}
_TOKENS = {"": 1, "K": 2**10, "M": 2**20}

KIB, MIB, GIB, GB = _BINARY["Ki"], _BINARY["Mi"], _BINARY["Gi"], _DECIMAL["G"]
MILLION, BILLION = _DECIMAL["M"], _DECIMAL["G"]
SECONDS_PER_HOUR = 3600
SECONDS_PER_DAY = 24 * SECONDS_PER_HOUR
JOULES_PER_WH = 3600
JOULES_PER_KWH = 1000 * JOULES_PER_WH

LEAST, MOST = Fraction(1, 1000), 10**21
"""What a quantity of hardware may be, in base units."""
MAX_TOKENS = 2**40
MAX_BATCH = 2**24

_NUMBER = r"(?P<number>[0-9]{1,30}(?:\.[0-9]{1,30})?)"
_QUANTITY = re.compile(_NUMBER + r" ?(?P<unit>[A-Za-z/]+)")
_TOKEN_COUNT = re.compile(_NUMBER + r"(?P<unit>[KkMm]?)")


def _scales(suffix: str, *, binary: bool) -> dict[str, int]:
    prefixes = _DECIMAL | (_BINARY if binary else {})
    return {prefix + suffix: scale for prefix, scale in prefixes.items()}


BYTES = _scales("B", binary=True)
BYTES_PER_S = _scales("B/s", binary=True)
OPS_PER_S = _scales("FLOP/s", binary=False) | _scales("OP/s", binary=False)
WATTS = {"mW": Fraction(1, 1000), "W": Fraction(1), "kW": Fraction(1000), "MW": Fraction(10**6), "GW": Fraction(10**9)}
USD = {"USD": Fraction(1)}
USD_PER_HOUR = {"USD/h": Fraction(1)}


def parse_quantity(text: object, units: dict[str, int] | dict[str, Fraction], what: str) -> Fraction:
    """Read `81559 MiB`, `3.35 TB/s`, `989.4 TFLOP/s`, `700 W` exactly, in the base unit.

    Raises UnitError when the text has no unit (a bare number is never guessed), an unknown unit, or is not positive.
    """
    example = next(reversed(units))
    if not isinstance(text, str):
        raise UnitError(f"{what}: {text!r} has no unit", f"write it with its unit, e.g. '1 {example}'")
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        raise UnitError(f"{what}: cannot read {text!r}", f"write a number and a unit, e.g. '1 {example}'")
    if match["unit"] not in units:
        raise UnitError(f"{what}: unknown unit {match['unit']!r} in {text!r}", "known units: " + ", ".join(units))
    value = Fraction(match["number"]) * units[match["unit"]]
    if value <= 0:
        raise UnitError(f"{what}: {text!r} must be more than zero")
    if not LEAST <= value <= MOST:
        raise UnitError(f"{what}: {text!r} is absurd")
    return value


def parse_tokens(text: str, what: str = "context") -> int:
    """Read a token count: `131072`, `128K` (= 131,072), `128k` (the same), `1M` (= 1,048,576).

    Raises UnitError for byte units (`128KB`), fractions of a token, zero, and more than 2^40.
    """
    match = _TOKEN_COUNT.fullmatch(text.strip())
    if match is None:
        raise UnitError(
            f"{what}: cannot read {text!r} as a number of tokens", "write 131072, 128K (= 131,072) or 1M (= 1,048,576)"
        )
    value = Fraction(match["number"]) * _TOKENS[match["unit"].upper()]
    if value.denominator != 1:
        raise UnitError(f"{what}: {text!r} is not a whole number of tokens")
    if value < 1:
        raise UnitError(f"{what}: {text!r} must be at least 1 token")
    if value > MAX_TOKENS:
        raise UnitError(f"{what}: {text!r} is more than 2^40 tokens")
    return int(value)


MOST_VALUES = 10_000
"""Values that a list or range may have."""


def parse_contexts(text: str, what: str = "context") -> tuple[int, ...]:
    """Read `128K`, `4K,32K,128K` or `4K..1M` (doubling), `4K..1M*4`, `1K..16K+1K`: contexts in ascending order, each once.

    Raises UnitError as `parse_tokens` does, and for a range that goes nowhere or has more than 10,000 values.
    """
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*([^.*+]+)\.\.([^.*+]+)(?:([*+])(.+))?", part)
        if match is None:
            found.add(parse_tokens(part, what))
            continue
        at, last = parse_tokens(match[1], what), parse_tokens(match[2], what)
        step = parse_tokens(match[4], what) if match[4] else 2
        if last < at or (match[3] != "+" and step < 2):
            raise UnitError(f"{what}: the range {part!r} goes nowhere", "write 4K..1M, 4K..1M*4 or 1K..16K+1K")
        while at <= last:
            found.add(at)
            at = at + step if match[3] == "+" else at * step
            if len(found) > MOST_VALUES:
                raise UnitError(f"{what}: {part!r} has more than {MOST_VALUES:,} values", "take a larger step")
        found.add(last)
    return tuple(sorted(found))


def parse_count(text: str, what: str) -> int:
    """Read a number of people or things: `1000000`, `1M` (= 1,000,000), `2.5B`. Thousands are decimal."""
    match = re.fullmatch(_NUMBER + "(?P<unit>[KMB]?)", text.strip().replace(",", "").replace("_", "").upper())
    if match is None:
        raise UnitError(f"{what}: cannot read {text!r} as a number", "write 1000000, 1M or 2.5B")
    value = Fraction(match["number"]) * {"": 1, "K": 1000, "M": MILLION, "B": BILLION}[match["unit"]]
    if value.denominator != 1:
        raise UnitError(f"{what}: {text!r} is not a whole number")
    return int(value)


_PARAMETERS = re.compile(_NUMBER + r" ?(?P<unit>[KkMmBbTt]?)")


def parse_parameters(text: str, what: str) -> int:
    """Read a number of parameters: `30B`, `7.6B`, `500M`, `1T`, or written out. Raises UnitError."""
    match = _PARAMETERS.fullmatch(text.strip())
    if match is None:
        raise UnitError(f"{what}: cannot read {text!r} as a number of parameters", "write e.g. 30B, 500M or 1T")
    scale = _DECIMAL[{"B": "G"}.get(match["unit"].upper(), match["unit"].upper())]
    return int(Fraction(match["number"]) * scale)


def parse_cached(text: str) -> int:
    """Read a number of cached tokens: like a context, or 0."""
    return 0 if text.strip() == "0" else parse_tokens(text, "cached")


def parse_seconds(text: str, what: str = "time") -> float:
    """Read `50ms`, `0.2 s`. Raises UnitError without a unit, or if it is not positive."""
    units = {name.replace("µ", "u"): scale for name, scale in reversed(_SECONDS)}
    match = _QUANTITY.fullmatch(text.strip().replace("µ", "u"))
    if match is None or match["unit"] not in units:
        raise UnitError(f"{what}: cannot read {text!r} as a time", "write it with its unit, e.g. 50ms or 0.2s")
    value = Fraction(match["number"]) * units[match["unit"]]
    if value <= 0:
        raise UnitError(f"{what}: {text!r} must be more than zero")
    return float(value)


def parse_batch(text: str) -> int:
    """Read a batch size: a plain whole number from 1 to 2^24."""
    if not re.fullmatch(r"[0-9]{1,9}", text.strip()):
        raise UnitError(f"batch: cannot read {text!r} as a number of sequences", "write a whole number, e.g. 8")
    value = int(text)
    if not 1 <= value <= MAX_BATCH:
        raise UnitError(f"batch: {text!r} must be between 1 and {MAX_BATCH:,}")
    return value


def round_half_up(value: Fraction) -> int:
    """The nearest integer; a half goes up."""
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)


def tokens(count: int) -> str:
    """Token counts as people say them: 128K, 1M, or the plain number."""
    for suffix in ("M", "K"):
        scale = _TOKENS[suffix]
        if count >= scale and count % scale == 0:
            return f"{count // scale}{suffix}"
    return f"{count:,}"


def significant(value: Number, digits: int = 3) -> str:
    """Plain decimal notation with a fixed number of significant digits, thousands separated: 1,234 · 12.3 · 0.00123."""
    exact = Decimal(value.numerator) / Decimal(value.denominator) if isinstance(value, Fraction) else Decimal(value)
    if exact == 0:
        return "0"
    places = digits - 1 - exact.adjusted()
    rounded = (
        exact.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP)
        if places >= 0
        else exact.quantize(Decimal(1), ROUND_HALF_UP)
    )
    if places > 0 and rounded.adjusted() > exact.adjusted():  # 9.995 became 10.00: one place too many
        rounded = rounded.quantize(Decimal(1).scaleb(1 - places))
    return f"{rounded:,f}"


DIGITS = (3, 4, 5, 6)
"""Significant digits that are tried where three do not tell a number from another."""


def times(value: Number) -> str:
    """A ratio with three digits, or as many more as tell it from 1: 1.0004 is a cost, and 1 is none."""
    exact = Fraction(value)
    if exact == 1:
        return "1"
    texts = ((significant(exact, digits), significant(1, digits)) for digits in DIGITS)
    return next((text for text, one in texts if text != one), significant(1))


def cell(value: Number, places: int = 3) -> str:
    """A number of a column: three significant digits, at most three decimals; less than that is said to be less."""
    value, least = Fraction(value), Fraction(1, 10**places)
    if 0 < value < least:
        return f"<{float(least):.{places}f}"
    text = significant(value)
    return text if len(text.partition(".")[2]) <= places else f"{float(value):.{places}f}"


def scaled(value: Number, unit: str, digits: int = 3) -> str:
    """`value` in base units with the decimal prefix that suits it: 3.35 TB/s, 989 TFLOP/s, 4.56 GFLOP."""
    scale = _DECIMAL[decimal_prefix(value)]
    rounded = Fraction(significant(Fraction(value) / scale, digits).replace(",", "")) * scale
    prefix = decimal_prefix(rounded)  # 999.9 million are 1.00 billion
    return f"{significant(Fraction(value) / _DECIMAL[prefix], digits)} {prefix}{unit}"


def decimal_prefix(largest: Number) -> str:
    """The decimal prefix in which the largest value of a column is at least 1."""
    fitting = [prefix for prefix, scale in _DECIMAL.items() if largest >= scale or -largest >= scale]
    return fitting[-1] if fitting else ""


def decimal_scale(prefix: str) -> int:
    """10^3 for "K", 10^9 for "G" ..."""
    return _DECIMAL[prefix]


def gib(count: int | Fraction) -> str:
    """Bytes as GiB, without the unit's name: for columns whose head says GiB."""
    return cell(Fraction(count) / GIB)


def bytes_text(count: int, digits: int = 3) -> str:
    """Bytes with the binary unit that suits them: 6.00 KiB, 768 MiB, 79.6 GiB."""
    for unit, scale in (("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if abs(count) >= scale:
            return f"{significant(Fraction(count, scale), digits)} {unit}"
    return f"{count} B"


_SECONDS = (("s", Fraction(1)), ("ms", Fraction(1, 1000)), ("µs", Fraction(1, 10**6)), ("ns", Fraction(1, 10**9)))


def seconds_unit(largest: float) -> tuple[str, Fraction]:
    """The unit in which the largest of some times is at least 1, and its length in seconds."""
    return next((unit for unit in _SECONDS if largest >= unit[1]), _SECONDS[-1])


def seconds_text(seconds: float) -> str:
    """Seconds with the unit that suits them: 4.56 ms, 1.20 s."""
    unit, scale = seconds_unit(seconds)
    return f"{significant(Fraction(seconds) / scale)} {unit}"
