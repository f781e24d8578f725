"""The article as Markdown, with its figures and data beside it."""

from collections.abc import Iterator
from dataclasses import replace

from kvcalc.report.article.blocks import (
    Article,
    Block,
    Commands,
    Correction,
    Forms,
    Listing,
    Picture,
    Prose,
    Sheet,
    Tiles,
)
from kvcalc.report.article.words import ADDRESS, href
from kvcalc.report.writers import markdown as written

MARK = "<!-- made by kvcalc article -->"
"""First line of the file, by which a folder is known as kvcalc's own."""


def markdown(article: Article) -> str:
    """The whole text."""
    blocks = [MARK, f"# {article.title}", f"*{article.line}*"]
    blocks += [text for block in article.opening for text in _block(block)]
    blocks.append("\n".join(f"{place}. [{section.title}](#{section.key})" for place, section in enumerate(article.sections, 1)))
    for place, section in enumerate(article.sections, 1):
        blocks += [f'<a id="{section.key}"></a>', f"## {place}. {section.title}", f"*{section.over}*"]
        for part in section.parts:
            blocks += [f"### {part.head}"] if part.head else []
            blocks += [text for block in part.blocks for text in _block(block)]
    return "\n\n".join(blocks) + "\n"


def linked(text: str) -> str:
    """Numbers of papers and bare addresses lead somewhere; links that are there already stay."""
    return ADDRESS.sub(lambda found: found[0] if found[0].startswith("http") else f"[{found[0]}]({href(found[0])})", text)


def _block(block: Block) -> Iterator[str]:
    match block:
        case Prose(text):
            yield linked(text)
        case Listing(points):
            yield "\n".join(f"- {linked(point)}" for point in points)
        case Tiles(tiles):
            lines = []
            for tile in tiles:
                told = (
                    f"{one.what} {one.now}" + (" (the same)" if one.ratio == 1 else f" instead of {one.before} (x {one.factor})")
                    for one in tile.figures
                )
                lines.append(f"- **{tile.head}**: {'; '.join(told)}")
            yield "\n".join(lines)
        case Forms(head, lines_):
            width = max(len(name) for name, _ in lines_)
            yield f"{head}:"
            yield "\n".join(["```text", *(f"{name.ljust(width)} = {form}" for name, form in lines_), "```"])
        case Sheet(name, table):
            yield linked(written(replace(table, notes=()))).rstrip("\n")
            yield " ".join([f"[data/{name}.csv](data/{name}.csv)", *(f"· {note}" for note in table.notes)])
        case Picture(name, drawing, _):
            said = " ".join(f"{words.rstrip('.')}." for words in drawing.says)
            yield f"![{drawing.title}](figures/{name}.svg)"
            yield f"**{drawing.title}.** {said}"
        case Correction(claim, seen, fact, sources):
            said = f"> **Said:** {claim}. Seen: {', '.join(seen)}"
            yield linked(f"{said}\n>\n> **Counted:** {fact} Sources: {', '.join(sources)}")
        case Commands(lines):
            yield "\n".join(["```sh", *lines, "```"])
