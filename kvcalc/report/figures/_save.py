"""A drawing as a file: SVG, PDF, PNG or PGF, with a caption beside it. The same drawing gives the same bytes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kvcalc import __version__
from kvcalc.errors import ScenarioError
from kvcalc.report.figures import Drawing, Request
from kvcalc.report.figures._style import Canvas, Style, canvas, styled

FORMATS = ("svg", "pdf", "png", "pgf")
DOTS_PER_INCH = 300
METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": "kvcalc"},
    "pdf": {"CreationDate": None, "Creator": "kvcalc", "Producer": None},
    "png": {"Software": None},
    "pgf": {},
}


def drawn(drawing: Drawing, style: Style) -> Canvas:
    """The drawing on a sheet, for a test or a notebook to look at."""
    with styled(style):
        sheet = canvas(style)
        drawing.draw(sheet)
        return sheet


def save(drawing: Drawing, request: Request, file: Path, style: Style) -> list[Path]:
    """Write the figure and, beside it, its caption; the files written.

    Raises:
        ScenarioError: an ending that is no format, a folder that is not there, or PGF where no TeX is installed.
    """
    form = file.suffix.removeprefix(".").lower()
    if form not in FORMATS:
        raise ScenarioError(f"{file}: cannot draw a {form or 'file without an ending'}", "endings: " + ", ".join(f".{f}" for f in FORMATS))
    if not file.parent.is_dir():
        raise ScenarioError(f"{file.parent}: no such folder")
    try:
        with styled(style):
            sheet = canvas(style)
            drawing.draw(sheet)
            sheet.figure.savefig(file, format=form, dpi=DOTS_PER_INCH, metadata=METADATA[form] or None)
    except (RuntimeError, FileNotFoundError) as error:
        if form != "pgf":
            raise
        reason = str(error).partition("\n")[0]
        raise ScenarioError(f"{file}: PGF needs TeX, which does not run: {reason}", "install xelatex, or take .pdf") from None
    words = file.with_suffix(".caption.md")
    words.write_text(caption(drawing, request), encoding="utf-8")
    return [file, words]


def caption(drawing: Drawing, request: Request) -> str:
    """Title, models, scenario, conventions, version and sources, as Markdown."""
    lines = [f"**{drawing.title}.** " + " ".join(f"{sentence.rstrip('.')}." for sentence in drawing.says), ""]
    lines += [f"- Scenario: {_scenario(drawing, request)}"]
    lines += [f"- Model: {model.name} ({model.id}): " + _sources(list(model.sources.values())) for model in request.models]
    for rig in request.rigs if drawing.rigs is None else drawing.rigs:
        values = (rig.device.usable_memory, rig.device.bandwidth)
        lines.append(f"- Device: {rig.device.name} ({rig.name}): " + _sources([value.source for value in values if value is not None]))
    lines += ["- Conventions: `kvcalc explain conventions`; data: the same command with `--csv`", f"- Made with kvcalc {__version__}", ""]
    return "\n".join(lines)


def _scenario(drawing: Drawing, request: Request) -> str:
    """The scenario in a line, without the values of what is an axis."""
    said = [part for part in request.scenario.line.split(" · ") if part.partition(" ")[0] not in drawing.varies]
    return " · ".join([*said, *(f"{axis}: an axis of the figure" for axis in drawing.varies)])


def _sources(sources: Sequence[str]) -> str:
    return "; ".join(dict.fromkeys(sources)) or "no source"
