"""The ladder of tricks as a waterfall: from plain multi-head attention down to the model as shipped, one trick a rung.

A bar leads from what the rung above keeps to what this one keeps. On a log2 axis its length is the factor, which is written beside it;
what costs bytes rather than saves them goes the other way, hatched.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import ceil, floor, log2

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from kvcalc.errors import ScenarioError
from kvcalc.report.figures import Drawing, Request
from kvcalc.report.figures._labels import measured
from kvcalc.report.figures._style import HATCHES, Canvas, looks
from kvcalc.report.table import Cell, Table, gib_column, number, ratio_column, text_column
from kvcalc.spec import ModelSpec
from kvcalc.units import bytes_text, significant, tokens
from kvcalc.whatif import Rung, factor, ladder

ABOUT = "the waterfall of tricks from plain attention to the model as shipped: state and traffic on log2 axes, each factor written"

MOST_MODELS = 6
RUNG = 0.172
"""Height of a rung [inch at column text]."""
AROUND = 0.62
"""Title, ticks and label of a panel [inch at column text]."""
BAR = 0.62
"""Height of a bar over the rung's."""
FALLING = 0.55
"""Opacity of what a trick saves."""
APART = 0.45
"""Between a bar and what is written beside it [sizes of the text]."""
PANELS = (("state_bytes", "state_factor", "state"), ("traffic_bytes", "traffic_factor", "traffic of a step"))
DIGITS = range(2, 7)
SHIPPED = "as shipped"


def drawing(request: Request) -> Drawing:
    """The rungs of each model, with its state and traffic and the factors over the rung above; then the model as shipped."""
    if request.contexts:
        raise ScenarioError("ladder shows one context, not several", "-c 128K")
    if len(request.models) > MOST_MODELS:
        raise ScenarioError(f"{len(request.models)} ladders are too many for one figure", f"at most {MOST_MODELS}; make several")
    scenario = request.scenario
    rungs = {model.id: ladder(model, scenario) for model in request.models}
    rows = [row for model in request.models for row in _rows(model, rungs[model.id])]
    columns = (
        text_column("model", "model"),
        text_column("rung", "with"),
        gib_column("state_bytes", "state"),
        ratio_column("state_factor", "x"),
        gib_column("traffic_bytes", "traffic"),
        ratio_column("traffic_factor", "x"),
    )
    table = Table(columns, tuple(rows), title="from plain attention to the model as shipped", more=("name", "meaning"))
    panels = PANELS if len(request.models) == 1 else PANELS[:1]
    batch = f"a batch of {scenario.batch:,}" if scenario.batch > 1 else "one sequence"
    what = "State" if len(panels) == 1 else f"State, and bytes that a step of {scenario.phase} reads and writes (weights with them)"
    beyond = [model.name for model in request.models if scenario.context > model.max_context]
    says = (
        f"{what}, of {batch} at {tokens(scenario.context)}, on log2 axes, so that the length of a bar is its factor",
        "Each rung is the model with this trick and all those above it; the first has every trick undone, in bf16; the factors multiply "
        "to the whole, exactly",
        "Hatched: what costs bytes rather than saves them",
        *(
            f"{model.name}, {rung.name}: {rung.meaning}"
            for model in request.models
            for rung in rungs[model.id][:1]
            if len(request.models) == 1 or ";" in rung.meaning
        ),
        *((f"Beyond the longest context of {', '.join(beyond)}: arithmetic only",) if beyond else ()),
    )
    title = "From plain attention to the model as shipped"
    return Drawing(title, table, lambda canvas: _draw(canvas, request, table, panels), says)


def _rows(model: ModelSpec, rungs: Sequence[Rung]) -> list[dict[str, Cell]]:
    """A row for each rung; the last sums up: the model as shipped, over the first rung."""
    pairs = [(rung.name, rung.meaning, rung, above) for rung, above in zip(rungs, [None, *rungs], strict=False)]
    pairs.append((SHIPPED, "over plain attention", rungs[-1], rungs[0]))
    return [
        {
            "model": model.id,
            "name": model.name,
            "rung": name,
            "meaning": meaning,
            "state_bytes": rung.state_bytes,
            "state_factor": None if above is None else factor(rung.state_bytes, above.state_bytes),
            "traffic_bytes": rung.traffic_bytes,
            "traffic_factor": None if above is None else factor(rung.traffic_bytes, above.traffic_bytes),
        }
        for name, meaning, rung, above in pairs
    ]


# -- drawing ------------------------------------------------------------------------------------------------------------------------


def _draw(canvas: Canvas, request: Request, table: Table, panels: Sequence[tuple[str, str, str]]) -> None:
    look = looks(request.models, canvas.style)
    of = {model.id: [row for row in table.rows if row["model"] == model.id] for model in request.models}
    drawn = [(model, *panel) for model in request.models for panel in panels]
    across = 1 if canvas.style.width == "column" or len(drawn) == 1 else 2
    down = -(-len(drawn) // across)
    rungs = [max(len(of[model.id]) for model, *_ in drawn[row * across : (row + 1) * across]) for row in range(down)]
    canvas.height(sum(RUNG * count + AROUND for count in rungs))
    sheet = canvas.axes(down, across, height_ratios=rungs)
    for axes in sheet[len(drawn) :]:
        axes.set_visible(False)
    for place, (axes, (model, key, _, what)) in enumerate(zip(sheet, drawn, strict=False)):
        title = f"{model.name}: {what}" if len(panels) == 1 or key == PANELS[0][0] else what
        axes.set_title(title, loc="left", fontweight="bold")
        _waterfall(axes, of[model.id], key, look[model.id].colour, canvas)
        axes.set_ylim(rungs[place // across] - 0.4, -0.6)
        if across == 2 and len(panels) == 2 and key == PANELS[1][0]:
            axes.tick_params(axis="y", labelleft=False)
    for axes, (model, key, factors, _) in zip(sheet, drawn, strict=False):
        _write(axes, of[model.id], key, factors, look[model.id].colour, canvas)


def _waterfall(axes: Axes, rows: Sequence[dict[str, Cell]], key: str, colour: str, canvas: Canvas) -> None:
    style = canvas.style
    sizes = [number(row[key]) for row in rows]
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x")
    low = _bytes_along(axes, min(sizes), max(sizes), most=3 if style.width == "column" else 4)
    last = len(rows) - 1
    for place, size in enumerate(sizes):
        above = sizes[place - 1] if 0 < place < last else low
        costs = 0 < place < last and size > above
        axes.barh(
            place,
            abs(size - above),
            left=min(size, above),
            height=BAR,
            facecolor="none" if costs else colour,
            edgecolor=colour,
            linewidth=0.6 * style.scale,
            hatch=2 * HATCHES[1] if costs else HATCHES[0],
            alpha=1.0 if place in (0, last) or costs else FALLING,
        )
        if place < last:
            axes.plot([size, size], [place - BAR / 2, place + 1 + BAR / 2], color=style.faint, linewidth=0.6 * style.scale, zorder=1)
    axes.set_yticks(range(len(rows)), [str(row["rung"]) for row in rows])
    axes.tick_params(axis="y", length=0)


def _bytes_along(axes: Axes, low: int, high: int, *, most: int) -> float:
    """x: a log2 axis of bytes from below the least, so that its bar can be seen; the left end."""
    first, last = floor(log2(max(low, 1))) - 1, ceil(log2(max(high, 1)))
    last += last - first < 2
    step = max(-(-(last - first) // most), 1)
    axes.set_xscale("log", base=2)
    axes.set_xlim(2.0**first, 2.0**last)
    axes.xaxis.set_major_locator(FixedLocator([2.0**power for power in range(last, first - 1, -step)]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: bytes_text(round(value), 1)))
    axes.xaxis.set_minor_locator(NullLocator())
    return 2.0**first


def _write(axes: Axes, rows: Sequence[dict[str, Cell]], key: str, factors: str, colour: str, canvas: Canvas) -> None:
    """Beside each bar its factor, beside the first and the last the bytes: to the right, or the left, or in the bar, where room is."""
    renderer = measured(canvas)
    box = axes.get_window_extent(renderer)
    gap = APART * canvas.style.points * canvas.figure.dpi / 72
    last, low = len(rows) - 1, axes.get_xlim()[0]
    sizes = [number(row[key]) for row in rows]
    for place, row in enumerate(rows):
        whole = place in (0, last)
        ends = (low, sizes[place]) if whole else (sizes[place], sizes[place - 1])
        left, right = (float(axes.transData.transform((end, place))[0]) for end in (min(ends), max(ends)))
        said = _words(row[factors], sizes[place], whole)
        text = axes.text(0, place, said, va="center_baseline", ha="left", transform=axes.get_yaxis_transform())
        wide = text.get_window_extent(renderer).width
        if right + gap + wide <= box.x1:
            at = right + gap
        elif left - gap - wide >= box.x0:
            at = left - gap - wide
        else:
            at = right - gap - wide
            if whole:
                text.set_color(_on(colour))
        text.set_x((at - box.x0) / box.width)


def _on(colour: str) -> str:
    """Black or white, whichever can be read on a colour."""
    red, green, blue = to_rgb(colour)
    return "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.55 else "white"


def _words(value: Cell, size: int, end: bool) -> str:
    """x0.016; of the first rung its bytes, of the last the bytes and the whole factor."""
    times = "" if value is None or isinstance(value, str) else f"×{_times(Fraction(value))}"
    return " ".join(part for part in ((bytes_text(size) if end else ""), times) if part)


def _times(value: Fraction) -> str:
    """Two digits, or as many more as tell it from 1."""
    texts = (significant(value, digits) for digits in DIGITS if significant(value, digits) != significant(1, digits))
    return next(texts, "1")
