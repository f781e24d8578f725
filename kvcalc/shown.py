"""Figures, ladders and closed forms for a program or a notebook: what the commands print and draw, as objects that show themselves."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from kvcalc import explain, whatif
from kvcalc.catalog import load_devices, load_model
from kvcalc.hardware import Device
from kvcalc.report import figures
from kvcalc.report.table import Cell, Document, Table, text_column
from kvcalc.report.whatif import ladder as ladder_document
from kvcalc.report.writers import WRITERS
from kvcalc.scenario import NATIVE, Phase, Scenario
from kvcalc.spec import ModelSpec
from kvcalc.units import parse_contexts, parse_tokens

DEFAULT_CONTEXT = 131072
SCREEN_DOTS = 150
Model = str | PathLike[str] | ModelSpec


@dataclass(frozen=True)
class Shown:
    """What a command prints: `print(it)` is its text, a notebook shows it as HTML, `records()` are the rows of its first table."""

    document: Document | Table

    def records(self) -> list[dict[str, Any]]:
        """Rows as flat dictionaries of plain numbers."""
        table = self.document if isinstance(self.document, Table) else self.document.tables[0]
        return table.records()

    def __str__(self) -> str:
        return WRITERS["text"](self.document)

    def __repr__(self) -> str:
        return f"<Shown: {self.document.title}>"

    def _repr_html_(self) -> str:
        return WRITERS["html"](self.document)


@dataclass(frozen=True)
class Picture:
    """A figure: a notebook shows it, `save` writes it with its caption, `records()` are the data that it draws."""

    request: figures.Request
    drawing: figures.Drawing
    width: Literal["column", "page", "slide"] = "column"
    dark: bool = False

    def records(self) -> list[dict[str, Any]]:
        """The data behind the figure, as flat dictionaries of plain numbers."""
        return self.drawing.table.records()

    def __repr__(self) -> str:
        return f"<Picture: {self.drawing.title}; {', '.join(model.id for model in self.request.models)}>"

    @property
    def caption(self) -> str:
        """Title, models, scenario, conventions, version and sources, as Markdown."""
        from kvcalc.report.figures._save import caption

        return caption(self.drawing, self.request)

    def save(self, file: str | Path) -> list[Path]:
        """Write an .svg, .pdf, .png or .pgf, and its caption beside it; the files written. Raises ScenarioError."""
        from kvcalc.report.figures._save import save
        from kvcalc.report.figures._style import Style

        return save(self.drawing, self.request, Path(file), Style(self.width, self.dark))

    def _repr_png_(self) -> bytes:
        from kvcalc.report.figures._save import METADATA, drawn
        from kvcalc.report.figures._style import Style, styled

        style, out = Style(self.width, self.dark), BytesIO()
        sheet = drawn(self.drawing, style)
        with styled(style):
            sheet.figure.savefig(out, format="png", dpi=SCREEN_DOTS, metadata=METADATA["png"])
        return out.getvalue()


def _model(model: Model) -> ModelSpec:
    return model if isinstance(model, ModelSpec) else load_model(model)


def _context(model: ModelSpec, context: int | str | None) -> int:
    if context is None:
        return min(DEFAULT_CONTEXT, model.max_context)
    return context if isinstance(context, int) else parse_tokens(context)


def _rig(device: str | Device) -> figures.Rig:
    if isinstance(device, Device):
        return figures.Rig(device)
    count, one = load_devices(device)
    return figures.Rig(one, count or 1)


def plot(
    what: str,
    models: Model | Sequence[Model],
    *,
    devices: Iterable[str | Device] = (),
    context: int | str | None = None,
    batch: int = 1,
    phase: Phase = "decode",
    kv_format: str = NATIVE,
    weight_format: str = NATIVE,
    width: Literal["column", "page", "slide"] = "column",
    dark: bool = False,
    **options: str,
) -> Picture:
    """A figure of `kvcalc list figures`.

    Args:
        models: ids, paths or specs; one, or up to twelve.
        devices: ids with a count if more ("8xh100-sxm"), or devices.
        context: tokens ("128K"); where it is the axis, several: "4K,128K" or "4K..1M".
        options: what only some figures take: by="piece", trick="kv-sharing", weights="yes".

    Raises:
        UnknownName: no such figure, model or device.
        ScenarioError: a request that the figure cannot answer.
    """
    listed = [models] if isinstance(models, str | PathLike | ModelSpec) else list(models)
    contexts = () if context is None else (context,) if isinstance(context, int) else parse_contexts(context)
    scenario = Scenario(phase, contexts[-1] if contexts else DEFAULT_CONTEXT, batch, kv_format, weight_format)
    request = figures.Request(
        tuple(_model(model) for model in listed),
        scenario,
        contexts if len(contexts) > 1 else (),
        tuple(_rig(device) for device in devices),
        tuple(options.items()),
    )
    return Picture(request, figures.drawing(what, request), width, dark)


def ladder(
    model: Model,
    context: int | str | None = None,
    *,
    batch: int = 1,
    kv_format: str = NATIVE,
    weight_format: str = NATIVE,
    device: str | Device | None = None,
) -> Shown:
    """From plain multi-head attention in bf16 down to the model as shipped, one trick at a time, as `kvcalc whatif --ladder` prints it."""
    spec = _model(model)
    scenario = Scenario("decode", _context(spec, context), batch, kv_format, weight_format)
    rig = None if device is None else _rig(device)
    document = ladder_document(whatif.ladder(spec, scenario), None if rig is None else (rig.device, rig.count, rig.plan))
    return Shown(document)


def without(model: Model, *tricks: str) -> ModelSpec:
    """The model without some of its tricks: "kv-sharing", "window" ... Raises ScenarioError; it lists those that the model uses."""
    return whatif.without(_model(model), *tricks)


def closed_form(model: Model, kv_format: str = NATIVE) -> Shown:
    """State, state read in a decode step, and its FLOPs, each as a sum of laws of t, the tokens of context."""
    spec = _model(model)
    forms = (explain.state_form(spec, kv_format), explain.read_form(spec, kv_format), explain.flops_form(spec))
    columns = (text_column("name", "what"), text_column("text", "closed form in t"), text_column("unit", "unit"))
    rows: tuple[dict[str, Cell], ...] = tuple({"name": form.name, "text": form.text, "unit": form.unit} for form in forms)
    return Shown(Table(columns, rows, title=f"{spec.name} ({spec.id})"))
