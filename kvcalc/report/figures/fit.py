"""How far models go on devices: the largest context that fits, models down, devices across.

The answer of `kvcalc fit` in each cell, rounded down to whole K: "max" where a model's own limit fits, "no" where not even 1K does. A
sheet too narrow for all devices shows them in panels, one below the other.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import log2
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from kvcalc.catalog import load_device
from kvcalc.errors import PlanError, ScenarioError
from kvcalc.report.figures import LEAST_CONTEXT, Drawing, Request, Rig
from kvcalc.report.figures._style import Canvas, Style
from kvcalc.report.table import Cell, Column, Table, count_column, number, text_column
from kvcalc.roofline import plan_of
from kvcalc.scenario import Scenario
from kvcalc.solve import largest_context
from kvcalc.spec import ModelSpec
from kvcalc.units import tokens

ABOUT = "the largest context that fits, models x devices, as a heat map; well-known devices where no --on is given"

WELL_KNOWN = (
    "rtx-4090",
    "rtx-5090",
    "apple-m4-max-40gpu",
    "strix-halo-395-128gb",
    "dgx-spark-gb10",
    "l40s",
    "a100-sxm-80gb",
    "h100-sxm-80gb",
    "h200-sxm-141gb",
    "mi300x",
    "b200-sxm-180gb",
)
MOST_RIGS = 24
FULL, NONE, NOT_SO = "max", "no", "n/a"
"""The whole of a model's context; not even 1K; a model that cannot be divided so."""
RAMP = {False: ("#E3EEF6", "#0072B2", "#06243B"), True: ("#14344A", "#0072B2", "#D5EBFA")}
"""Colours from short to long contexts, in even steps of brightness; on dark paper (True) long ones are light."""
SHORTEST, LONGEST = LEAST_CONTEXT, LEAST_CONTEXT << 10
"""Contexts at the ends of the colours: 1K and 1M."""
AIR = 0.3
"""Beside the widest text of a cell, over the size of the text."""
ROW = 1.75
"""Height of a row, over the size of the text."""
HEAD = 3.4
"""Height of the lines above the cells, over the size of the text."""
SLANT = 45
POINTS = 72
"""In an inch."""
MIDDLE = 0.18
"""Brightness at which dark and light text are read equally well (WCAG)."""


def drawing(request: Request) -> Drawing:
    """The largest context of each model on each rig, at the scenario's batch and formats, up to the model's own maximum."""
    if request.contexts:
        raise ScenarioError("fit finds contexts itself", "leave out -c")
    if request.scenario.phase != "decode":
        raise ScenarioError("fit shows decode steps, not a prefill", "leave out --phase")
    rigs = request.rigs or tuple(Rig(load_device(name)) for name in WELL_KNOWN)
    if len(rigs) > MOST_RIGS:
        raise ScenarioError(f"{len(rigs)} devices are too many for one figure", f"at most {MOST_RIGS}; make several")
    rows = tuple(_row(model, rig, request.scenario) for model in request.models for rig in rigs)
    if all(row["text"] == NOT_SO for row in rows):
        raise ScenarioError(f"{request.models[0].id} cannot be divided so", f"see kvcalc fit {request.models[0].id}")
    columns = (
        text_column("model", "model"),
        text_column("rig", "on"),
        text_column("plan", "plan"),
        count_column("context", "largest context"),
        Column("max_context", "model's own", tokens),
        text_column("text", "shown"),
    )
    batch = f"{request.scenario.batch:,} sequences" if request.scenario.batch > 1 else "one sequence"
    title = "Largest context that fits"
    own = [f"{model.name} {tokens(model.max_context)}" for model in request.models]
    says = (
        f"The longest context of {batch} that fits beside the weights, rounded down to whole K, {request.scenario.kv_format} format of "
        f"the state, {request.scenario.weight_format} of the weights",
        f"{FULL}: the longest context of the model ({', '.join(own)}); {NONE}: not even {tokens(LEAST_CONTEXT)} fits"
        + (f"; {NOT_SO}: the model cannot be divided so" if any(row["text"] == NOT_SO for row in rows) else ""),
        f"Colour: context on a log scale from {tokens(SHORTEST)} to {tokens(LONGEST)}",
        "Weights and state alone: what an engine reserves, its activations and its context on the device come on top",
        *(() if request.rigs else ("Memory that a program can use of one device each: `kvcalc explain DEVICE` has the sources",)),
    )
    heading = f"{title}, {batch}\n{FULL}: the model's own limit; {NONE}: not even {tokens(LEAST_CONTEXT)}"
    table = Table(columns, rows, title=title, more=("name",))
    return Drawing(title, table, lambda canvas: _Map(canvas, table, heading).draw(), says, ("context",), rigs)


def _row(model: ModelSpec, rig: Rig, scenario: Scenario) -> dict[str, Cell]:
    row: dict[str, Cell] = {"model": model.id, "name": model.name, "rig": rig.name, "max_context": model.max_context}
    try:
        plan = (
            rig.plan if rig.plan is not None else plan_of(model, replace(scenario, context=LEAST_CONTEXT), rig.device, rig.count)
        )
        context = largest_context(model, scenario, rig.device, plan, model.max_context)
    except PlanError:
        return row | {"plan": None, "context": None, "text": NOT_SO}
    return row | {"plan": plan.line, "context": context, "text": _text(context, model.max_context)}


def _text(context: int | None, most: int) -> str:
    """A cell as it is written."""
    if context == most:
        return FULL
    if context is None or context < LEAST_CONTEXT:
        return NONE
    return tokens(context - context % LEAST_CONTEXT)


class _Map:
    """The cells, in as many panels as the width of the sheet needs."""

    def __init__(self, canvas: Canvas, table: Table, heading: str) -> None:
        self.canvas, self.heading = canvas, heading
        self.cells = {(str(row["model"]), str(row["rig"])): row for row in table.rows}
        self.models = list(dict.fromkeys(str(row["model"]) for row in table.rows))
        self.rigs = list(dict.fromkeys(str(row["rig"]) for row in table.rows))
        own = {str(row["model"]): f"{row['name']} · {tokens(number(row['max_context']))}" for row in table.rows}
        names = {str(row["model"]): str(row["name"]) for row in table.rows}
        self.names = names if canvas.style.width == "column" else own

    def draw(self) -> None:
        """Panels of nearly equal numbers of devices, cells of one size."""
        style = self.canvas.style
        points = style.points
        label = max(self._wide(name) for name in self.names.values()) + 0.5 * points
        cell = max(self._wide(str(row["text"])) for row in self.cells.values()) + AIR * points
        room = style.inches * POINTS - label
        across = max(min(int(room / cell), len(self.rigs)), 1)
        panels = -(-len(self.rigs) // across)
        across = -(-len(self.rigs) // panels)
        head = max(self._wide(rig) for rig in self.rigs) * 0.75 + 1.5 * points
        high = panels * (len(self.models) * ROW * points + head) + HEAD * points
        self.canvas.height(high / POINTS / style.scale)
        self.canvas.figure.suptitle(self.heading, x=0.01, ha="left", fontsize=points)
        shown = self.canvas.axes(panels, 1)
        for place, axes in enumerate(shown):
            self._panel(axes, self.rigs[place * across : (place + 1) * across], across)

    def _wide(self, text: str) -> float:
        """Width of a text [pt]."""
        sheet: Any = self.canvas.figure.canvas
        made = Text(0, 0, text, figure=self.canvas.figure)
        return float(made.get_window_extent(sheet.get_renderer()).width) * POINTS / self.canvas.figure.dpi

    def _panel(self, axes: Axes, rigs: Sequence[str], across: int) -> None:
        style = self.canvas.style
        axes.grid(visible=False)
        axes.set_xlim(0, across)
        axes.set_ylim(len(self.models), 0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.tick_params(length=0)
        axes.set_xticks(
            [place + 0.5 for place in range(len(rigs))], rigs, rotation=SLANT, ha="right", va="top", rotation_mode="anchor"
        )
        axes.set_yticks([place + 0.5 for place in range(len(self.models))], [self.names[model] for model in self.models])
        for down, model in enumerate(self.models):
            for right, rig in enumerate(rigs):
                row = self.cells[model, rig]
                self._cell(axes, right, down, row, style)

    def _cell(self, axes: Axes, right: int, down: int, row: dict[str, Cell], style: Style) -> None:
        text = str(row["text"])
        fits = text not in (NONE, NOT_SO)
        colour = _colour(number(row["context"]), style) if fits else style.paper
        box = Rectangle((right, down), 1, 1, facecolor=colour, edgecolor=style.paper, linewidth=1.0 * style.scale)
        box.set_gid(f"{row['model']} on {row['rig']}")
        axes.add_patch(box)
        ink = _on(colour) if fits else style.faint
        axes.text(right + 0.5, down + 0.5, text, ha="center", va="center_baseline", color=ink)


def _colour(context: int, style: Style) -> str:
    """A colour of the ramp, by the logarithm of a context."""
    part = (log2(context) - log2(SHORTEST)) / (log2(LONGEST) - log2(SHORTEST))
    part = min(max(part, 0.0), 1.0)
    low, middle, high = (to_rgb(colour) for colour in RAMP[style.dark])
    start, end, at = (low, middle, 2 * part) if part < 0.5 else (middle, high, 2 * part - 1)
    return "#" + "".join(f"{round(255 * ((1 - at) * a + at * b)):02x}" for a, b in zip(start, end, strict=True))


def _on(colour: str) -> str:
    """Black or white, whichever is read better on a colour."""
    return "#000000" if brightness(colour) > MIDDLE else "#FFFFFF"


def brightness(colour: str) -> float:
    """Relative luminance, 0 to 1. Source: WCAG 2.1, https://www.w3.org/TR/WCAG21/#dfn-relative-luminance."""
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in to_rgb(colour)]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
