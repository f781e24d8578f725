"""Plain writers: text, Markdown, CSV, TSV, JSON, JSON lines, HTML, LaTeX. Each takes a document or a table and returns text.

Text, TSV, Markdown, HTML and LaTeX show the same cells. CSV, JSON and JSON lines hold the raw values, in base units (bytes, bytes/s,
FLOPs, tokens, seconds, watts), under the same keys.
"""

import csv
import html
import io
import json
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any
from zlib import crc32

from kvcalc.report.table import Document, Facts, Layout, Lines, Passage, Table, folded, laid_out

Answer = Document | Table

TEXT_WIDTH = 100
"""Of a table of text in a pipe, where its numbers leave room for it."""
INDENT = 4
ADDRESS = re.compile(r"https?://[^\s<>\"'()\[\]{},;]*[^\s<>\"'()\[\]{},;.:]")


def _parts(answer: Answer) -> Iterator[Passage]:
    if isinstance(answer, Table):
        yield answer
    else:
        yield from answer.parts


def _tables(answer: Answer) -> list[Table]:
    """What formats with room for one table write: of a document its first."""
    return [answer] if isinstance(answer, Table) else answer.tables[:1]


# -- text ---------------------------------------------------------------------------------------------------------------------------


def text(answer: Answer) -> str:
    """Aligned columns without colour or cutting, for a pipe that asked for text. Words in tables fold, sentences do not."""
    blocks = [answer.title] if answer.title else []
    for part in _parts(answer):
        blocks.append(str(part) if not isinstance(part, Table) else _aligned(part, heading=isinstance(answer, Document)))
    blocks += ["\n".join(f"note: {note}" for note in answer.notes)] if answer.notes else []
    return "\n\n".join(blocks) + "\n"


def _aligned(table: Table, *, heading: bool) -> str:
    out = [table.title] if heading and table.title else []
    if table.stacked:
        return "\n".join([*out, *(line for first, others in stacked(table, TEXT_WIDTH) for line in (*first, *others))])
    sheet = laid_out(table, TEXT_WIDTH, tall=False)
    if sheet.width > TEXT_WIDTH:
        sheet = laid_out(table, TEXT_WIDTH)
    return "\n".join([*out, *_sheet(sheet)])


def _sheet(sheet: Layout) -> Iterator[str]:
    def plain(rows: list[Lines]) -> Iterator[str]:
        for lines in rows:
            yield from ("".join(line).rstrip() for line in lines)

    rule = "-" * sheet.width
    yield from plain([sheet.heads])
    yield rule
    yield from plain(sheet.rows)
    if sheet.foot:
        yield rule
        yield from plain(sheet.foot)


def stacked(table: Table, width: int) -> Iterator[tuple[list[str], list[str]]]:
    """The blocks of a stacked table in lines: the first cells, and, indented, each of the others."""
    for first, others in table.blocks:
        yield folded(first, width), [line for other in others if other for line in folded(" " * INDENT + other, width)]


# -- Markdown -----------------------------------------------------------------------------------------------------------------------


def markdown(answer: Answer) -> str:
    """GitHub tables, numbers to the right; notes as footnotes of the title, or, without one, of the first head."""
    page = _page(answer)
    marks = "".join(f"[^{page}-{place}]" for place in range(1, len(answer.notes) + 1))
    blocks = [f"**{answer.title}**{marks}"] if answer.title else []
    for part in _parts(answer):
        if isinstance(part, Facts):
            blocks += [part.head] if part.head else []
            blocks.append("\n".join(f"- **{label}** {_md(words)}" if label else f"- {_md(words)}" for label, words in part.lines))
        elif isinstance(part, str):
            blocks.append("\n".join(line if line.strip() == "" else f"{line}  " for line in part.split("\n")))
        else:
            blocks += [f"**{part.title}**"] if isinstance(answer, Document) and part.title else []
            blocks.append(_markdown_table(part, "" if answer.title else marks))
    blocks += ["\n".join(f"[^{page}-{place}]: {_md(note)}" for place, note in enumerate(answer.notes, 1))] if answer.notes else []
    return "\n\n".join(blocks) + "\n"


def _page(answer: Answer) -> str:
    """A short word that goes with what is said, so that the footnotes of several answers on one page do not meet."""
    said = [answer.title, *answer.notes, *(str(part.body) if isinstance(part, Table) else str(part) for part in _parts(answer))]
    return f"{crc32(' '.join(said).encode()):08x}"[:4]


def _md(cell: str) -> str:
    """Text in a cell or a note: on one line, no end of the cell, no tag, no link."""
    return re.sub(r"<(?=[A-Za-z/!?])|^\[", r"\\\g<0>", cell.replace("|", "\\|").replace("\n", " "))


def _markdown_table(table: Table, marks: str = "") -> str:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    heads, body = [_md(head) for head in table.heads], [[_md(cell) for cell in cells] for cells in table.body]
    rule = ["---:" if column.numeric else "---" for column in table.columns]
    foot = [[f"**{_md(cell)}**" if cell else "" for cell in cells] for cells in table.foot]
    return "\n".join([line([heads[0] + marks, *heads[1:]]), line(rule), *map(line, body), *map(line, foot)])


# -- for programs -------------------------------------------------------------------------------------------------------------------


def tsv(answer: Answer) -> str:
    """Tab-separated: the cells of the text, untruncated, the sums last; heads that tell the columns apart."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter="\t", lineterminator="\n")
    for table in _tables(answer):
        writer.writerows([table.names, *table.body, *table.foot])
    return out.getvalue()


def comma(answer: Answer) -> str:
    """Comma-separated raw values under their keys, without the sums: what JSON lines hold. An empty cell: not known."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for table in _tables(answer):
        writer.writerow(table.keys)
        writer.writerows([_raw(value) for value in record.values()] for record in table.records())
    return out.getvalue()


def _raw(value: str | int | float | None) -> str | int | float | None:
    if isinstance(value, bool):
        return str(value).lower()
    return int(value) if isinstance(value, float) and value.is_integer() else value


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
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for table in _tables(answer) for record in table.records())


# -- HTML ---------------------------------------------------------------------------------------------------------------------------


def as_html(answer: Answer) -> str:
    """Plain tables without style; addresses are links; notes as a list."""
    document = isinstance(answer, Document)
    blocks = [f"<h2>{_linked(answer.title)}</h2>"] if document and answer.title else []
    for part in _parts(answer):
        if isinstance(part, Facts):
            blocks += [f"<p>{_linked(part.head)}</p>"] if part.head else []
            rows = (f"<dt>{_linked(label)}</dt><dd>{_linked(words)}</dd>" for label, words in part.lines)
            blocks.append("\n".join(["<dl>", *rows, "</dl>"]))
        elif isinstance(part, str):
            blocks.append("<p>" + "<br>\n".join(_linked(line) for line in part.split("\n")) + "</p>")
        else:
            blocks.append(_html_table(part))
    if answer.notes:
        blocks.append("<ul>\n" + "\n".join(f"<li>{_linked(note)}</li>" for note in answer.notes) + "\n</ul>")
    return "\n".join(blocks) + "\n"


def _linked(words: str) -> str:
    """Text for HTML, its addresses as links."""
    out, at = [], 0
    for match in ADDRESS.finditer(words):
        address = html.escape(match[0])
        out += [html.escape(words[at : match.start()]), f'<a href="{address}">{address}</a>']
        at = match.end()
    return "".join([*out, html.escape(words[at:])])


def _html_table(table: Table) -> str:
    def line(cells: list[str], tag: str) -> str:
        aligned = (
            f"<{tag}{' align=' + chr(34) + 'right' + chr(34) if column.numeric else ''}>{_linked(cell)}</{tag}>"
            for cell, column in zip(cells, table.columns, strict=True)
        )
        return "<tr>" + "".join(aligned) + "</tr>"

    caption = [f"<caption>{_linked(table.title)}</caption>"] if table.title else []
    foot = ["<tfoot>", *(line(cells, "td") for cells in table.foot), "</tfoot>"] if table.foot else []
    body = ["<tbody>", *(line(cells, "td") for cells in table.body), "</tbody>"]
    return "\n".join(["<table>", *caption, "<thead>", line(table.heads, "th"), "</thead>", *body, *foot, "</table>"])


# -- LaTeX --------------------------------------------------------------------------------------------------------------------------

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
    "`": r"\textasciigrave{}",
    "\n": " ",
    "·": r"$\cdot$",
    "×": r"$\times$",
    "µ": r"$\mu$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "–": "--",
    "—": "---",
    "‑": "-",
}
_DISPLAYED = "\\["
"""A line of a paragraph that begins so is a formula already."""
LINE_CHARACTERS, BETWEEN, LONG_CELL = 72, 3, 30
"""About what fits on a line of an article, what stands between columns, and from when on text folds where not all of it fits."""


def latex(answer: Answer) -> str:
    """Tables with their captions, notes below, in `table` environments with booktabs; paragraphs as text."""
    formulas = any(isinstance(part, str) and _DISPLAYED in part for part in _parts(answer))
    needs = ["booktabs"] if isinstance(answer, Table) or answer.tables else []
    needs += ["amsmath"] if formulas else []
    blocks = [rf"% needs \usepackage{{{','.join(needs)}}}"] if needs else []
    if isinstance(answer, Table):
        blocks.append(_latex_table(answer, answer.title, answer.notes))
    else:
        blocks += [rf"\subsection*{{{_tex(answer.title)}}}"] if answer.title else []
        last, scenario = max((place for place, part in enumerate(answer.parts) if isinstance(part, Table)), default=None), ""
        for place, part in enumerate(answer.parts):
            if isinstance(part, Table):
                caption = part.title or ", ".join(filter(None, (answer.title, scenario)))
                blocks.append(_latex_table(part, caption, answer.notes if place == last else ()))
                continue
            blocks.append(_latex_facts(part) if isinstance(part, Facts) else _tex_lines(part))
            line = part.head if isinstance(part, Facts) else part
            scenario = line if "\n" not in line and _DISPLAYED not in line else ""
        if last is None and answer.notes:
            blocks.append("\n".join(["{\\footnotesize", *_tex_notes(answer.notes), "}"]))
    return "\n\n".join(block for block in blocks if block) + "\n"


def _tex(words: str) -> str:
    """Text for LaTeX; two dashes stay two, and an address breaks after its slashes."""
    out, at = [], 0
    for match in ADDRESS.finditer(words):
        out += [_escaped(words[at : match.start()]), _escaped(match[0]).replace("/", "/\\allowbreak{}")]
        at = match.end()
    return "".join([*out, _escaped(words[at:])])


def _escaped(words: str) -> str:
    dashes = re.sub("-(?=-)", "\0", words)
    return "".join(_LATEX.get(character, character) for character in dashes).replace("\0", "-{}")


def _tex_lines(paragraph: str) -> str:
    """Lines of a paragraph, each a paragraph of its own; formulas stay as they are."""
    return "\n\n".join(line if line.startswith(_DISPLAYED) else _bracketed(_tex(line)) for line in paragraph.split("\n"))


def _tex_notes(notes: tuple[str, ...]) -> list[str]:
    return [_bracketed(_tex(note)) + r"\par" for note in notes]


def _bracketed(line: str) -> str:
    """A line that begins with a bracket or a star, which LaTeX would take for an option of what stands before."""
    return "{}" + line if line.startswith(("[", "*")) else line


def _latex_facts(facts: Facts) -> str:
    items = (rf"\item[{{{_tex(label)}}}] {_bracketed(_tex(words))}" for label, words in facts.lines)
    return "\n".join(
        [*([_tex_lines(facts.head), ""] if facts.head else []), r"\begin{description}", *items, r"\end{description}"]
    )


def _latex_table(table: Table, caption: str, notes: tuple[str, ...]) -> str:
    def line(cells: list[str]) -> str:
        return _bracketed(" & ".join(_tex(cell) for cell in cells)) + r" \\"

    foot = [r"\midrule", *map(line, table.foot)] if table.foot else []
    body = [r"\toprule", line(table.heads), r"\midrule", *map(line, table.body), *foot, r"\bottomrule"]
    tabular = [rf"\begin{{tabular}}{{{_latex_columns(table)}}}", *body, r"\end{tabular}"]
    title = [rf"\caption{{{_tex(caption)}}}"] if caption else []
    below = [r"\par\smallskip", r"\begin{minipage}{\linewidth}", r"\footnotesize", *_tex_notes(notes), r"\end{minipage}"]
    return "\n".join([r"\begin{table}[htbp]", r"\centering", *title, *tabular, *(below if notes else []), r"\end{table}"])


def _latex_columns(table: Table) -> str:
    """r for numbers, l for text; where all that is too wide for a line, long texts fold into shares of what the others leave."""
    rows = [table.heads, *table.body, *table.foot]
    widths = [max(len(row[place]) for row in rows) for place in range(len(table.columns))]
    long = [not column.numeric and width > LONG_CELL for column, width in zip(table.columns, widths, strict=True)]
    room = LINE_CHARACTERS - BETWEEN * len(widths)
    wide = sum(widths) > room
    left = room - sum(width for width, fold in zip(widths, long, strict=True) if not fold)
    folding = sum(width for width, fold in zip(widths, long, strict=True) if fold)
    return "".join(
        rf"p{{{max(left * width / folding, LONG_CELL / 2) / LINE_CHARACTERS:.2f}\linewidth}}"
        if fold and wide
        else "r"
        if column.numeric
        else "l"
        for column, width, fold in zip(table.columns, widths, long, strict=True)
    )


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
