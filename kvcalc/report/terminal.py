"""The only importer of rich: the same document on a terminal."""

from collections.abc import Iterable
from typing import TextIO

from rich.console import Console
from rich.text import Text

from kvcalc.report.table import Document, Facts, Layout, Lines, Table, folded, laid_out
from kvcalc.report.writers import stacked


def show(answer: Document | Table, out: TextIO) -> None:
    """Print to a terminal, within its width."""
    console = Console(file=out, highlight=False)
    parts = [answer] if isinstance(answer, Table) else list(answer.parts)
    if answer.title:
        _lines(console, folded(answer.title, console.width), "bold")
    for part in parts:
        console.print()
        if isinstance(part, str):
            _lines(console, folded(part, console.width))
        elif isinstance(part, Facts):
            _facts(console, part)
        else:
            _table(console, part, heading=isinstance(answer, Document))
    if answer.notes:
        console.print()
        _labelled(console, [("note:", note) for note in answer.notes], gap=1, style="dim")


def _line(console: Console, line: Text) -> None:
    """A line that is as long as it must be."""
    line.rstrip()
    console.print(line, soft_wrap=True)


def _lines(console: Console, lines: Iterable[str], style: str = "") -> None:
    for line in lines:
        _line(console, Text(line, style=style))


MIN_WORDS_WIDTH = 20


def _facts(console: Console, facts: Facts) -> None:
    """Labels and words; what does not fit on a line goes on under the words."""
    if facts.head:
        _lines(console, folded(facts.head, console.width))
    _labelled(console, facts.lines, gap=2)


def _labelled(console: Console, lines: Iterable[tuple[str, str]], *, gap: int, style: str = "") -> None:
    lines = list(lines)
    indent = max((len(label) for label, _ in lines), default=0) + gap
    for label, words in lines:
        for place, line in enumerate(folded(words, max(console.width - indent, MIN_WORDS_WIDTH))):
            _line(console, Text(("" if place else label).ljust(indent) + line, style=style))


def _table(console: Console, table: Table, *, heading: bool) -> None:
    """Numbers are never cut: if they do not fit, the table is wider than the terminal. Long texts fold."""
    if heading and table.title:
        _lines(console, folded(table.title, console.width), "bold")
    if table.stacked:
        for first, others in stacked(table, console.width):
            _lines(console, first)
            _lines(console, others, "dim")
        return
    _sheet(console, laid_out(table, console.width))


def _sheet(console: Console, sheet: Layout) -> None:
    _rows(console, [sheet.heads], "bold")
    _line(console, Text("─" * sheet.width))
    _rows(console, sheet.rows)
    if sheet.foot:
        console.print()
        _rows(console, sheet.foot, "bold")


def _rows(console: Console, rows: Iterable[Lines], style: str = "") -> None:
    for lines in rows:
        for cells in lines:
            _line(console, Text.assemble(*((cell, "bold red" if cell.strip() == "no" else style) for cell in cells)))
