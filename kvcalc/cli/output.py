"""Where answers go: stdout in the asked format; text on a terminal, TSV in a pipe."""

import json
import sys
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from kvcalc.report.table import Document, Table

Format = Literal["text", "md", "csv", "tsv", "json", "jsonl", "html", "latex"]


def write(
    answer: "Document | Table",
    form: Format | None,
    in_a_pipe: Format = "tsv",
    *,
    columns: str | None = None,
    sort: str | None = None,
) -> None:
    """Write an answer, its first table with these columns in this order. Separated formats carry that table alone: what stands beside it
    goes to stderr."""
    if columns is not None or sort is not None:
        from kvcalc.report.shaped import first_shaped

        answer = first_shaped(answer, columns, sort)
    if form in (None, "text") and sys.stdout.isatty():
        from kvcalc.report.terminal import show

        show(answer, sys.stdout)
        return
    from kvcalc.report.writers import WRITERS

    chosen = form or in_a_pipe
    sys.stdout.write(WRITERS[chosen](answer))
    if chosen in ("csv", "tsv", "jsonl"):
        _beside(answer)


def _beside(answer: "Document | Table") -> None:
    from kvcalc.report.table import Document, Table

    if isinstance(answer, Document):
        print(answer.title, *(part for part in answer.parts if not isinstance(part, Table)), sep="\n", file=sys.stderr)
        if len(answer.tables) > 1:
            print(
                f"note: the first of {len(answer.tables)} tables; --format text, md, json, html and latex have all",
                file=sys.stderr,
            )
    elif answer.title:
        print(answer.title, file=sys.stderr)
    for note in answer.notes:
        print(f"note: {note}", file=sys.stderr)


def write_json(data: dict[str, Any], form: Format) -> None:
    """Write one object: indented, or on a single line for jsonl."""
    sys.stdout.write(json.dumps(data, indent=1 if form == "json" else None, ensure_ascii=False) + "\n")
