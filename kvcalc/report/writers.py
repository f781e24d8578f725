"""Plain writers: text, Markdown, CSV, TSV, JSON, JSON lines, HTML, LaTeX. Each takes a document or a table and returns text."""

import csv
import html
import io
import json
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

from kvcalc.report.table import Document, Facts, Passage, Table

Answer = Document | Table

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "_": r"\_",
    "#": r"\#",
    "$": r"\$",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\^{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}


def _parts(answer: Answer) -> Iterator[Passage]:
    if isinstance(answer, Table):
        yield answer
    else:
        yield from answer.parts


def _notes(answer: Answer) -> tuple[str, ...]:
    return answer.notes


def text(answer: Answer) -> str:
    """Aligned columns without colour or cutting, for a pipe that asked for text."""
    blocks = [answer.title] if answer.title else []
    for part in _parts(answer):
        blocks.append(str(part) if not isinstance(part, Table) else _aligned(part, heading=isinstance(answer, Document)))
    blocks += ["\n".join(f"note: {note}" for note in _notes(answer))] if _notes(answer) else []
    return "\n\n".join(blocks) + "\n"


def _aligned(table: Table, *, heading: bool) -> str:
    if table.stacked:
        blocks = [line for first, others in table.blocks for line in (first, *(f"    {other}" for other in others))]
        return "\n".join(([table.title] if heading and table.title else []) + blocks)
    lines = [table.heads, *table.body, *table.foot]
    widths = [max(len(line[place]) for line in lines) for place in range(len(table.columns))]

    def line(cells: list[str]) -> str:
        padded = (
            cell.rjust(width) if column.numeric else cell.ljust(width)
            for cell, width, column in zip(cells, widths, table.columns, strict=True)
        )
        return "  ".join(padded).rstrip()

    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    out = [table.title] if heading and table.title else []
    out += [line(table.heads), rule, *map(line, table.body)]
    return "\n".join(out + ([rule, *map(line, table.foot)] if table.foot else []))


def markdown(answer: Answer) -> str:
    """GitHub tables, numbers to the right."""
    blocks = [f"**{answer.title}**"] if answer.title else []
    for part in _parts(answer):
        if isinstance(part, Facts):
            blocks += [part.head] if part.head else []
            blocks.append("\n".join(f"- **{label}** {_md(words)}" for label, words in part.lines))
        elif isinstance(part, str):
            blocks.append("\n".join(line if line.strip() == "" else f"{line}  " for line in part.split("\n")))
        else:
            blocks += [f"**{part.title}**"] if isinstance(answer, Document) and part.title else []
            blocks.append(_markdown_table(part))
    blocks += ["\n".join(f"- {_md(note)}" for note in _notes(answer))] if _notes(answer) else []
    return "\n\n".join(blocks) + "\n"


def _md(cell: str) -> str:
    return cell.replace("|", "\\|")


def _markdown_table(table: Table) -> str:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(_md(cell) for cell in cells) + " |"

    rule = ["---:" if column.numeric else "---" for column in table.columns]
    foot = [[f"**{cell}**" if cell else "" for cell in cells] for cells in table.foot]
    return "\n".join([line(table.heads), "| " + " | ".join(rule) + " |", *map(line, table.body), *map(line, foot)])


def _separated(answer: Answer, delimiter: str) -> str:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    tables = [answer] if isinstance(answer, Table) else answer.tables[:1]
    for table in tables:
        writer.writerows([table.heads, *table.body, *table.foot])
    return out.getvalue()


def tsv(answer: Answer) -> str:
    """Tab-separated, untruncated; of a document its first table."""
    return _separated(answer, "\t")


def comma(answer: Answer) -> str:
    """Comma-separated; of a document its first table."""
    return _separated(answer, ",")


def _table_json(table: Table) -> dict[str, Any]:
    return {"title": table.title, "rows": table.records(), "notes": list(table.notes)}


def _part_json(part: Passage) -> Any:
    if isinstance(part, Facts):
        data = {key: value if not isinstance(value, Fraction) else float(value) for key, value in part.data.items()}
        return {"head": part.head, "facts": dict(part.lines), **data}
    return part if isinstance(part, str) else _table_json(part)


def as_json(answer: Answer) -> str:
    """Raw values: bytes, FLOPs, tokens, seconds."""
    if isinstance(answer, Table):
        data: dict[str, Any] = _table_json(answer)
    else:
        parts = [_part_json(part) for part in answer.parts]
        data = {"title": answer.title, "parts": parts, "notes": list(answer.notes)}
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def json_lines(answer: Answer) -> str:
    """One row a line, raw values; of a document its first table."""
    tables = [answer] if isinstance(answer, Table) else answer.tables[:1]
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for table in tables for record in table.records())


def as_html(answer: Answer) -> str:
    """Plain tables without style."""
    blocks = [f"<h2>{html.escape(answer.title)}</h2>"] if answer.title else []
    for part in _parts(answer):
        if isinstance(part, Facts):
            blocks += [f"<p>{html.escape(part.head)}</p>"] if part.head else []
            rows = (f"<dt>{html.escape(label)}</dt><dd>{html.escape(words)}</dd>" for label, words in part.lines)
            blocks.append("\n".join(["<dl>", *rows, "</dl>"]))
        elif isinstance(part, str):
            blocks.append("<p>" + "<br>\n".join(html.escape(line) for line in part.split("\n")) + "</p>")
        else:
            blocks.append(_html_table(part, heading=isinstance(answer, Document)))
    if _notes(answer):
        blocks.append("<ul>\n" + "\n".join(f"<li>{html.escape(note)}</li>" for note in _notes(answer)) + "\n</ul>")
    return "\n".join(blocks) + "\n"


def _html_table(table: Table, *, heading: bool) -> str:
    def line(cells: list[str], tag: str) -> str:
        aligned = (
            f"<{tag}{' align=' + chr(34) + 'right' + chr(34) if column.numeric else ''}>{html.escape(cell)}</{tag}>"
            for cell, column in zip(cells, table.columns, strict=True)
        )
        return "<tr>" + "".join(aligned) + "</tr>"

    caption = [f"<caption>{html.escape(table.title)}</caption>"] if heading and table.title else []
    foot = ["<tfoot>", *(line(cells, "td") for cells in table.foot), "</tfoot>"] if table.foot else []
    body = ["<tbody>", *(line(cells, "td") for cells in table.body), "</tbody>"]
    return "\n".join(["<table>", *caption, "<thead>", line(table.heads, "th"), "</thead>", *body, *foot, "</table>"])


def latex(answer: Answer) -> str:
    """booktabs tables; paragraphs as text."""
    blocks = [f"% {answer.title}"] if answer.title else []
    for part in _parts(answer):
        if isinstance(part, Table):
            blocks.append(_latex_table(part))
        else:
            blocks.append(_latex_facts(part) if isinstance(part, Facts) else _tex_lines(part))
    blocks += ["\n".join(f"% {note}" for note in _notes(answer))] if _notes(answer) else []
    return "\n\n".join(blocks) + "\n"


def _tex(cell: str) -> str:
    return "".join(_LATEX.get(character, character) for character in cell)


def _tex_lines(paragraph: str) -> str:
    return "\n".join(line if line.startswith("\\[") else _tex(line) for line in paragraph.split("\n"))


def _latex_facts(facts: Facts) -> str:
    items = (rf"\item[{_tex(label)}] {_tex(words)}" for label, words in facts.lines)
    return "\n".join([*([_tex(facts.head)] if facts.head else []), r"\begin{description}", *items, r"\end{description}"])


def _latex_table(table: Table) -> str:
    def line(cells: list[str]) -> str:
        return " & ".join(_tex(cell) for cell in cells) + r" \\"

    columns = "".join("r" if column.numeric else "l" for column in table.columns)
    foot = [r"\midrule", *map(line, table.foot)] if table.foot else []
    body = [r"\toprule", line(table.heads), r"\midrule", *map(line, table.body), *foot, r"\bottomrule"]
    title = [f"% {table.title}"] if table.title else []
    return "\n".join([*title, rf"\begin{{tabular}}{{{columns}}}", *body, r"\end{tabular}"])


WRITERS: dict[str, Callable[[Answer], str]] = {
    "text": text,
    "md": markdown,
    "csv": comma,
    "tsv": tsv,
    "json": as_json,
    "jsonl": json_lines,
    "html": as_html,
    "latex": latex,
}
