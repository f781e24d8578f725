"""Which roof stops each piece of a model: arithmetic intensity against the FLOP/s that a device lets it reach, at most.

Above: the roofs of the device, and every piece on the roof that it meets. Memory-bound pieces all stand on one slope, so below each of
them has a lane of its own on the same axis of intensity: its batches as growing dots on a path, with the ridges running through.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor, log10

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from kvcalc.errors import ScenarioError
from kvcalc.ledger import Entry, ledger
from kvcalc.report.figures import Drawing, Request, Rig
from kvcalc.report.figures._labels import End, end_labels, measured, spread, thin_ticks
from kvcalc.report.figures._style import Canvas, looks, piece_colours, plain
from kvcalc.report.table import Cell, Column, Table, count_column, text_column
from kvcalc.roofline import bound
from kvcalc.spec import ModelSpec
from kvcalc.units import bytes_text, scaled, significant, tokens

ABOUT = "roofs of a device, and the pieces of a model under them at batches of 1, 8 and 64 (needs --on)"

BATCHES = (1, 8, 64)
WHOLE = "whole model"
ROOF = "roof"
LEAST_INTENSITY = Fraction(1, 20)
"""What does less is left to the table: it would stretch the axis."""
ROOFS, LANE, AROUND = 1.75, 0.165, 0.95
"""Heights of the upper panel, of a lane, and of what stands around them [inch at column text]."""
DOTS = (0.3, 0.48, 0.7)
"""Sizes of the batches' dots [sizes of the text]."""
WIDER = 1.25
"""The whole model's over a piece's."""
PAD = 0.4
"""Between ridges' numbers [sizes of the text]."""
SOURCE = "https://jax-ml.github.io/scaling-book/roofline/"


def drawing(request: Request) -> Drawing:
    """Roofs of the device; pieces of the models at three batches, each with its FLOPs, bytes, intensity and attainable FLOP/s."""
    if not request.rigs:
        raise ScenarioError("roofline needs a device", "--on h100-sxm")
    if len(request.rigs) > 1:
        raise ScenarioError(f"roofline shows one device, not {len(request.rigs)}", "make several figures")
    if request.contexts:
        raise ScenarioError("roofline shows one context, not several", "-c 128K")
    (rig,) = request.rigs
    roofs = _roofs(rig)
    if not roofs:
        raise ScenarioError(f"{rig.device.id} has no published peak, so it has no roof", f"see kvcalc explain {rig.device.id}")
    points = [row for model in request.models for row in _points(model, request, rig)]
    columns = (
        text_column("model", "model"),
        text_column("piece", "piece"),
        count_column("batch", "batch"),
        Column("flops", "work", lambda value: scaled(value, "FLOP")),
        Column("moved_bytes", "traffic", bytes_text),
        Column("intensity", "intensity [FLOP/B]", significant),
        Column("attainable", "attainable", lambda value: scaled(value, "FLOP/s")),
        text_column("bound_by", "bound by"),
    )
    context = tokens(request.scenario.context)
    title = f"Roofline of {rig.device.name} at {context}: lower bounds of time"
    table = Table(columns, (*roofs, *points), title=title, more=("name",))
    left_out = [str(row["piece"]) for row in points if row["piece"] != WHOLE and not _has_place(row)]
    several = len(request.models) > 1
    says = (
        f"Arithmetic intensity is the ratio of the FLOPs that a piece performs to the bytes that it moves, in a {request.scenario.phase} "
        f"step at {context}; the roofs are the device's peak FLOPs/s and its memory bandwidth times the intensity, both on log10 axes",
        f"Time is lower-bounded by the maximum of computation and communication time ({SOURCE}): what stands under a roof is the most "
        "that can be reached, never what is",
        "Left of its ridge, the device's peak arithmetic intensity, a product is communication-bound (memory), right of it compute-bound",
        "Dots grow with the batch: 1, 8 and 64",
        *(("Several models: each as a whole; their pieces are in the data",) if several else ()),
        *((f"Too little work for a place on these axes: {', '.join(dict.fromkeys(left_out))}",) if left_out and not several else ()),
        *((f"{rig.count:,} devices as one: nothing copied, and no time on the links",) if rig.count > 1 else ()),
        *_unknown(points, rig),
        *_beyond(request.models, request.scenario.context),
    )
    return Drawing(title, table, lambda canvas: _draw(canvas, request, table), says, ("batch",))


def _roofs(rig: Rig) -> list[dict[str, Cell]]:
    """A row for each height of roof, slowest first: its arithmetics, and at which intensity its ridge stands."""
    heights: dict[Fraction, list[str]] = {}
    for name in rig.device.peak:
        peak = rig.device.rate(name)
        if peak is not None:
            heights.setdefault(peak.per_s * rig.count, []).append(name)
    slope = rig.device.bandwidth_bytes_per_s * rig.count
    return [
        {
            "model": rig.name,
            "name": rig.device.name,
            "piece": f"{ROOF} of {', '.join(names)}",
            "batch": None,
            "flops": None,
            "moved_bytes": None,
            "intensity": float(height / slope),
            "attainable": float(height),
            "bound_by": "ridge",
        }
        for height, names in sorted(heights.items())
    ]


def _points(model: ModelSpec, request: Request, rig: Rig) -> list[dict[str, Cell]]:
    """The whole model and each of its pieces, each at every batch."""
    found: dict[str, list[dict[str, Cell]]] = {WHOLE: []}
    for batch in BATCHES:
        book = ledger(model, replace(request.scenario, batch=batch))
        found[WHOLE].append(_point(model, WHOLE, batch, book.entries, rig))
        for piece, entries in book.by("piece").items():
            found.setdefault(piece, []).append(_point(model, piece, batch, entries, rig))
    return [row for rows in found.values() for row in rows]


def _point(model: ModelSpec, piece: str, batch: int, entries: Iterable[Entry], rig: Rig) -> dict[str, Cell]:
    edge = bound(entries, rig.device, rig.count)
    return {
        "model": model.id,
        "name": model.name,
        "piece": piece,
        "batch": batch,
        "flops": edge.flops,
        "moved_bytes": edge.bytes,
        "intensity": edge.intensity,
        "attainable": edge.flops / edge.lower if edge.lower else 0.0,
        "bound_by": edge.bound_by if edge.flops else "memory",
    }


def _unknown(points: Sequence[dict[str, Cell]], rig: Rig) -> list[str]:
    known = {"memory", "compute"}
    pieces = dict.fromkeys(str(row["piece"]) for row in points if row["bound_by"] not in known)
    return [f"{rig.device.id}: the peak for some products of {', '.join(pieces)} is not known; memory alone bounds them"] if pieces else []


def _beyond(models: Sequence[ModelSpec], context: int) -> list[str]:
    names = [model.name for model in models if context > model.max_context]
    return [f"Beyond the longest context of {', '.join(names)}: arithmetic only"] if names else []


def _float(value: Cell) -> float:
    """A cell that holds a ratio or a rate."""
    if not isinstance(value, int | float | Fraction):
        raise TypeError(f"{value!r} is not a number")
    return float(value)


def _has_place(row: dict[str, Cell]) -> bool:
    """Whether a row of a piece has enough work to stand on the axes."""
    return _float(row["intensity"]) >= LEAST_INTENSITY


# -- drawing ------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Path:
    """One lane: a piece, or a whole model, at every batch."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    colour: str
    whole: bool


def _paths(canvas: Canvas, request: Request, table: Table) -> list[_Path]:
    """What is drawn of the table: the pieces of one model, or several models whole."""
    several = len(request.models) > 1
    look = looks(request.models, canvas.style)
    lanes: dict[tuple[str, str], list[dict[str, Cell]]] = {}
    for row in table.rows:
        if row["batch"] is not None and _has_place(row) and (not several or row["piece"] == WHOLE):
            lanes.setdefault((str(row["model"]), str(row["piece"])), []).append(row)
    colours = piece_colours(piece for _, piece in lanes if piece != WHOLE)
    return [
        _Path(
            str(rows[0]["name"]) if several else piece,
            tuple(_float(row["intensity"]) for row in rows),
            tuple(_float(row["attainable"]) for row in rows),
            look[model].colour if several else colours.get(piece, canvas.style.ink),
            piece == WHOLE,
        )
        for (model, piece), rows in lanes.items()
    ]


def _draw(canvas: Canvas, request: Request, table: Table) -> None:
    paths = _paths(canvas, request, table)
    roofs = [row for row in table.rows if row["batch"] is None]
    heights = [ROOFS, LANE * (len(paths) + 1)]
    canvas.height(sum(heights) + AROUND)
    upper, lower = canvas.axes(2, 1, height_ratios=heights, sharex=True)
    _intensity_axis(upper, lower, paths, roofs)
    _roof_lines(upper, lower, roofs, canvas)
    _on_the_roof(upper, paths, canvas)
    _lanes(lower, paths, canvas)
    named = canvas.style.width == "column"
    ends = [
        End(None, _float(row["attainable"]), _arithmetics(row) if named else f"{_arithmetics(row)} · {_rate(row)}", canvas.style.ink)
        for row in roofs
    ]
    end_labels(canvas, upper, ends)
    _ridges(upper, roofs, canvas)
    thin_ticks(canvas, lower)


def _arithmetics(row: dict[str, Cell]) -> str:
    return str(row["piece"]).removeprefix(f"{ROOF} of ")


def _rate(row: dict[str, Cell]) -> str:
    return scaled(_float(row["attainable"]), "FLOP/s")


def _intensity_axis(upper: Axes, lower: Axes, paths: Sequence[_Path], roofs: Sequence[dict[str, Cell]]) -> None:
    """x: log10 of the intensity, with the ridges in it; y: log10 of FLOP/s."""
    ridges = [_float(row["intensity"]) for row in roofs]
    tops = [_float(row["attainable"]) for row in roofs]
    slope = tops[0] / ridges[0]
    xs = [x for path in paths for x in path.x]
    low, high = _decades(min([*xs, *ridges]) / 1.5, 2.5 * max([*xs, *ridges]))
    first, last = _decades(min([slope * low, *(y for path in paths for y in path.y)]), 1.6 * max(tops))
    upper.set_xscale("log", base=10)
    upper.set_yscale("log", base=10)
    upper.set_xlim(low, high)
    upper.set_ylim(first, last)
    lower.xaxis.set_major_locator(FixedLocator(_powers(low, high)))
    lower.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    upper.yaxis.set_major_locator(FixedLocator(_powers(first, last)))
    upper.yaxis.set_major_formatter(FuncFormatter(lambda value, _: scaled(value, "FLOP/s", 1)))
    for axis in (lower.xaxis, upper.yaxis):
        axis.set_minor_locator(NullLocator())
    lower.set_xlabel("intensity [FLOP/B]")


def _decades(low: float, high: float) -> tuple[float, float]:
    """Limits around two values: a power of ten, or a third or half way to it."""
    steps = (1.0, 2.0, 5.0, 10.0)
    under, over = 10.0 ** floor(log10(low)), 10.0 ** floor(log10(high))
    return max(step * under for step in steps if step * under <= low), min(step * over for step in steps if step * over >= high)


def _powers(low: float, high: float) -> list[float]:
    """Powers of ten between two limits."""
    return [10.0**power for power in range(ceil(log10(low)), floor(log10(high)) + 1)]


def _roof_lines(upper: Axes, lower: Axes, roofs: Sequence[dict[str, Cell]], canvas: Canvas) -> None:
    """One slope for all, one roof for each height, and a thin line down through the lanes at each ridge."""
    style = canvas.style
    left, right = upper.get_xlim()
    for row in roofs:
        ridge, top = _float(row["intensity"]), _float(row["attainable"])
        upper.plot(
            [left, ridge, right],
            [top * left / ridge, top, top],
            color=style.ink,
            linewidth=0.9 * style.scale,
            label=str(row["piece"]),
            zorder=2,
        )
        for axes in (upper, lower):
            axes.axvline(ridge, color=style.faint, linewidth=0.6 * style.scale, linestyle=(0, (2, 2)), zorder=1)


def _on_the_roof(axes: Axes, paths: Sequence[_Path], canvas: Canvas) -> None:
    """Every piece where it meets its roof; the whole model above all others."""
    for path in paths:
        _dots(axes, path, path.y, canvas)


def _dots(axes: Axes, path: _Path, y: Sequence[float], canvas: Canvas) -> None:
    """A dot for each batch, the smaller ones above the larger."""
    sizes = [(WIDER if path.whole else 1) * size * canvas.style.points for size in DOTS]
    for place, (x, at, size) in enumerate(zip(path.x, y, sizes, strict=True)):
        axes.plot(
            [x],
            [at],
            linestyle="none",
            marker="D" if path.whole else "o",
            markersize=size,
            color=path.colour,
            markeredgecolor=canvas.style.paper,
            markeredgewidth=0.5 * canvas.style.scale,
            zorder=3 + path.whole + 0.9 - place / len(sizes),
            label=path.name,
        )


def _lanes(axes: Axes, paths: Sequence[_Path], canvas: Canvas) -> None:
    """A lane for each path, under the first of which the dots of the batches are told apart."""
    style = canvas.style
    for lane, path in enumerate(paths, start=1):
        axes.plot(path.x, [lane] * len(path.x), color=path.colour, linewidth=0.8 * style.scale, label=path.name)
        _dots(axes, path, [lane] * len(path.x), canvas)
    axes.set_yticks([0, *range(1, len(paths) + 1)], ["batch", *(path.name for path in paths)])
    for label, path in zip(axes.get_yticklabels()[1:], paths, strict=True):
        label.set_fontweight("bold" if path.whole else "normal")
    axes.set_ylim(len(paths) + 0.6, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    sizes = [size * style.points for size in DOTS]
    for place, (batch, size) in enumerate(zip(BATCHES, sizes, strict=True)):
        at = 0.05 + 0.18 * place
        axes.plot([at], [0], marker="o", markersize=size, color=style.faint, transform=axes.get_yaxis_transform())
        axes.annotate(
            f"{batch}",
            (at, 0),
            xycoords=axes.get_yaxis_transform(),
            xytext=(0.6 * style.points, 0),
            textcoords="offset points",
            va="center_baseline",
            color=style.ink,
        )


def _ridges(axes: Axes, roofs: Sequence[dict[str, Cell]], canvas: Canvas) -> None:
    """The intensity of each ridge above the axes, moved apart where they would touch."""
    style = canvas.style
    values = [_float(row["intensity"]) for row in roofs]
    texts = [
        axes.annotate(
            significant(value),
            (value, 1.0),
            xycoords=axes.get_xaxis_transform(),
            xytext=(0, 0.3 * style.points),
            textcoords="offset points",
            ha="center",
            va="bottom",
            annotation_clip=False,
        )
        for value in values
    ]
    head = axes.annotate(
        "ridge [FLOP/B]",
        (0, 1.0),
        xycoords="axes fraction",
        xytext=(-0.5 * style.points, 0.3 * style.points),
        textcoords="offset points",
        ha="right",
        va="bottom",
        annotation_clip=False,
    )
    head.set_in_layout(True)
    renderer = measured(canvas)
    box = axes.get_window_extent(renderer)
    wanted = [float(axes.transData.transform((value, axes.get_ylim()[1]))[0]) for value in values]
    pad = PAD * style.points * canvas.figure.dpi / 72
    widths = [text.get_window_extent(renderer).width + pad for text in texts]
    for text, at, to in zip(texts, wanted, spread(wanted, widths, box.x0, box.x1 + widths[-1]), strict=True):
        text.set_position(((to - at) * 72 / canvas.figure.dpi, 0.3 * style.points))
