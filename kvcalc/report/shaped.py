"""A table as asked: some of its columns, sorted, as ratios over one row. It comes before any writer, so that all formats agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from kvcalc.errors import ScenarioError
from kvcalc.report.table import Cell, Column, Document, Table, count_column, text_column
from kvcalc.units import significant

Row = Mapping[str, Cell]
Rows = Sequence[dict[str, Cell]]
SUFFIX = "_relative"


@dataclass(frozen=True)
class Relative:
    """Over which row measures are shown: the first whose `key` has this value, among those with the same cells `within`.

    `instead`: columns that the ratios replace without a ratio of their own. `note` says over what.
    """

    key: str
    value: str
    within: tuple[str, ...] = ()
    instead: tuple[str, ...] = ()
    note: str = ""


def shaped(table: Table, columns: str | None = None, sort: str | None = None, relative_to: Relative | None = None) -> Table:
    """A table with ratios, sorted, with these columns only.

    Args:
        columns: keys or heads, separated by commas, in the order in which they are to stand. Whatever a row holds can be asked for.
        sort: a key or head, `-` before it for the largest first; several separated by commas. What is not known comes last.
        relative_to: over which row measures are to be shown.

    Raises:
        ScenarioError: a column that is not there, or a name that several have; it lists the keys. Or no row to be relative to.
    """
    made, hidden = (table, ()) if relative_to is None else _relative(table, relative_to)
    pool = _pool(made, hidden)
    if sort is not None:
        made = replace(made, rows=_sorted(made, sort, pool))
    if columns is not None:
        chosen = tuple(dict.fromkeys(_named(name.strip(), made, pool) for name in columns.split(",")))
        made = replace(made, columns=chosen, more=())
    return replace(made, notes=_said(made.notes, table.columns, made.columns))


def first_shaped(answer: Document | Table, columns: str | None = None, sort: str | None = None) -> Document | Table:
    """The same for an answer: of a document its first table, which is the one that separated formats write."""
    if isinstance(answer, Table):
        return shaped(answer, columns, sort)
    place = next((place for place, part in enumerate(answer.parts) if isinstance(part, Table)), len(answer.parts))
    parts = [shaped(part, columns, sort) if isinstance(part, Table) else part for part in answer.parts[place : place + 1]]
    return replace(answer, parts=(*answer.parts[:place], *parts, *answer.parts[place + 1 :]))


def told(table: Table, facts: Mapping[str, Cell]) -> Table:
    """A table whose rows carry what holds for all of them, for programs."""
    return replace(table, rows=tuple({**row, **facts} for row in table.rows), more=(*table.more, *facts))


# -- columns ------------------------------------------------------------------------------------------------------------------------


def _pool(table: Table, hidden: Sequence[Column]) -> dict[str, Column]:
    """Every column that can be asked for: those shown, those that ratios replace, and what else the rows hold."""
    pool = {column.key: column for column in (*table.columns, *hidden)}
    carried = dict.fromkeys([*table.more, *(key for row in table.rows for key in row)])
    texts = {column.source for column in pool.values()}
    return pool | {key: _plain_column(key, table.rows) for key in carried if key not in pool and key not in texts}


def _plain_column(key: str, rows: Rows) -> Column:
    """A column of what a row carries beside those shown: whole numbers as they are, others with three digits."""
    values = [value for row in rows if (value := row.get(key)) is not None]
    if not values or any(isinstance(value, str | bool) for value in values):
        return text_column(key, key)
    if all(isinstance(value, int) for value in values):
        return count_column(key, key)
    return Column(key, key, significant)


def _named(name: str, table: Table, pool: Mapping[str, Column]) -> Column:
    """The column of a name: its key, else its head, else its head without the unit, those shown before others."""
    if name in pool:
        return pool[name]
    low = name.lower()
    for columns in (table.columns, tuple(pool.values())):
        for found in (
            [column for column in columns if column.head.lower() == low],
            [column for column in columns if column.words.lower() == low],
        ):
            if low and len(found) == 1:
                return found[0]
            if low and found:
                raise ScenarioError(
                    f"several columns are headed {name!r}", "name one by its key: " + ", ".join(column.key for column in found)
                )
    raise ScenarioError(f"no column {name[:80]!r}", "columns: " + ", ".join(pool))


# -- order --------------------------------------------------------------------------------------------------------------------------


def _sorted(table: Table, sort: str, pool: Mapping[str, Column]) -> tuple[dict[str, Cell], ...]:
    rows = list(table.rows)
    for name in reversed([word.strip() for word in sort.split(",")]):
        descending = name.startswith("-") and name not in pool
        source = _named(name[1:] if descending else name, table, pool).source
        rows = _in_order(rows, source, descending)
    return tuple(rows)


def _in_order(rows: Rows, key: str, descending: bool) -> list[dict[str, Cell]]:
    """Numbers by size, then words by the alphabet, then what is not known; equal rows stay as they stood."""
    numbers = [row for row in rows if _number(row.get(key)) is not None]
    words = [row for row in rows if isinstance(row.get(key), str)]
    unknown = [row for row in rows if row.get(key) is None]
    return [
        *sorted(numbers, key=lambda row: _number(row[key]) or 0, reverse=descending),
        *sorted(words, key=lambda row: str(row[key]).lower(), reverse=descending),
        *unknown,
    ]


def _number(value: Cell) -> Fraction | float | None:
    return None if value is None or isinstance(value, str) else value


# -- ratios -------------------------------------------------------------------------------------------------------------------------


def _relative(table: Table, to: Relative) -> tuple[Table, tuple[Column, ...]]:
    """A table with each measure as a ratio over that of one row; and the columns that are not shown for it."""
    kept = [column for column in table.columns if not column.numeric or column.key in (to.key, *to.within)]
    measures = [column for column in table.columns if column not in kept and column.key not in to.instead]
    bases: dict[tuple[Cell, ...], Row] = {}
    for row in table.rows:
        if row.get(to.key) == to.value:
            bases.setdefault(tuple(row.get(key) for key in to.within), row)
    rows = []
    for row in table.rows:
        base = bases.get(tuple(row.get(key) for key in to.within))
        if base is None:
            raise ScenarioError(f"no row of {to.value} to be relative to")
        rows.append({**row, **{f"{one.key}{SUFFIX}": _ratio(row.get(one.source), base.get(one.source)) for one in measures}})
    ratios = {one.key: Column(f"{one.key}{SUFFIX}", f"{one.words or one.key} [x]", _ratio_text) for one in measures}
    shown = tuple(ratios.get(column.key, column) for column in table.columns if column in kept or column in measures)
    hidden = tuple(column for column in table.columns if column not in kept)
    more = (*(column.source for column in hidden), *table.more)
    notes = (*((to.note,) if to.note else ()), *table.notes)
    return replace(table, columns=shown, rows=tuple(rows), more=more, notes=notes, footer=()), hidden


def _ratio(value: Cell, base: Cell) -> Cell:
    """A ratio, exact if both are. Words stay: what does not fit is not a number of times anything. Over nothing: not known."""
    if isinstance(value, str):
        return value
    own, other = _number(value), _number(base)
    return None if own is None or not other else Fraction(own) / Fraction(other)


def _ratio_text(value: Fraction | str) -> str:
    return value if isinstance(value, str) else significant(value)


# -- notes --------------------------------------------------------------------------------------------------------------------------


def _said(notes: Sequence[str], before: Sequence[Column], after: Sequence[Column]) -> tuple[str, ...]:
    """Notes without the glosses ("head: what it is") of columns that are not shown."""
    shown = {column.words for column in after}
    gone = {column.words for column in before} - shown
    left = ("; ".join(part for part in note.split("; ") if part.partition(": ")[0] not in gone) for note in notes)
    return tuple(note for note in left if note)
