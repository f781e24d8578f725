"""Text to exact integers and back."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvcalc.errors import KvcalcError, UnitError
from kvcalc.units import (
    BYTES,
    BYTES_PER_S,
    bytes_text,
    cell,
    parse_batch,
    parse_quantity,
    parse_tokens,
    round_half_up,
    significant,
    tokens,
)


@pytest.mark.parametrize(
    ("text", "count"),
    [("1", 1), ("131072", 131072), ("128K", 131072), ("128k", 131072), ("1M", 1048576), ("0.5K", 512), ("128000", 128000)],
)
def test_tokens_are_read(text: str, count: int) -> None:
    assert parse_tokens(text) == count


@pytest.mark.parametrize(
    "text",
    ["", "0", "-1", "128KB", "128 KB", "1e3", "K", "1.3", "0.3K", "9999999M", "1,000", "١٢٨", "nan", "128Ki", "0x10", "9" * 400],
)
def test_other_tokens_are_refused(text: str) -> None:
    with pytest.raises(UnitError):
        parse_tokens(text)


def test_gib_is_not_gb() -> None:
    assert parse_quantity("80 GiB", BYTES, "memory") == 80 * 2**30
    assert parse_quantity("80 GB", BYTES, "memory") == 80 * 10**9
    assert parse_quantity("81559 MiB", BYTES, "memory") == 81559 * 2**20
    assert parse_quantity("3.35 TB/s", BYTES_PER_S, "bandwidth") == 3_350_000_000_000


@pytest.mark.parametrize(
    "value", [80, 80.0, None, "80", "80 gb", "GiB", "0 GiB", "-1 GiB", "80 GiB/s", "80 TB/h", "1e3 GB", ["80 GiB"]]
)
def test_a_quantity_without_a_known_unit_is_refused(value: object) -> None:
    with pytest.raises(UnitError):
        parse_quantity(value, BYTES, "memory")


@given(st.text(max_size=12))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    for parse in (parse_tokens, parse_batch):
        try:
            assert parse(text) >= 1
        except KvcalcError as error:
            assert error.message


@given(st.integers(1, 2**40))
def test_tokens_read_back_what_they_print(count: int) -> None:
    assert parse_tokens(tokens(count).replace(",", "")) == count


def test_numbers_for_people() -> None:
    assert [significant(x) for x in (0, 1234567, 12.345, Fraction(9995, 1000), 0.00123456, Fraction(1, 3))] == [
        "0",
        "1,234,567",
        "12.3",
        "10.0",
        "0.00123",
        "0.333",
    ]
    assert [cell(x) for x in (Fraction(1, 10**6), Fraction(123, 10000), 42)] == ["<0.001", "0.012", "42.0"]
    assert [bytes_text(x) for x in (0, 512, 6144, 811597824, 85_520_000_000)] == [
        "0 B",
        "512 B",
        "6.00 KiB",
        "774 MiB",
        "79.6 GiB",
    ]
    assert [round_half_up(Fraction(n, 2)) for n in (1, 2, 3)] == [1, 1, 2]
