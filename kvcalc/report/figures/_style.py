"""Sizes, fonts and colours of figures; axes of tokens and bytes. Nothing here knows a model's numbers."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, floor, log2, log10
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from kvcalc.kind import kind_of
from kvcalc.spec import ModelSpec
from kvcalc.units import bytes_text, significant, tokens

Width = Literal["column", "page", "slide"]
SIZES: dict[str, tuple[float, float]] = {"column": (3.3, 8.0), "page": (6.8, 8.0), "slide": (13.3, 16.0)}
"""Width [inch] and size of text [pt]: a column and a page of an article, a slide of 16:9."""
ASPECT = 0.62

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#6B6B6B")
"""Okabe and Ito's colours, told apart by colour-blind eyes, without their yellow, which white paper swallows."""
HOME = {"deepseek": 0, "gemma": 1, "laguna": 2, "zaya": 3, "llama": 4, "qwen": 5, "kimi": 6, "gpt-oss": 7}
"""Families that always have the same colour; others take those that are free."""
DASHES: dict[str, Any] = {
    "gqa": "solid",
    "mla": (0, (5, 1.5)),
    "dsa": (0, (5, 1.5, 1, 1.5)),
    "csa_hca": (0, (2.5, 1.2)),
    "csa2": (0, (1, 1.2)),
    "cca": (0, (7, 1.5, 1, 1.5, 1, 1.5)),
    "gdn": (0, (3.5, 1, 1, 1, 1, 1)),
}
OTHER_DASH: Any = (0, (8, 2))
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "++++", "oooo", "----")
LINE_WIDTH = 1.4
FADE = 0.45
TICKS = {"pad": 3.5, "size": 3.0, "width": 0.6}
"""Of a tick at 8 pt [pt]."""


@dataclass(frozen=True)
class Style:
    """How a figure looks: its width, and light or dark paper."""

    width: Width = "column"
    dark: bool = False

    @property
    def inches(self) -> float:
        return SIZES[self.width][0]

    @property
    def points(self) -> float:
        """Size of text [pt]."""
        return SIZES[self.width][1]

    @property
    def scale(self) -> float:
        """Widths of lines and marks over those at 8 pt."""
        return self.points / SIZES["column"][1]

    @property
    def ink(self) -> str:
        return "#E8E8E8" if self.dark else "#1A1A1A"

    @property
    def paper(self) -> str:
        return "#14171A" if self.dark else "#FFFFFF"

    @property
    def faint(self) -> str:
        """Grid, leaders, capacity lines."""
        return "#8A9097" if self.dark else "#7A7A7A"

    @property
    def rc(self) -> dict[str, Any]:
        """matplotlib's settings for this style."""
        return {
            "font.family": "DejaVu Sans",
            "font.size": self.points,
            "axes.titlesize": self.points,
            "axes.labelsize": self.points,
            "xtick.labelsize": self.points,
            "ytick.labelsize": self.points,
            "legend.fontsize": self.points,
            "axes.linewidth": 0.6 * self.scale,
            **{f"{axis}tick.major.{what}": size * self.scale for axis in "xy" for what, size in TICKS.items()},
            "lines.linewidth": LINE_WIDTH * self.scale,
            "hatch.linewidth": 0.5 * self.scale,
            "grid.linewidth": 0.4 * self.scale,
            "grid.color": self.faint,
            "grid.alpha": 0.3,
            "axes.edgecolor": self.ink,
            "axes.labelcolor": self.ink,
            "text.color": self.ink,
            "xtick.color": self.ink,
            "ytick.color": self.ink,
            "axes.facecolor": self.paper,
            "figure.facecolor": self.paper,
            "savefig.facecolor": self.paper,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "svg.fonttype": "none",
            "svg.hashsalt": "kvcalc",
            "pdf.fonttype": 42,
            "pgf.rcfonts": False,
        }


@contextmanager
def styled(style: Style) -> Iterator[None]:
    """matplotlib under a style, and as it was afterwards."""
    settings: Any = style.rc
    with matplotlib.rc_context(settings):
        yield


@dataclass
class Canvas:
    """A sheet to draw on. Make one with `canvas`."""

    figure: Figure
    style: Style

    def axes(self, rows: int = 1, columns: int = 1, **kwargs: Any) -> list[Axes]:
        """Axes in reading order, with a light grid along y."""
        made = self.figure.subplots(rows, columns, squeeze=False, **kwargs)
        found = [axes for row in made for axes in row]
        for axes in found:
            axes.set_axisbelow(True)
            axes.grid(axis="y")
        return found

    def height(self, inches: float) -> None:
        """Make the sheet so high, at column width's text: it grows with the text."""
        self.figure.set_figheight(inches * self.style.scale)


def canvas(style: Style) -> Canvas:
    """An empty sheet; call it, draw and save inside `styled(style)`."""
    figure = Figure(figsize=(style.inches, style.inches * ASPECT), layout="constrained")
    FigureCanvasAgg(figure)  # measures text; a file of another kind is written by its own
    return Canvas(figure, style)


# -- colours and dashes of models ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Look:
    """A model's colour (of its family; lighter or darker for its brothers) and dash (of its kind of attention)."""

    colour: str
    dash: Any
    hatch: str


def looks(models: Sequence[ModelSpec], style: Style) -> dict[str, Look]:
    """The look of each model by id. The same models have the same looks in every figure."""
    families = list(dict.fromkeys(model.family for model in models))
    taken = {family: HOME[family] for family in families if family in HOME}
    free = [place for place in range(len(PALETTE)) if place not in taken.values()]
    for family in families:
        if family not in taken:
            taken[family] = free.pop(0) if free else len(taken) % len(PALETTE)
    brothers: dict[str, list[str]] = {}
    for model in models:
        brothers.setdefault(model.family, []).append(model.id)
    found = {}
    for place, model in enumerate(models):
        own = brothers[model.family]
        colour = shade(PALETTE[taken[model.family]], own.index(model.id), len(own), style)
        found[model.id] = Look(colour, DASHES.get(main_kind(model), OTHER_DASH), HATCHES[place % len(HATCHES)])
    return found


def main_kind(model: ModelSpec) -> str:
    """The kind of attention that most layers have; of equals the first in order."""
    counts: dict[str, int] = {}
    for layer in model.plan:
        kind = kind_of(model.attention[layer.attention])
        counts[kind] = counts.get(kind, 0) + 1
    return max(counts, key=lambda kind: counts[kind])


def shade(colour: str, place: int, of: int, style: Style) -> str:
    """One of `of` shades of a colour, the first the colour itself, the others nearer to the ink."""
    part = FADE * place / max(of - 1, 1) if of > 1 else 0.0
    mixed = [(1 - part) * own + part * other for own, other in zip(to_rgb(colour), to_rgb(style.ink), strict=True)]
    return "#" + "".join(f"{round(255 * value):02x}" for value in mixed)


def piece_colours(pieces: Iterable[str]) -> dict[str, str]:
    """A colour for each piece of a model, in the order of the table."""
    return {piece: PALETTE[place % len(PALETTE)] for place, piece in enumerate(dict.fromkeys(pieces))}


# -- axes ---------------------------------------------------------------------------------------------------------------------------

TOKEN_TICKS = tuple(1 << power for power in (7, 10, 12, 15, 17, 20, 23))
"""128, 1K, 4K, 32K, 128K, 1M, 8M."""


def token_axis(axes: Axes, low: int, high: int) -> None:
    """x: a log2 axis of contexts, with the ticks that people know; every power of two where few of these fall in."""
    axes.set_xscale("log", base=2)
    axes.set_xlim(low, high)
    known = [tick for tick in TOKEN_TICKS if low <= tick <= high]
    if len(known) < 3:
        known = [1 << power for power in range(low.bit_length() - 1, high.bit_length()) if low <= 1 << power <= high]
    axes.xaxis.set_major_locator(FixedLocator(known))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tokens(round(value))))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("context [tokens]")


def bytes_axis(axes: Axes, low: float, high: float, label: str, *, most: int = 8) -> None:
    """y: a log2 axis of bytes, with ticks as people say them (64 MiB, 1 GiB, 16 GiB), at most so many."""
    first, last = floor(log2(low)), ceil(log2(high))
    last += last == first
    step = max(-(-(last - first) // most), 1)
    axes.set_yscale("log", base=2)
    axes.set_ylim(2.0**first, 2.0**last)
    axes.yaxis.set_major_locator(FixedLocator([2.0**power for power in range(first, last + 1, step)]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: bytes_text(round(value), 1)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel(label)


def number_axis(axes: Axes, low: float, high: float, label: str, *, most: int = 6) -> None:
    """y: a log10 axis of plain numbers (0.1, 1, 10, 1,000), at most so many ticks."""
    first, last = floor(log10(low)), ceil(log10(high))
    last += last == first
    step = max(-(-(last - first) // most), 1)
    axes.set_yscale("log", base=10)
    axes.set_ylim(10.0**first, 10.0**last)
    axes.yaxis.set_major_locator(FixedLocator([10.0**power for power in range(first, last + 1, step)]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel(label)


def plain(value: float) -> str:
    """A tick: 0.25, 4, 1,024."""
    return f"{value:,.0f}" if (value >= 1 or value == 0) and value == int(value) else significant(value, 2).rstrip("0")
