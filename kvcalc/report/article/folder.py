"""The article as files: article.md, article.html, figures/*.svg with captions, data/*.csv with raw values."""

import csv
import io
from pathlib import Path

from kvcalc.errors import ScenarioError
from kvcalc.report.article import drawing, markdown, page
from kvcalc.report.article.blocks import Article, Picture, Sheet
from kvcalc.report.table import Table

NAMES = ("article.md", "article.html")


def write(article: Article, folder: Path, *, force: bool = False) -> list[Path]:
    """Write everything; the files that were written, those of the article first.

    Raises:
        ScenarioError: the folder holds what kvcalc did not make, or is no folder.
    """
    _refuse(folder, force=force)
    pictures = [block for block in article.blocks if isinstance(block, Picture)]
    for name in ("figures", "data"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    drawn = {picture.name: drawing.saved(picture, folder / "figures") for picture in pictures}
    files = list(drawn.values())
    for block in article.blocks:
        if isinstance(block, Sheet):
            files.append(folder / "data" / f"{block.name}.csv")
            files[-1].write_text(raw(block.table), encoding="utf-8", newline="")
    svgs = {picture.name: drawing.svgs(picture, drawn[picture.name]) for picture in pictures}
    texts = (markdown.markdown(article), page.page(article, svgs))
    for name, text in zip(NAMES, texts, strict=True):
        (folder / name).write_text(text, encoding="utf-8", newline="")
    return [*(folder / name for name in NAMES), *files]


def raw(table: Table) -> str:
    """Base units and whole numbers, for programs."""
    records = table.records()
    out = io.StringIO()
    writer = csv.DictWriter(out, list(dict.fromkeys(key for record in records for key in record)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return out.getvalue()


def _refuse(folder: Path, *, force: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise ScenarioError(f"{folder}: not a folder")
    if force or not folder.exists() or not any(folder.iterdir()):
        return
    mark = folder / NAMES[0]
    if not mark.is_file() or not mark.read_bytes().startswith(markdown.MARK.encode()):
        hint = "name another folder, or write beside them with --force"
        raise ScenarioError(f"{folder}: holds files that kvcalc article did not make", hint)
