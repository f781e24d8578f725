"""The only importer of rich: the same document on a terminal."""

from typing import Literal, TextIO

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from kvcalc.report.table import Document, Table


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
        else:
            _table(console, part, heading=isinstance(answer, Document))
    if answer.notes:
        console.print()
    for note in answer.notes:
        console.print(Text(f"note: {note}", style="dim"))


def _table(console: Console, table: Table, *, heading: bool) -> None:
    if heading and table.title:
        console.print(Text(table.title, style="bold"))
    grid = RichTable(box=box.SIMPLE_HEAD, show_footer=bool(table.footer), show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    foot = table.foot[0] if table.footer else [""] * len(table.columns)
    for place, (column, bottom) in enumerate(zip(table.columns, foot, strict=True)):
        head = column.head.replace(" [", "\n[") if column.numeric else column.head
        justify: Literal["left", "right"] = "right" if column.numeric else "left"
        grid.add_column(
            Text(head), Text(bottom), justify=justify, vertical="top", overflow="fold", no_wrap=column.numeric or place == 0
        )
    for cells in table.body:
        grid.add_row(*(Text(cell, style="bold red" if cell == "no" else "") for cell in cells))
    console.print(grid)
