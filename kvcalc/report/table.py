"""One neutral table: raw values in, the same text out for every writer. A document is a title, paragraphs and tables."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from textwrap import wrap
from typing import Any, NamedTuple

from kvcalc.units import GIB, cell, decimal_prefix, decimal_scale, seconds_unit, significant

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

    @property
    def words(self) -> str:
        """The head without its unit."""
        return self.head.partition("[")[0].strip()

    @property
    def unit(self) -> str:
        """The unit of the head, in its brackets; empty if it has none."""
        return self.head[self.head.find("[") :] if "[" in self.head else ""

    @property
    def source(self) -> str:
        """The key of the row under which the raw value stands."""
        return self.raw or self.key


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

    @property
    def names(self) -> list[str]:
        """Heads that tell the columns apart: where a head is empty, only a unit, or stands twice, the key takes the place of its words."""
        heads = self.heads
        return [
            column.head if column.words and heads.count(column.head) == 1 else f"{column.key} {column.unit}".rstrip()
            for column in self.columns
        ]

    @property
    def keys(self) -> list[str]:
        """What programs get of every row."""
        return list(dict.fromkeys([*(column.source for column in self.columns), *self.more]))

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
        keys = self.keys
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


def measured(value: int | float | Fraction) -> str:
    """A number of a column: three significant digits; less than 0.001 is said to be less."""
    small = cell(value)
    return small if small.startswith("<") else significant(value)


def gib_column(key: str, head: str) -> Column:
    return Column(key, f"{head} [GiB]", lambda value: measured(Fraction(value) / GIB))


def percent_column(key: str, head: str = "%") -> Column:
    return Column(key, head, lambda value: f"{100 * float(value):.1f}")


def ratio_column(key: str, head: str) -> Column:
    return Column(key, head, lambda value: significant(Fraction(value)))


def time_column(key: str, head: str, largest: float) -> Column:
    """Seconds in the one unit that suits the largest value: time [ms]."""
    unit, scale = seconds_unit(largest)
    return Column(key, f"{head} [{unit}]", lambda value: measured(Fraction(value) / scale))


def scaled_column(key: str, head: str, unit: str, values: Iterable[Cell]) -> Column:
    """A column in one decimal multiple of `unit`, chosen by its largest value: params [B], FLOPs [GFLOP]."""
    numbers = [value for value in values if isinstance(value, int | float | Fraction)]
    prefix = decimal_prefix(max(numbers, default=0))
    scale, shown = decimal_scale(prefix), (prefix + unit) if unit else {"G": "B"}.get(prefix, prefix)
    return Column(key, f"{head} [{shown}]" if shown else head, lambda value: measured(Fraction(value) / scale))


# -- in lines of so many characters -------------------------------------------------------------------------------------------------

GAP, LEAST_GAP = 2, 1
PROSE_WIDTH = 24
"""Text this wide folds without harm; narrower only if nothing else helps."""
MIN_TEXT_WIDTH = 12
MIN_HEAD_WIDTH = 6
MARKS = ("/", "-_.,;:?&=#%")
"""After what a word that is longer than a line may break: an address at its slashes, else at another mark."""


def folded(text: str, width: int) -> list[str]:
    """Lines of at most so many characters, broken between words. An indented line goes on under its indent."""
    return [line for paragraph in text.split("\n") for line in _folded(paragraph, width)]


def _folded(line: str, width: int) -> list[str]:
    if len(line) <= width:
        return [line]
    words = line.lstrip()
    indent = line[: len(line) - len(words)]
    room = max(width - len(indent), 1)
    lines: list[str] = []
    last: str | None = None
    for word in words.split(" "):
        if last is not None and len(last) + 1 + len(word) <= room:
            last = f"{last} {word}"
            continue
        lines += [] if last is None else [last]
        *broken, last = _pieces(word, room)
        lines += broken
    return [indent + each.rstrip() for each in (*lines, last or "")]


def _pieces(word: str, room: int) -> Iterator[str]:
    """A long word in pieces that fit, each as long as the marks allow but more than half of the room."""
    while len(word) > room:
        places = (max(word.rfind(mark, 0, room) for mark in marks) + 1 for marks in MARKS)
        place = next((place for place in places if 2 * place > room), room)
        yield word[:place]
        word = word[place:]
    yield word


Lines = list[list[str]]
"""A row in lines; each line has the cells padded to their columns, the gaps before them included."""


class Layout(NamedTuple):
    """A table in lines: heads, rows and footer rows."""

    width: int
    heads: Lines
    rows: list[Lines]
    foot: list[Lines]


def laid_out(table: Table, most: int, *, tall: bool = True) -> Layout:
    """A table within so many characters. Numbers are never cut: if they do not fit, it is wider.

    What is too wide folds its long texts, then narrows its gaps from the left, then folds long names in the first column, then shorter
    texts. `tall`: heads of numbers in several lines.
    """
    body, foot = table.body, table.foot
    heads, widths, numbers = [], [], []
    for place, column in enumerate(table.columns):
        content = max((len(row[place]) for row in (*body, *foot)), default=0)
        head = _tall_head(column, max(content, MIN_HEAD_WIDTH)) if tall and column.numeric else [column.head]
        heads.append(head)
        widths.append(max(content, *map(len, head)))
        numbers.append(column.numeric)
    widths, gaps = _fitted(widths, numbers, most)

    def cut(cells: Sequence[str]) -> list[list[str]]:
        return [[text] if len(text) <= width else folded(text, width) for text, width in zip(cells, widths, strict=True)]

    cut_heads = [[part for line in head for part in folded(line, width)] for head, width in zip(heads, widths, strict=True)]
    cut_rows, cut_foot = [cut(row) for row in body], [cut(row) for row in foot]
    widths = [
        max(len(line) for cells in (cut_heads, *cut_rows, *cut_foot) for line in cells[place]) for place in range(len(widths))
    ]

    def lines(cells: list[list[str]], *, bottom: bool = False) -> Lines:
        height = max(map(len, cells), default=0)
        filled = [([""] * (height - len(cell)) + cell) if bottom else (cell + [""] * (height - len(cell))) for cell in cells]
        return [
            [
                " " * gap + (text.rjust(width) if column.numeric else text.ljust(width))
                for text, width, gap, column in zip(line, widths, gaps, table.columns, strict=True)
            ]
            for line in zip(*filled, strict=True)
        ]

    whole = sum(widths) + sum(gaps)
    return Layout(whole, lines(cut_heads, bottom=True), [lines(row) for row in cut_rows], [lines(row) for row in cut_foot])


def _tall_head(column: Column, width: int) -> list[str]:
    """A head in lines no wider than its column, its unit on a line of its own."""
    words = wrap(column.words.replace("-", "- "), width, break_long_words=False)
    lines = [line.replace("- ", "-") for line in words]
    return [*lines, column.unit] if column.unit or not lines else lines


def _fitted(widths: Sequence[int], numbers: Sequence[bool], most: int) -> tuple[list[int], list[int]]:
    """Widths of columns and the gaps before them, within so many characters where that can be."""
    made, gaps = list(widths), [0, *[GAP] * (len(widths) - 1)][: len(widths)]
    texts = [place for place, numeric in enumerate(numbers) if place and not numeric]
    for floor, places in ((PROSE_WIDTH, texts), (PROSE_WIDTH, [] if all(numbers[:1]) else [0]), (MIN_TEXT_WIDTH, texts)):
        while sum(made) + sum(gaps) > most:
            width, widest = max(((made[place], place) for place in places), default=(0, 0))
            if width <= floor:
                break
            made[widest] -= 1
        for place in range(1, len(gaps)):
            if sum(made) + sum(gaps) > most:
                gaps[place] = LEAST_GAP
    return made, gaps
