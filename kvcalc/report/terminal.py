"""The only importer of rich: the same document on a terminal."""

from collections.abc import Iterable
from textwrap import wrap
from typing import Literal, TextIO

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from kvcalc.report.table import Document, Facts, Table


def show(answer: Document | Table, out: TextIO) -> None:
    """Print to a terminal, within its width."""
    console = Console(file=out, highlight=False)
    parts = [answer] if isinstance(answer, Table) else list(answer.parts)
    if answer.title:
        console.print(Text(answer.title, style="bold"))
    for part in parts:
        console.print()
        if isinstance(part, str):
            console.print(Text(part))
        elif isinstance(part, Facts):
            _facts(console, part)
        else:
            _table(console, part, heading=isinstance(answer, Document))
    if answer.notes:
        console.print()
        _labelled(console, [("note:", note) for note in answer.notes], gap=1, style="dim")


def _facts(console: Console, facts: Facts) -> None:
    """Labels and words; what does not fit on a line goes on under the words."""
    if facts.head:
        console.print(Text(facts.head))
    _labelled(console, facts.lines, gap=2)


def _labelled(console: Console, lines: Iterable[tuple[str, str]], *, gap: int, style: str = "") -> None:
    grid = RichTable.grid(padding=(0, gap, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for label, words in lines:
        grid.add_row(Text(label, style=style), Text(words, style=style))
    console.print(grid)


GAP = 1
INDENT = 4
MIN_TEXT_WIDTH = 12
MIN_HEAD_WIDTH = 6


def _table(console: Console, table: Table, *, heading: bool) -> None:
    """Numbers are never cut: if they do not fit, the table is wider than the terminal. Long texts fold."""
    if heading and table.title:
        console.print(Text(table.title, style="bold"))
    if table.stacked:
        for first, others in table.blocks:
            console.print(Text(first))
            for other in others:
                console.print(Padding(Text(other, style="dim"), (0, 0, 0, INDENT)))
        return
    grid = RichTable(box=box.SIMPLE_HEAD, show_footer=bool(table.footer), show_edge=False, pad_edge=False, padding=(0, GAP, 0, 0))
    cells = [*table.body, *table.foot]
    foot = table.foot[0] if table.footer else [""] * len(table.columns)
    needed = -GAP
    for place, (column, bottom) in enumerate(zip(table.columns, foot, strict=True)):
        content = max((len(row[place]) for row in cells), default=0)
        head = _head(column.head, max(content, MIN_HEAD_WIDTH)) if column.numeric else column.head
        width = max(content, *(len(line) for line in head.split("\n")))
        fixed = column.numeric or place == 0
        needed += GAP + (width if fixed else min(width, MIN_TEXT_WIDTH))
        justify: Literal["left", "right"] = "right" if column.numeric else "left"
        grid.add_column(
            Text(head), Text(bottom), justify=justify, vertical="top", overflow="fold", min_width=width if fixed else None
        )
    for row in table.body:
        grid.add_row(*(Text(cell, style="bold red" if cell == "no" else "") for cell in row))
    console.print(grid, width=max(console.width, needed), crop=False, no_wrap=False)


def _head(text: str, width: int) -> str:
    """A head in lines no wider than its column, its unit on a line of its own."""
    words, _, unit = text.partition(" [")
    lines = [line.replace("- ", "-") for line in wrap(words.replace("-", "- "), width, break_long_words=False)]
    return "\n".join([*lines, f"[{unit}"] if unit else lines)
