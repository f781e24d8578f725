"""What a model is made of at one context: a bar of its memory and a bar of a step's traffic, piece by piece."""

from collections.abc import Mapping, Sequence
from fractions import Fraction

from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.text import Annotation
from matplotlib.ticker import FixedLocator, NullLocator

from kvcalc.errors import ScenarioError
from kvcalc.ledger import ledger
from kvcalc.report.figures import Drawing, Request
from kvcalc.report.figures._labels import measured
from kvcalc.report.figures._stack import (
    HATCH,
    LINE,
    OTHERS,
    OVER,
    Amount,
    Measure,
    amount,
    band_colours,
    band_text,
    bands,
    bytes_unit,
    in_order,
    keys,
    linear_axis,
    others_line,
    part_of,
    size_text,
    two_keys,
)
from kvcalc.report.figures._style import Canvas
from kvcalc.report.figures.traffic import TRAFFIC
from kvcalc.report.table import Cell, Column, Table, gib_column, text_column
from kvcalc.units import tokens

ABOUT = "memory and traffic per step as stacked bars, one per model: which piece takes what (--by), weights plain, state hatched"

MEMORY = Measure(
    "memory_bytes",
    "state_bytes",
    "memory",
    "weights",
    "state",
    lambda entry: (entry.weight_bytes + entry.state_bytes, entry.state_bytes),
    size_text,
    bytes_unit,
)
MEASURES = (MEMORY, TRAFFIC)
BAR, SLOT = 0.66, 1.7
"""Thickness of a bar over its slot, and of a slot over the size of the text."""
PAD = 0.4
"""Between a bar and its total [sizes of the text]."""
TICKS = 4


def drawing(request: Request) -> Drawing:
    """A row for each part of each model, at the scenario's context and batch; option `by`: what a part is."""
    if request.contexts:
        raise ScenarioError("breakdown shows one context, not several", "-c 128K")
    by, scenario = part_of(request), request.scenario
    books = [(model, ledger(model, scenario)) for model in request.models]
    sums = {
        model.id: {
            name or "products": {measure.key: measure.of(entries) for measure in MEASURES}
            for name, entries in book.by(by).items()
        }
        for model, book in books
    }
    found = bands(
        {part: by_measure[measure.key][0] for part, by_measure in parts.items()}
        for parts in sums.values()
        for measure in MEASURES
    )
    rows: list[dict[str, Cell]] = [
        {
            "model": model.id,
            "name": model.name,
            "part": part,
            "band": found[part],
            **{
                key: value
                for measure in MEASURES
                for key, value in zip((measure.key, measure.of_it), by_measure[measure.key], strict=True)
            },
        }
        for model, _ in books
        for part, by_measure in sums[model.id].items()
        if part in found
    ]
    columns: tuple[Column, ...] = (
        text_column("model", "model"),
        text_column("part", by),
        text_column("band", "band"),
        gib_column(MEMORY.key, "memory"),
        gib_column(MEMORY.of_it, "state of it"),
        gib_column(TRAFFIC.key, "traffic"),
        gib_column(TRAFFIC.of_it, "state of it"),
    )
    title = f"Memory and traffic of a {scenario.phase} step at {tokens(scenario.context)}"
    table = Table(columns, tuple(rows), title=title, more=("name",))
    beyond = [model.name for model in request.models if scenario.context > model.max_context]
    batch = f"a batch of {scenario.batch:,}" if scenario.batch > 1 else "one sequence"
    says = (
        f"Bytes held, and bytes read and written in a step, for {batch}; hatched: {MEMORY.hatched}; "
        f"plain: {MEMORY.plain}, and {TRAFFIC.plain} in traffic",
        f"Bands: each {by} of the models, as far as it has 1 % of a bar",
        *others_line(found),
        *((f"Beyond the longest context of {', '.join(beyond)}: arithmetic only",) if beyond else ()),
    )
    return Drawing(title, table, lambda canvas: _draw(canvas, request, table, found), says)


def _draw(canvas: Canvas, request: Request, table: Table, found: Mapping[str, str]) -> None:
    style, models = canvas.style, request.models
    narrow = style.width == "column"
    made = canvas.axes(2, 1, sharey=True) if narrow else canvas.axes(1, 2, sharey=True)
    names = in_order(found)
    colours = band_colours(names)
    by = part_of(request)
    handles = [
        *(Patch(facecolor=colours[name], linewidth=0, label=band_text(name, found, by)) for name in names),
        *two_keys(MEMORY, style),
    ]
    totals = [_bars(canvas, axes, table, measure, colours) for axes, measure in zip(made, MEASURES, strict=True)]
    for axes, measure, listed in zip(made, MEASURES, totals, strict=True):
        axes.yaxis.set_major_locator(FixedLocator(list(range(len(models)))))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_yticklabels([model.name for model in models])
        axes.set_ylim(len(models) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        _value_axis(axes, measure, float(max(listed)), request)
        axes.set_xlim(0, float(max(listed)) * OVER)
    lines = keys(canvas, handles)
    panel = SLOT * len(models) + 3.2 * LINE
    canvas.figure.set_figheight(((2 * panel if narrow else panel) + (lines + 1) * LINE) * style.points / 72)
    for axes, measure, listed in zip(made, MEASURES, totals, strict=True):
        _totals(canvas, axes, measure, listed, request)


def _value_axis(axes: Axes, measure: Measure, high: float, request: Request) -> None:
    where = f" at {tokens(request.scenario.context)}" if measure is MEMORY else " per step"
    batch = f", batch {request.scenario.batch:,}" if request.scenario.batch > 1 and measure is TRAFFIC else ""
    linear_axis(axes.xaxis, high, bytes_unit(Fraction(high)), f"{measure.what}{where}{batch}", most=TICKS)


def _bars(canvas: Canvas, axes: Axes, table: Table, measure: Measure, colours: Mapping[str, str]) -> list[Amount]:
    """The bars of one panel, model by model; their totals."""
    style = canvas.style
    totals: list[Amount] = []
    for place, model in enumerate(dict.fromkeys(str(row["model"]) for row in table.rows)):
        left: Amount = 0
        for name in sorted(colours, key=lambda name: name == OTHERS):
            rows = [row for row in table.rows if row["model"] == model and row["band"] == name]
            of_it = sum(amount(row[measure.of_it]) for row in rows)
            for size, hatch in ((sum(amount(row[measure.key]) for row in rows) - of_it, ""), (of_it, HATCH)):
                if size:
                    axes.barh(
                        place,
                        float(size),
                        BAR,
                        left=float(left),
                        facecolor=colours[name],
                        edgecolor=style.paper,
                        linewidth=0.4 * style.scale,
                        hatch=hatch or None,
                        label=f"{model}, {name}, {measure.hatched if hatch else measure.plain}",
                    )
                    left += size
        totals.append(left)
    return totals


def _totals(canvas: Canvas, axes: Axes, measure: Measure, totals: Sequence[Amount], request: Request) -> list[Annotation]:
    """Totals at the ends of the bars; the axis is as long as they need."""
    pad = PAD * canvas.style.points
    made = [
        axes.annotate(
            measure.text(size),
            xy=(float(size), place),
            xytext=(pad, 0),
            textcoords="offset points",
            va="center",
            ha="left",
            annotation_clip=False,
            in_layout=False,
        )
        for place, size in enumerate(totals)
    ]
    renderer = measured(canvas)
    room = axes.get_window_extent(renderer).width
    points = 72.0 / canvas.figure.dpi
    widths = [label.get_window_extent(renderer).width + 1.5 * pad / points for label in made]
    longest = max(float(size) * room / max(room - width, room / 4) for size, width in zip(totals, widths, strict=True))
    axes.set_xlim(0, longest)
    _value_axis(axes, measure, longest / OVER, request)
    return made
