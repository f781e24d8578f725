"""Throughput against speed for each user, over batch: the frontier on which whoever serves a model picks a place.

A line starts at its lower right with a batch of one, the most that one user gets, and ends at its upper left with the largest batch that
fits. A ring stands at the knee, from which on a batch has half the throughput that an unlimited one would reach. What `energy` shares
with this figure stands here too: which lines there are, how they look, and numbers beside points.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import log10
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox

from kvcalc.errors import ScenarioError
from kvcalc.ledger import ledger
from kvcalc.parallel import Plan
from kvcalc.report.figures import MOST_LINES, Drawing, Request, Rig
from kvcalc.report.figures._labels import End, end_labels, measured
from kvcalc.report.figures._style import PALETTE, Canvas, looks, plain
from kvcalc.report.table import Cell, Column, Table, count_column, text_column, time_column
from kvcalc.roofline import answer, plan_of
from kvcalc.scenario import Scenario
from kvcalc.serving import Curve, Point, curve
from kvcalc.spec import ModelSpec
from kvcalc.units import significant, tokens

ABOUT = "tokens/s of a user against tokens/s of a device, over batch: the frontier, its knee, the largest batch that fits (--on)"

KNEE, LARGEST = "knee", "largest"
MARKERS = ("o", "^", "D", "v", "P", "X", "<", ">", "h", "p", "d", "8")
"""Of rigs, in order."""
DOT, RING, SQUARE = 2.4, 7.5, 6.0
"""Sizes of a point, of the ring at a knee and of the square at the largest batch [pt at column text]."""
STEEP = 6
"""An axis whose values span more than so many times its least is logarithmic."""
STEPS = (1, 2, 5)
DECADES = {"x": {"column": 1.4, "page": 3.2, "slide": 3.2}, "y": {"column": 2.3, "page": 2.6, "slide": 2.6}}
"""A log axis has ticks at 1, 2, 5 up to so many decades; then at 1 alone."""
MOST_TENS = 3
"""Of a log axis whose ticks are powers of ten; where there are more, each second has one."""
MOST_TICKS = {"column": 4, "page": 8, "slide": 8}
"""Of an axis of batches, after 1."""
INSET = 0.025
"""Of an axis of batches, before 1."""
ROOM = 0.09
"""Of an axis, beyond its values at both ends."""
LEAST = {"column": 2.75, "page": 4.1, "slide": 4.1}
"""Height of the sheet where labels need no more [inch at column text]."""
EACH = 0.1
"""Of this height, for each line beyond a few, in a column [inch at column text]."""
ONE_LINE = 30
"""Letters that a label may have in a line beside a wide figure."""
FEW = 4
"""So many lines at most have knees that are named in any case; where there are more, those for which there is room."""
NEAR, FAR = (0.45, 0.7, 1.0), (1.5, 2.1, 2.8, 3.6)
"""Between a point and its number [sizes of the text]; from afar a leader goes to it."""
DIRECTIONS: tuple[tuple[float, float], ...] = ((1, 0.6), (-1, -0.6), (1, -0.6), (-1, 0.6), (0, 1), (0, -1), (1, 0), (-1, 0))
"""From a point to its number, the best first."""
RASTER = 3
"""Lines are known to numbers by squares of so many pixels."""


# -- lines --------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Served:
    """One line: a model on a rig, decoding at every batch."""

    model: ModelSpec
    rig: Rig
    plan: Plan
    found: Curve

    @property
    def cells(self) -> dict[str, Cell]:
        """What names it in a table."""
        return {"model": self.model.id, "name": self.model.name, "rig": self.rig.name, "plan": self.plan.line}

    @property
    def label(self) -> str:
        return f"{self.model.name} on {self.rig.name}"

    def marks(self, point: Point) -> str:
        """What stands at a batch: knee, largest, both or nothing."""
        places = ((KNEE, self.found.knee), (LARGEST, self.found.largest_batch))
        return ", ".join(word for word, batch in places if batch == point.batch)


def served(request: Request, figure: str) -> tuple[tuple[Served, ...], tuple[str, ...]]:
    """The lines of a figure over batch, and what its caption says of them.

    Raises:
        ScenarioError: no device, a prefill, several contexts, too many lines, or not one that fits.
    """
    if not request.rigs:
        raise ScenarioError(f"{figure} needs a device", "--on h100-sxm, --on 8xh100-sxm")
    if request.scenario.phase != "decode":
        raise ScenarioError(f"{figure} shows decode steps, not a prefill", "leave out --phase")
    if request.contexts:
        raise ScenarioError(f"{figure} shows one context, not several", "-c 128K")
    count = len(request.models) * len(request.rigs)
    if count > MOST_LINES:
        raise ScenarioError(
            f"{count} lines, of each model on each device, are too many", f"at most {MOST_LINES}; make several figures"
        )
    scenario = replace(request.scenario, batch=1, steady=True)
    lines = [_line(model, rig, scenario) for model in request.models for rig in request.rigs]
    if len({(line.model.id, line.rig.name) for line, _ in lines}) < count:
        raise ScenarioError("a device is named twice", "name each once with --on")
    drawn = tuple(line for line, _ in lines if line.found.largest_batch is not None or not line.found.fits_known)
    too_large = [line.label for line, _ in lines if line not in drawn]
    if not drawn:
        raise ScenarioError(
            f"not one sequence of {tokens(scenario.context)} fits: {', '.join(too_large)}",
            f"see kvcalc fit {request.models[0].id}",
        )
    unknown = dict.fromkeys(line.rig.name for line in drawn if not line.found.fits_known)
    beyond = [
        f"{line.label} (batch {line.found.knee:,})" for line in drawn if _beyond(line.found) and line.found.knee is not None
    ]
    several = [line for line in drawn if line.plan.devices > 1]
    says = (
        *((f"Has no line, as not one sequence fits: {', '.join(too_large)}",) if too_large else ()),
        *((f"What fits is not known, so lines end where the labelled memory does: {', '.join(unknown)}",) if unknown else ()),
        *((f"The knee lies beyond what fits: {', '.join(beyond)}",) if beyond and figure == "throughput" else ()),
        *((f"Plans: {'; '.join(f'{line.label}: {line.plan.line}' for line in several)}",) if several else ()),
        *dict.fromkeys(note for _, notes in lines for note in notes),
    )
    return drawn, says


def _beyond(found: Curve) -> bool:
    return found.knee is not None and found.knee > found.points[-1].batch


def _line(model: ModelSpec, rig: Rig, scenario: Scenario) -> tuple[Served, tuple[str, ...]]:
    plan = rig.plan if rig.plan is not None else plan_of(model, scenario, rig.device, rig.count)
    book = ledger(model, scenario)
    verdict = answer(book, rig.device, rig.count, plan)
    _ = verdict.bound  # refuses a device of whose time nothing is known
    return Served(model, rig, plan, curve(model, scenario, rig.device, plan)), (*book.notes, *verdict.notes)


# -- the figure ---------------------------------------------------------------------------------------------------------------------


def drawing(request: Request) -> Drawing:
    """Both speeds at every batch: powers of two, the knee, and the largest batch that fits."""
    lines, said = served(request, "throughput")
    rows = tuple(_row(line, point) for line in lines for point in line.found.points)
    longest = max(point.tpot_seconds for line in lines for point in line.found.points)
    columns = (
        text_column("model", "model"),
        text_column("rig", "on"),
        text_column("plan", "plan"),
        count_column("batch", "batch"),
        time_column("tpot_seconds", "TPOT", longest),
        Column("tokens_per_second_per_user", "user [tok/s]", significant),
        Column("tokens_per_second_per_device", "device [tok/s]", significant),
        Column("tokens_per_second", "all [tok/s]", significant),
        text_column("bound_by", "bound by"),
        text_column("mark", ""),
    )
    context = tokens(request.scenario.context)
    title = f"Throughput against speed for each user at {context}"
    says = (
        f"Decode at a context of {context}, mean step; each line runs from a batch of one (lower right) to the largest that fits",
        "Points at powers of two; ring: the knee, from which on a batch has half the throughput of an unlimited one; square: the largest "
        "batch that fits; numbers: batch",
        "Bounds at peak rates, which no machine beats",
        *said,
    )
    table = Table(columns, rows, title=title, more=("name",))
    return Drawing(title, table, lambda canvas: _draw(canvas, request, table), says, ("batch",))


def _row(line: Served, point: Point) -> dict[str, Cell]:
    return {
        **line.cells,
        "batch": point.batch,
        "tpot_seconds": point.tpot_seconds,
        "tokens_per_second_per_user": 1 / point.tpot_seconds,
        "tokens_per_second_per_device": point.tokens_per_second_per_device,
        "tokens_per_second": point.tokens_per_second,
        "bound_by": point.bound.bound_by.partition(",")[0],
        "mark": line.marks(point),
    }


def _draw(canvas: Canvas, request: Request, table: Table) -> None:
    sheet = Sheet(canvas, request, table)
    axes = sheet.axes
    xs, ys = ("tokens_per_second_per_user", "tokens_per_second_per_device")
    span(canvas, axes, "x", [real(row[xs]) for row in table.rows], "tokens/s per user")
    span(canvas, axes, "y", [real(row[ys]) for row in table.rows], "tokens/s per device")
    for line in sheet.lines:
        line.plot(axes, [(real(row[xs]), real(row[ys])) for row in line.rows], canvas)
    sheet.key([("batch", "dots"), ("knee", "ring"), ("largest that fits", "square")])
    ones = [(line.found[0][0], line.found[1][0]) for line in sheet.lines]
    labels = end_labels(canvas, axes, [End(x, y, line.text, line.colour) for line, (x, y) in zip(sheet.lines, ones, strict=True)])
    beside = Beside(canvas, axes, list(zip(labels, ones, strict=True)))
    few = len(sheet.lines) <= FEW
    for kind in (KNEE, LARGEST):
        for line in sheet.lines:
            for row, at in line.places(kind):
                number = plain(real(row["batch"]))
                words = [f"{KNEE} {number}", number] if kind == KNEE else [number]
                beside.write(words, at, line.colour, far=few, must=few and kind == KNEE)
    for line in sheet.lines if few or canvas.style.width != "column" else ():
        for row, at in line.places(""):
            if row["batch"] in sheet.written:
                beside.write([plain(real(row["batch"]))], at, line.colour)


# -- what figures over batch share --------------------------------------------------------------------------------------------------


def real(value: Cell) -> float:
    """A cell that holds a number. Raises TypeError for another."""
    if not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    return float(value)


@dataclass
class Line:
    """A model on a rig as drawn: its rows, its look, and the label at its end."""

    rows: list[dict[str, Cell]]
    text: str
    colour: str
    dash: Any
    marker: str
    found: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())

    @property
    def dots(self) -> list[int]:
        """Places of powers of two."""
        return [place for place, row in enumerate(self.rows) if _is_power(row["batch"])]

    @property
    def name(self) -> str:
        return f"{self.rows[0]['model']} on {self.rows[0]['rig']}"

    def plot(self, axes: Axes, points: Sequence[tuple[float, float]], canvas: Canvas, *, marked: bool = True) -> None:
        """The line with a point at every power of two, rings and squares where rows are marked."""
        self.found = (tuple(x for x, _ in points), tuple(y for _, y in points))
        scale, (x, y) = canvas.style.scale, self.found
        axes.plot(
            x,
            y,
            color=self.colour,
            linestyle=self.dash,
            marker=self.marker,
            markersize=DOT * scale,
            markevery=self.dots,
            label=self.name,
            zorder=3,
        )
        for kind, shape, size in ((KNEE, "o", RING), (LARGEST, "s", SQUARE)) if marked else ():
            here = [place for _, place in self.places(kind)]
            if here:
                axes.plot(
                    *zip(*here, strict=True),
                    **_hollow(shape, size * scale, self.colour, 0.9 * scale),
                    label=f"{self.name}: {kind}",
                    zorder=4,
                )

    def places(self, kind: str) -> list[tuple[dict[str, Cell], tuple[float, float]]]:
        """Rows that have a mark, or none, and where they stand."""
        points = list(zip(*self.found, strict=True))
        return [
            (row, at)
            for row, at in zip(self.rows, points, strict=True)
            if (kind in str(row["mark"]).split(", ") if kind else not row["mark"])
        ]


def _is_power(batch: Cell) -> bool:
    return isinstance(batch, int) and batch & (batch - 1) == 0


def _hollow(shape: str, size: float, colour: str, width: float) -> dict[str, Any]:
    return {
        "marker": shape,
        "markersize": size,
        "markerfacecolor": "none",
        "markeredgecolor": colour,
        "markeredgewidth": width,
        "linestyle": "none",
    }


class Sheet:
    """Axes of the right height, the lines that stand on them, and a key above."""

    written = (1, 4, 16, 64, 256, 1 << 10, 1 << 12, 1 << 14)
    """Batches that are written beside their points where there is room."""

    def __init__(self, canvas: Canvas, request: Request, table: Table) -> None:
        self.canvas, self.request = canvas, request
        self.lines = self._lines(table)
        more = max(len(self.lines) - FEW, 0) * EACH if canvas.style.width == "column" else 0.0
        canvas.height(LEAST[canvas.style.width] + more)
        (self.axes,) = canvas.axes()
        self.axes.grid(axis="x")

    def _lines(self, table: Table) -> list[Line]:
        """One line for each model on each rig. Colour and dash are the model's, the marker the rig's; of one model, the colour too."""
        models, rigs = self.request.models, self.request.rigs
        look = looks(models, self.canvas.style)
        by_name: dict[tuple[Cell, Cell], list[dict[str, Cell]]] = {}
        for row in table.rows:
            by_name.setdefault((row["model"], row["rig"]), []).append(row)
        places = {rig.name: place for place, rig in enumerate(rigs)}
        made = []
        for (model, rig), rows in by_name.items():
            place = places[str(rig)]
            own = look[str(model)]
            alone = len(models) == 1 and len(rigs) > 1
            made.append(
                Line(
                    rows,
                    self._names(str(rows[0]["name"]), str(rig)),
                    PALETTE[place % len(PALETTE)] if alone else own.colour,
                    "solid" if alone else own.dash,
                    MARKERS[place % len(MARKERS)],
                )
            )
        return made

    def _names(self, model: str, rig: str) -> str:
        """What tells a line from the others: its model, its rig, or both, in one line or two."""
        models, rigs = len(self.request.models) > 1, len(self.request.rigs) > 1
        if not (models and rigs):
            return rig if rigs else model
        one = f"{model} · {rig}"
        return one if self.canvas.style.width != "column" and len(one) <= ONE_LINE else f"{model}\n{rig}"

    @property
    def heading(self) -> str:
        """What all lines share."""
        models, rigs = self.request.models, self.request.rigs
        shared = [
            *([models[0].name] if len(models) == 1 and len(rigs) > 1 else []),
            *([rigs[0].name] if len(rigs) == 1 else []),
            f"context {tokens(self.request.scenario.context)}",
        ]
        return " · ".join(shared)

    def key(self, marks: Iterable[tuple[str, Literal["dots", "ring", "square", "line", "pale"]]]) -> None:
        """Above the axes: what all lines share, and what the marks mean."""
        style = self.canvas.style
        scale, ink = style.scale, style.ink
        shapes: dict[str, dict[str, Any]] = {
            "dots": {"marker": "o", "markersize": DOT * scale, "linewidth": 0.8 * scale},
            "ring": _hollow("o", RING * scale, ink, 0.9 * scale),
            "square": _hollow("s", SQUARE * scale, ink, 0.9 * scale),
            "line": {"linewidth": 1.4 * scale},
            "pale": {"linewidth": 0.8 * scale, "alpha": PALE},
        }
        handles = [Line2D([], [], color=ink, label=words, **shapes[shape]) for words, shape in marks]
        made = self.canvas.figure.legend(
            handles=handles,
            title=self.heading,
            loc="outside upper left",
            ncols=len(handles),
            frameon=False,
            alignment="left",
            handlelength=1.3,
            handletextpad=0.4,
            columnspacing=1.0,
            borderpad=0.2,
            borderaxespad=0.2,
        )
        made.get_title().set_fontsize(style.points)


PALE = 0.55
"""Opacity of a line that only says how low it could be."""


def span(canvas: Canvas, axes: Axes, along: Literal["x", "y"], values: Sequence[float], label: str) -> None:
    """An axis over some values, with room at both ends: logarithmic where they are wide, from 0 where they are not."""
    low, high = min(values), max(values)
    axis = axes.xaxis if along == "x" else axes.yaxis
    limits = axes.set_xlim if along == "x" else axes.set_ylim
    (axes.set_xlabel if along == "x" else axes.set_ylabel)(label)
    if high > STEEP * low:
        (axes.set_xscale if along == "x" else axes.set_yscale)("log")
        room = (high / low) ** ROOM
        low, high = low / room, high * room
        limits(low, high)
        axis.set_major_locator(FixedLocator(_ticks(low, high, DECADES[along][canvas.style.width])))
        axis.set_minor_locator(NullLocator())
    else:
        limits(0, high * (1 + ROOM))
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))


def batch_axis(canvas: Canvas, axes: Axes, largest: float) -> None:
    """x: a log2 axis of batches from 1, with a tick at every power of two, of four ... so that there are few."""
    axes.set_xscale("log", base=2)
    largest = max(largest, 2)
    axes.set_xlim(largest**-INSET, largest ** (1 + INSET / 4))
    powers = round(largest).bit_length() - 1
    step = -(-powers // MOST_TICKS[canvas.style.width])
    axes.xaxis.set_major_locator(FixedLocator([1 << power for power in range(0, powers + 1, step)]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("batch")


def _ticks(low: float, high: float, decades: float) -> list[float]:
    """Powers of ten, with 2 and 5 of each where there are few."""
    found, power = [], 1.0
    while power > low:
        power /= 10
    while power <= high:
        found += [power * step for step in STEPS]
        power *= 10
    inside = [tick for tick in found if low <= tick <= high]
    tens = [tick for tick in found[:: len(STEPS)] if low <= tick <= high]
    return inside if log10(high / low) <= decades or len(tens) < 2 else tens[:: 1 + (len(tens) > MOST_TENS)]


class Beside:
    """Numbers beside points, where they touch no other text and, if it can be, no line."""

    def __init__(self, canvas: Canvas, axes: Axes, ends: Sequence[tuple[Annotation, tuple[float, float]]]) -> None:
        self.canvas, self.axes = canvas, axes
        self.renderer = measured(canvas)
        self.box = axes.get_window_extent(self.renderer)
        self.taken: list[Bbox] = []
        self.ink: set[tuple[int, int]] = set()
        """Squares of the sheet through which lines go."""
        self.pixel = canvas.figure.dpi / 72
        """Of a point of type."""
        for line in axes.lines:
            points: Any = line.get_xydata()
            corners = [self._place(*point) for point in points]
            self._draw(_frame(corners, line, self.pixel) if str(line.get_linestyle()) == "None" else corners)
        for label, (x, y) in ends:
            box = label.get_window_extent(self.renderer)
            self._draw([self._place(x, y), (box.x0, (box.y0 + box.y1) / 2)])

    def write(self, words: Sequence[str], at: tuple[float, float], colour: str, *, far: bool = False, must: bool = False) -> None:
        """The first of some words for which there is room near a point; `far`: or, with a leader, further away.

        `must`: one of them in any case that has room between other texts, across as little of lines as can be.
        """
        best: tuple[int, str, tuple[float, float], float, Bbox] | None = None
        sizes = {text: self._size(text) for text in words}
        tried = [(text, away) for text in words for away in NEAR] + [(text, away) for away in FAR for text in words if far]
        for text, away in tried:
            for direction in DIRECTIONS:
                box = self._box(sizes[text], at, direction, away)
                hits = self._hits(box)
                if hits is not None and (hits == 0 or must) and (best is None or hits < best[0]):
                    best = (hits, text, direction, away, box)
            if best is not None and best[0] == 0:
                break
        if best is not None:
            hits, text, direction, away, box = best
            self._annotate(text, at, direction, away, colour, across=hits > 0)
            self.taken.append(box)
            if away in FAR:
                self._draw([self._place(*at), ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)])

    def _place(self, x: float, y: float) -> tuple[float, float]:
        at = self.axes.transData.transform((x, y))
        return float(at[0]), float(at[1])

    def _draw(self, corners: Sequence[tuple[float, float]]) -> None:
        for (x0, y0), (x1, y1) in pairwise(corners):
            steps = max(int(max(abs(x1 - x0), abs(y1 - y0)) / RASTER), 1)
            for step in range(steps + 1):
                part = step / steps
                self.ink.add((int((x0 + (x1 - x0) * part) // RASTER), int((y0 + (y1 - y0) * part) // RASTER)))

    def _size(self, text: str) -> tuple[float, float]:
        """Width and height of a text [pixel]."""
        made = self.axes.annotate(text, xy=(0, 0), xycoords="axes fraction")
        box = made.get_window_extent(self.renderer)
        made.remove()
        return float(box.width), float(box.height)

    def _offset(self, direction: tuple[float, float], away: float) -> tuple[float, float]:
        """From a point to the near edge of its number [pt]."""
        points = self.canvas.style.points * away
        return direction[0] * points, direction[1] * points

    def _box(self, size: tuple[float, float], at: tuple[float, float], direction: tuple[float, float], away: float) -> Bbox:
        width, height = size
        x, y = self._place(*at)
        across, up = self._offset(direction, away)
        left = x + across * self.pixel - width * _behind(direction[0])
        low = y + up * self.pixel - height * _behind(direction[1])
        return Bbox.from_bounds(left, low, width, height)

    def _hits(self, box: Bbox) -> int | None:
        """Squares of lines under a box; None where it leaves the axes or touches a text."""
        inside = self.box.x0 < box.x0 and box.x1 < self.box.x1 and self.box.y0 < box.y0 and box.y1 < self.box.y1
        air = self.canvas.style.points * self.pixel / 6
        wide = box.padded(air)
        if not inside or any(wide.overlaps(other) for other in self.taken):
            return None
        columns, rows = (
            range(int(low // RASTER), int(high // RASTER) + 1) for low, high in ((wide.x0, wide.x1), (box.y0, box.y1))
        )
        return sum((column, row) in self.ink for column in columns for row in rows)

    def _annotate(
        self, text: str, at: tuple[float, float], direction: tuple[float, float], away: float, colour: str, *, across: bool
    ) -> None:
        leader = {
            "arrowstyle": "-",
            "color": colour,
            "linewidth": 0.5 * self.canvas.style.scale,
            "alpha": 0.7,
            "shrinkA": 0,
            "shrinkB": 0,
        }
        made = self.axes.annotate(
            text,
            xy=at,
            xytext=self._offset(direction, away),
            textcoords="offset points",
            ha=("right", "center", "left")[_sign(direction[0]) + 1],
            va=("top", "center", "bottom")[_sign(direction[1]) + 1],
            color=colour,
            zorder=5,
            arrowprops=leader if away in FAR else None,
        )
        made.set_in_layout(False)
        if across:
            made.set_bbox({"facecolor": self.canvas.style.paper, "edgecolor": "none", "pad": 0.5, "alpha": 0.8})


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def _behind(direction: float) -> float:
    """The part of a text that lies left of, or below, where it is tied."""
    return (1.0, 0.5, 0.0)[_sign(direction) + 1]


def _frame(places: Sequence[tuple[float, float]], line: Line2D, pixel: float) -> list[tuple[float, float]]:
    """The square around each mark."""
    half = float(line.get_markersize()) / 2 * pixel
    around = ((-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1))
    return [(x + across * half, y + up * half) for x, y in places for across, up in around]
