"""One neutral table: raw values in, the same text out for every writer. A document is a title, paragraphs and tables."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

from kvcalc.units import cell, decimal_prefix, decimal_scale, gib, seconds_unit, significant

Cell = str | int | float | bool | Fraction | None
UNKNOWN = "-"


class Column(NamedTuple):
    """A column: a key for programs, a head with its unit for people, and how a raw value becomes text.

    `raw` names another key of the row, whose value programs get, where the cell holds text already.
    """

    key: str
    head: str
    text: Callable[[Any], str] = str
    numeric: bool = True
    raw: str = ""


@dataclass(frozen=True)
class Table:
    """Columns and rows of raw values; `footer` rows are sums; notes stand below.

    `stacked` asks text writers for a block per row, its first so many cells on one line and each of the others on its own: for rows
    that end in sentences. `more` names keys of a row that programs get beside the columns'.
    """

    columns: tuple[Column, ...]
    rows: tuple[dict[str, Cell], ...]
    footer: tuple[dict[str, Cell], ...] = ()
    title: str = ""
    notes: tuple[str, ...] = ()
    stacked: int = 0
    more: tuple[str, ...] = ()

    @property
    def heads(self) -> list[str]:
        return [column.head for column in self.columns]

    def texts(self, rows: Iterable[dict[str, Cell]]) -> list[list[str]]:
        """The cells as text, row by row."""
        return [[_text(column, row.get(column.key)) for column in self.columns] for row in rows]

    @property
    def body(self) -> list[list[str]]:
        return self.texts(self.rows)

    @property
    def foot(self) -> list[list[str]]:
        return self.texts(self.footer)

    @property
    def blocks(self) -> list[tuple[str, list[str]]]:
        """Rows for a stacked table: the first cells in one line, and the others."""
        heads = self.heads[1 : self.stacked]
        return [
            (f"{row[0]}: " + ", ".join(f"{head} {cell}" for head, cell in zip(heads, row[1:], strict=False)), row[self.stacked :])
            for row in self.body
        ]

    def records(self) -> list[dict[str, Any]]:
        """Rows as flat dictionaries of plain numbers, for JSON and data frames."""
        keys = dict.fromkeys([*(column.raw or column.key for column in self.columns), *self.more])
        return [{key: _plain(row.get(key)) for key in keys} for row in self.rows]


@dataclass(frozen=True)
class Facts:
    """Labels, each with a line of words; `head` is a line above them, `data` what programs get: the same as raw values."""

    lines: tuple[tuple[str, str], ...]
    head: str = ""
    data: dict[str, Cell] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """Of the widest label."""
        return max(len(label) for label, _ in self.lines)

    def __str__(self) -> str:
        listed = [f"{label.ljust(self.width)}  {words}" for label, words in self.lines]
        return "\n".join(([self.head] if self.head else []) + listed)


Passage = str | Facts | Table
"""A paragraph, facts or a table."""


@dataclass(frozen=True)
class Document:
    """A title, then paragraphs, facts and tables in order, then notes."""

    title: str
    parts: tuple[Passage, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def tables(self) -> list[Table]:
        return [part for part in self.parts if isinstance(part, Table)]


def _text(column: Column, value: Cell) -> str:
    return UNKNOWN if value is None else column.text(value)


def _plain(value: Cell) -> Any:
    return float(value) if isinstance(value, Fraction) else value


def number(value: Cell) -> int:
    """A cell that holds a whole number. Raises TypeError for another."""
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is not a whole number")
    return value


# -- columns that several tables share ----------------------------------------------------------------------------------------------


def text_column(key: str, head: str) -> Column:
    return Column(key, head, str, numeric=False)


def count_column(key: str, head: str) -> Column:
    return Column(key, head, lambda value: f"{value:,}")


def gib_column(key: str, head: str) -> Column:
    return Column(key, f"{head} [GiB]", gib)


def percent_column(key: str, head: str = "%") -> Column:
    return Column(key, head, lambda value: f"{100 * float(value):.1f}")


def ratio_column(key: str, head: str) -> Column:
    return Column(key, head, lambda value: significant(Fraction(value)))


def time_column(key: str, head: str, largest: float) -> Column:
    """Seconds in the one unit that suits the largest value: time [ms]."""
    unit, scale = seconds_unit(largest)
    return Column(key, f"{head} [{unit}]", lambda value: cell(Fraction(value) / scale))


def scaled_column(key: str, head: str, unit: str, values: Iterable[Cell]) -> Column:
    """A column in one decimal multiple of `unit`, chosen by its largest value: params [B], FLOPs [GFLOP]."""
    numbers = [value for value in values if isinstance(value, int | float | Fraction)]
    prefix = decimal_prefix(max(numbers, default=0))
    scale, shown = decimal_scale(prefix), (prefix + unit) if unit else {"G": "B"}.get(prefix, prefix)
    return Column(key, f"{head} [{shown}]" if shown else head, lambda value: cell(Fraction(value) / scale))
