"""Labels at the ends of lines, in their colours, instead of a legend. They are moved apart until none touches another."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.text import Annotation

from kvcalc.report.figures._style import Canvas

GAP = 5.0
"""Between the axes and the labels [pt]."""
AIR = 1.15
"""Height that a label takes over that of its text."""
NEAR = 0.02
"""A line that ends within this part of the axis' end needs no leader across."""
APART = 0.6
"""Between the names of two ticks, over the size of the text."""
MOVED = 0.75
"""A label moved by more than this part of its height gets a leader to its line."""


@dataclass(frozen=True)
class End:
    """Where a line ends, and what stands there. `x` is None for what crosses the whole axes (a capacity)."""

    x: float | None
    y: float
    text: str
    colour: str


def end_text(canvas: Canvas, name: str, value: str) -> str:
    """A name with its last value; a column of an article has room for the name alone."""
    return name if canvas.style.width == "column" else f"{name} · {value}"


def end_labels(canvas: Canvas, axes: Axes, ends: Sequence[End]) -> list[Annotation]:
    """Labels right of the axes, at the height of their lines' ends where there is room, else as near as there is, with a thin leader.

    Call it when everything else is drawn and limits are set. The texts count in the layout, so that none is clipped. On a log axis an
    end below the axis (nothing at all) stands at its bottom.
    """
    low = axes.get_ylim()[0]
    ends = [End(end.x, max(end.y, low), end.text, end.colour) for end in ends]
    made = [
        axes.annotate(
            end.text,
            xy=(1.0, end.y),
            xycoords=("axes fraction", "data"),
            xytext=(GAP, 0),
            textcoords="offset points",
            va="center",
            ha="left",
            color=end.colour,
            annotation_clip=False,
        )
        for end in ends
    ]
    renderer = measured(canvas)
    heights = [label.get_window_extent(renderer).height * AIR for label in made]
    missing = sum(heights) - axes.get_window_extent(renderer).height
    if missing > 0:  # more labels than stand above each other: a higher sheet
        canvas.figure.set_figheight(canvas.figure.get_figheight() + missing / canvas.figure.dpi)
        renderer = measured(canvas)
    points = 72.0 / canvas.figure.dpi
    box = axes.get_window_extent(renderer)
    wanted = [float(axes.transData.transform((axes.get_xlim()[0], end.y))[1]) for end in ends]
    placed = spread(wanted, heights, box.y0, box.y1)
    for label, end, at, to, height in zip(made, ends, wanted, placed, heights, strict=True):
        shift = (to - at) * points
        label.set_position((GAP, shift))
        short = end.x is not None and end.x < axes.get_xlim()[1] * (1 - NEAR)
        if short or abs(to - at) > MOVED * height:
            edge = 1 + 0.7 * GAP / points / box.width
            axes.add_artist(_leader(end, (edge, (to - box.y0) / box.height), canvas))
    thin_ticks(canvas, axes)
    return made


def measured(canvas: Canvas) -> Any:
    """A renderer that measures, once everything has its place."""
    canvas.figure.draw_without_rendering()
    sheet: Any = canvas.figure.canvas
    return sheet.get_renderer()


def thin_ticks(canvas: Canvas, axes: Axes) -> None:
    """Take names from the ticks of x until none touches its neighbour; the last one stays."""
    renderer = measured(canvas)
    left = float("inf")
    for tick in reversed(axes.xaxis.get_major_ticks()):
        if not tick.label1.get_visible():
            continue
        box = tick.label1.get_window_extent(renderer)
        if box.width and box.x1 > left:
            tick.label1.set_visible(False)
        elif box.width:
            left = box.x0 - APART * canvas.style.points


def _leader(end: End, to: tuple[float, float], canvas: Canvas) -> Annotation:
    """A thin line from the end of a line to its label, in fractions of the axes."""
    return Annotation(
        "",
        xy=(1.0 if end.x is None else end.x, end.y),
        xycoords=("axes fraction" if end.x is None else "data", "data"),
        xytext=to,
        textcoords="axes fraction",
        annotation_clip=False,
        arrowprops={
            "arrowstyle": "-",
            "color": end.colour,
            "linewidth": 0.5 * canvas.style.scale,
            "alpha": 0.6,
            "shrinkA": 0,
            "shrinkB": 0,
        },
    )


def spread(wanted: Sequence[float], heights: Sequence[float], low: float, high: float) -> list[float]:
    """Centres as near as may be to the wanted ones (least squares), so that boxes of these heights do not overlap.

    Where boxes would overlap they are joined, and the joined block stands at the mean of what its members want (pool adjacent
    violators). Blocks stay between low and high if they fit there at all.
    """
    order = sorted(range(len(wanted)), key=lambda place: (wanted[place], place))
    blocks: list[tuple[list[int], float, float]] = []  # members from below, lower edge, height
    for place in order:
        members, height = [place], heights[place]
        edge = _inside(wanted[place] - height / 2, height, low, high)
        while blocks and blocks[-1][1] + blocks[-1][2] > edge:
            before, _, before_height = blocks.pop()
            members, height = before + members, before_height + height
            edge = _inside(_best_edge(members, wanted, heights), height, low, high)
        blocks.append((members, edge, height))
    placed = [0.0] * len(wanted)
    for members, edge, _ in blocks:
        for place in members:
            placed[place] = edge + heights[place] / 2
            edge += heights[place]
    return placed


def _best_edge(members: Sequence[int], wanted: Sequence[float], heights: Sequence[float]) -> float:
    """The lower edge of a block under which its members are, in the mean, where they want to be."""
    total, below = 0.0, 0.0
    for place in members:
        total += wanted[place] - (below + heights[place] / 2)
        below += heights[place]
    return total / len(members)


def _inside(edge: float, height: float, low: float, high: float) -> float:
    return max(min(edge, high - height), low)


def level(axes: Axes, y: float, canvas: Canvas) -> Line2D:
    """A thin dashed line across the axes: a capacity, a roof, a target."""
    return axes.axhline(y, color=canvas.style.faint, linewidth=0.7 * canvas.style.scale, linestyle=(0, (3, 2)), zorder=1)
