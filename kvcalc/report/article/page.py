"""The article as one page of HTML: style, figures and the few lines that sort its tables are all within. It asks for nothing."""

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from html import escape

from kvcalc import __version__
from kvcalc.report.article import drawing
from kvcalc.report.article.blocks import (
    Article,
    Block,
    Commands,
    Correction,
    Forms,
    Listing,
    Picture,
    Prose,
    Section,
    Sheet,
    Tile,
    Tiles,
)
from kvcalc.report.article.look import SORTING, STYLE
from kvcalc.report.article.words import ADDRESS, href
from kvcalc.report.figures._style import Width
from kvcalc.report.table import Cell, Column, Table

MARKED = re.compile(rf"`(?P<code>[^`]+)`|\*\*(?P<bold>.+?)\*\*|\[(?P<words>[^\]]+)\]\((?P<to>\S+?)\)|(?P<bare>{ADDRESS.pattern})")
LONG = 40
"""Texts of more characters than this may break in a cell; the others stay on a line."""
ALONE = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
"""The browser is told to fetch nothing, whatever stands on the page."""
SVGs = Mapping[str, Mapping[Width, str]]


def page(article: Article, svgs: SVGs) -> str:
    """The whole page. `svgs`: each picture by its name, in each width."""
    variables: dict[tuple[str, str], str] = {}
    opening = "\n".join(text for block in article.opening for text in _block(block, svgs, variables))
    sections = "\n".join(_section(place, section, svgs, variables) for place, section in enumerate(article.sections, 1))
    contents = "\n".join(f'<li><a href="#{section.key}">{escape(section.title)}</a></li>' for section in article.sections)
    day = "".join(f"{name}:{light};" for (light, _), name in variables.items())
    night = "".join(f"{name}:{dark};" for (_, dark), name in variables.items())
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="kvcalc {__version__}">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{ALONE}">
<link rel="icon" href="data:,">
<title>{escape(article.title)}</title>
<style>
{STYLE}
:root{{{day}}}
@media screen and (prefers-color-scheme:dark){{:root{{{night}}}}}
</style>
</head>
<body>
<header>
<h1>{escape(article.title)}</h1>
<p class="line">{escape(article.line)}</p>
</header>
<nav aria-label="Contents">
<ol>
{contents}
</ol>
</nav>
<main>
{opening}
{sections}
</main>
<script>
{SORTING}
</script>
</body>
</html>
"""


def _section(place: int, section: Section, svgs: SVGs, variables: dict[tuple[str, str], str]) -> str:
    out = [
        f'<section id="{section.key}">',
        f'<p class="over">{escape(section.over)}</p>',
        f'<h2><span class="place">{place}</span>{escape(section.title)}</h2>',
    ]
    for part in section.parts:
        out += [f"<h3>{escape(part.head)}</h3>"] if part.head else []
        out += [text for block in part.blocks for text in _block(block, svgs, variables)]
    return "\n".join([*out, "</section>"])


def marked(text: str) -> str:
    """`code`, **bold**, links and bare addresses as HTML; the rest escaped."""
    out, end = [], 0
    for found in MARKED.finditer(text):
        out += [escape(text[end : found.start()]), _mark(found)]
        end = found.end()
    return "".join([*out, escape(text[end:])])


def _mark(found: re.Match[str]) -> str:
    if found["code"] is not None:
        return f"<code>{escape(found['code'])}</code>"
    if found["bold"] is not None:
        return f"<strong>{escape(found['bold'])}</strong>"
    if found["words"] is not None:
        return _link(found["to"], found["words"])
    return _link(found["bare"], shortened(found["bare"]))


def _link(to: str, words: str) -> str:
    return f'<a href="{escape(href(to))}">{escape(words)}</a>'


def shortened(address: str) -> str:
    """An address for the eye: without the scheme, and no longer than a line of a cell."""
    text = address.removeprefix("https://").removeprefix("http://").removeprefix("www.").rstrip("/")
    return text if len(text) <= LONG else f"{text[: LONG - 1]}…"


# -- blocks -------------------------------------------------------------------------------------------------------------------------


def _block(block: Block, svgs: SVGs, variables: dict[tuple[str, str], str]) -> Iterator[str]:
    match block:
        case Prose(text):
            yield f"<p>{marked(text)}</p>"
        case Listing(points):
            yield "\n".join(["<ul>", *(f"<li>{marked(point)}</li>" for point in points), "</ul>"])
        case Tiles(tiles):
            yield "\n".join(['<div class="tiles wide">', *map(_tile, tiles), "</div>"])
        case Forms(head, lines):
            told = (f"<dt>{escape(name)}</dt><dd>{_formula(form)}</dd>" for name, form in lines)
            yield "\n".join([f'<div class="forms"><h4>{escape(head)}</h4>', "<dl>", *told, "</dl>", "</div>"])
        case Sheet(name, table):
            yield _table(name, table)
        case Picture():
            yield _picture(block, svgs[block.name], variables)
        case Correction(claim, seen, fact, sources):
            yield "\n".join(
                (
                    '<aside class="misread">',
                    f'<p class="claim"><span class="label">Said</span> {marked(claim)}.</p>',
                    f'<p class="seen">{marked("; ".join(seen))}</p>',
                    f'<p class="fact"><span class="label">Counted</span> {marked(fact)}</p>',
                    f'<p class="seen">{marked("; ".join(sources))}</p>',
                    "</aside>",
                )
            )
        case Commands(lines_):
            yield f"<pre><code>{escape(chr(10).join(lines_))}</code></pre>"


def _formula(form: str) -> str:
    """May break before a plus, and nowhere else."""
    return " ".join(f"<span>{escape(term)}</span>" for term in form.replace(" + ", "\n+ ").split("\n"))


def _tile(tile: Tile) -> str:
    rows = []
    for one in tile.figures:
        sort = "same" if one.ratio == 1 else "saves" if one.ratio < 1 else "costs"
        before = "" if one.ratio == 1 else f" <small>instead of {escape(one.before)}</small>"
        badge = f'<span class="badge {sort}">{"the same" if one.ratio == 1 else f"× {one.factor}"}</span>'
        rows.append(f"<div><dt>{escape(one.what)} {badge}</dt><dd><b>{escape(one.now)}</b>{before}</dd></div>")
    return "\n".join(['<div class="tile">', f"<h4>{escape(tile.head)}</h4>", "<dl>", *rows, "</dl>", "</div>"])


def _picture(picture: Picture, drawn: Mapping[Width, str], variables: dict[tuple[str, str], str]) -> str:
    label = f"{picture.name}-caption"
    colours = drawing.dark(picture)
    said = " ".join(f"{words.rstrip('.')}." for words in picture.drawing.says)
    out = [f'<figure id="figure-{picture.name}" class="wide">']
    for width, svg in drawn.items():
        inner = drawing.inline(svg, f"{picture.name}-{width}", label, colours, variables)
        out.append(f'<div class="{width}">{inner}</div>')
    title = escape(picture.drawing.title)
    return "\n".join([*out, f'<figcaption id="{label}"><strong>{title}.</strong> {marked(said)}</figcaption>', "</figure>"])


# -- tables -------------------------------------------------------------------------------------------------------------------------


def _table(name: str, table: Table) -> str:
    numeric = [all(_sortable(row.get(column.key)) for row in table.rows) for column in table.columns]
    heads = []
    for column, is_number in zip(table.columns, numeric, strict=True):
        words, _, unit = column.head.partition(" [")
        shown = escape(words) + (f" <small>{escape(unit.removesuffix(']'))}</small>" if unit else "")
        sort = ' data-sort="number"' if is_number else ""
        side = ' class="n"' if column.numeric else ""
        heads.append(f'<th scope="col"{side}{sort}><button type="button">{shown}</button></th>')
    rows = []
    for row, texts in zip(table.rows, table.body, strict=True):
        cells = (_cell(column, row.get(column.key), text) for column, text in zip(table.columns, texts, strict=True))
        rows.append(f"<tr>{''.join(cells)}</tr>")
    notes = [f'<p class="note">{marked(note)}</p>' for note in table.notes]
    return "\n".join(
        [
            f'<div class="sheet wide" id="table-{name}" tabindex="0" role="region" aria-label="{escape(name.replace("-", " "))}">',
            "<table>",
            f"<thead><tr>{''.join(heads)}</tr></thead>",
            "<tbody>",
            *rows,
            "</tbody>",
            "</table>",
            "</div>",
            *notes,
        ]
    )


def _sortable(value: Cell) -> bool:
    return value is None or (isinstance(value, int | float | Fraction) and not isinstance(value, bool))


def _cell(column: Column, value: Cell, text: str) -> str:
    names = ["n"] if column.numeric else ["long", column.key] if len(text) > LONG else ["claim"] if column.key == "claim" else []
    sort = ""
    if value is not None and _sortable(value):
        sort = f' data-sort="{float(value) if isinstance(value, Fraction) else value}"'
    shown = f'<span class="badge {text.split(" ")[0]}">{escape(text)}</span>' if column.key == "verdict" else cited(text)
    side = f' class="{" ".join(names)}"' if names else ""
    return f"<td{side}{sort}>{shown}</td>"


def cited(text: str) -> str:
    """A source: its words lead to its address; without words the address itself."""
    found = list(ADDRESS.finditer(text))
    if len(found) != 1 or found[0].end() != len(text) or not found[0][0].startswith("http"):
        return marked(text)
    words = text[: found[0].start()].rstrip(" ,")
    return _link(found[0][0], words) if words else marked(text)
