"""A model as a strip of its layers: which attention each has, how many bytes of state it owns, and whose rows it reads.

Above the strip stands a bar for each layer: the bytes that it keeps, on one linear scale for all models, so that equal areas are equal
bytes. In the strip a full cell keeps its own rows; a pale one reads those of another layer, and a rake below leads from the owner to
all its readers. Where layers differ in query heads, a thin line says how many.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, FuncFormatter

from kvcalc.errors import ScenarioError
from kvcalc.kind import kind_of
from kvcalc.ledger import blocks_of, of_blocks
from kvcalc.report.figures import Drawing, Request
from kvcalc.report.figures._labels import measured
from kvcalc.report.figures._style import PALETTE, Canvas
from kvcalc.report.table import Cell, Column, Table, count_column, number, text_column
from kvcalc.scenario import Scenario
from kvcalc.spec import ModelSpec
from kvcalc.units import bytes_text, tokens

ABOUT = "the layers of a model as a strip: kind, bytes of state that each owns (linear), and which layers read another's"

PALE = 0.36
"""Opacity of a layer that reads another's rows."""
MOST_OWNERS = 4
"""So many owners are named; more are counted."""
WIDEST = 0.3
"""A cell is no wider [inch at column text]."""
LINE, GAP, AFTER, SPACE = 1.35, 0.6, 0.9, 1.0
"""Heights of a line of text, before the bars and between strips; width between words of the legend [sizes of the text]."""
BARS, CELLS, HEADS, RAKE, TICKS = 4.6, 0.95, 1.1, 0.75, 1.6
"""Heights of what a strip is made of [sizes of the text]."""
STEPS = (1, 5, 10, 20, 50, 100, 200, 500)
"""Between the numbers on the axis of layers."""


def drawing(request: Request) -> Drawing:
    """A row for each layer of each model, at the scenario's context and batch."""
    if request.contexts:
        raise ScenarioError("layers shows one context, not several", "-c 128K")
    scenario = request.scenario
    rows = [row for model in request.models for row in _rows(model, scenario)]
    columns = (
        text_column("model", "model"),
        count_column("layer", "layer"),
        text_column("attention", "attention"),
        text_column("kind", "kind"),
        Column("state_bytes", "state", bytes_text),
        count_column("reads_layer", "reads layer"),
        count_column("query_heads", "query heads"),
    )
    title = f"State that each layer owns at {tokens(scenario.context)}"
    table = Table(columns, tuple(rows), title=title, more=("name",))
    batch = f"a batch of {scenario.batch:,}" if scenario.batch > 1 else "one sequence"
    beyond = [model.name for model in request.models if scenario.context > model.max_context]
    says = (
        f"Bars: bytes of state of {batch} at {tokens(scenario.context)} that a layer owns, {scenario.kv_format} format of the state, "
        "on one linear scale for all models",
        "Cells: the attention of each layer; pale ones read the rows of another layer, to which a rake leads from its owner's dot",
        *(("Thin line: query heads, where layers differ in them",) if any(strip.heads for strip in _strips(rows)) else ()),
        *((f"Beyond the longest context of {', '.join(beyond)}: arithmetic only",) if beyond else ()),
    )
    return Drawing(title, table, lambda canvas: _draw(canvas, table, scenario), says)


def _rows(model: ModelSpec, scenario: Scenario) -> list[dict[str, Cell]]:
    """The layers in order; what each owns is its part of its blocks' state, all passes of a loop together."""
    owned = [0] * model.num_hidden_layers
    for block in blocks_of(model, scenario):
        each = of_blocks(model, scenario, (block,)).totals.state_bytes // block.layers
        for place in block.places:
            owned[place] += each
    return [
        {
            "model": model.id,
            "name": model.name,
            "layer": layer.place,
            "attention": layer.attention,
            "kind": kind_of(model.attention[layer.attention]),
            "state_bytes": owned[layer.place],
            "reads_layer": layer.reuses,
            "query_heads": getattr(model.attention[layer.attention], "num_attention_heads", None),
        }
        for layer in model.plan
        if not layer.again
    ]


@dataclass(frozen=True)
class _Strip:
    """The layers of one model as drawn."""

    name: str
    rows: tuple[dict[str, Cell], ...]
    colours: dict[str, str]
    """By the name of the attention."""

    @property
    def state(self) -> list[int]:
        return [number(row["state_bytes"]) for row in self.rows]

    @property
    def heads(self) -> list[int | None]:
        """Query heads of each layer, if layers differ in them."""
        listed = [None if row["query_heads"] is None else number(row["query_heads"]) for row in self.rows]
        return listed if len({count for count in listed if count is not None}) > 1 else []

    @property
    def readers(self) -> dict[int, list[int]]:
        """The layers that read each owner."""
        found: dict[int, list[int]] = {}
        for row in self.rows:
            if row["reads_layer"] is not None:
                found.setdefault(number(row["reads_layer"]), []).append(number(row["layer"]))
        return found

    @property
    def levels(self) -> list[list[int]]:
        """Owners whose rakes fit beside each other, level by level; those with most readers nearest to the strip."""
        levels: list[list[int]] = []
        readers = self.readers
        for owner in sorted(readers, key=lambda owner: (-len(readers[owner]), owner)):
            free = (
                level for level in levels if all(readers[other][-1] < owner or readers[owner][-1] < other for other in level)
            )
            at = next(free, None)
            if at is None:
                levels.append([owner])
            else:
                at.append(owner)
        return levels

    def legend(self) -> list[tuple[str, float, str]]:
        """Colour, opacity and words for each sort of layer."""
        sorts: dict[tuple[str, bool], list[dict[str, Cell]]] = {}
        for row in self.rows:
            sorts.setdefault((str(row["attention"]), row["reads_layer"] is not None), []).append(row)
        return [
            (self.colours[name], PALE if reads else 1.0, self._words(name, rows)) for (name, reads), rows in sorts.items()
        ]

    def _words(self, name: str, rows: Sequence[dict[str, Cell]]) -> str:
        size = number(rows[0]["state_bytes"])
        words = f"{len(rows):,} {name}: " + (bytes_text(size) if size else "none")
        words += " each" if size and len(rows) > 1 else ""
        owners = sorted({number(row["reads_layer"]) for row in rows if row["reads_layer"] is not None})
        if owners:
            named = ", ".join(f"{owner:,}" for owner in owners) if len(owners) <= MOST_OWNERS else f"{len(owners):,} others"
            words += f", reading {named}"
        if self.heads and rows[0]["query_heads"] is not None:
            words += f", {number(rows[0]['query_heads']):,} query heads"
        return words


def _strips(rows: Iterable[dict[str, Cell]]) -> list[_Strip]:
    """Rows of each model. An attention of the same name has the same colour in every strip where that is free."""
    models: dict[str, list[dict[str, Cell]]] = {}
    for row in rows:
        models.setdefault(str(row["model"]), []).append(row)
    known: dict[str, str] = {}
    times: dict[str, int] = {}
    strips = []
    for listed in models.values():
        own: dict[str, str] = {}
        names = list(dict.fromkeys(str(row["attention"]) for row in listed))
        for name in (name for name in names if name in known and known[name] not in own.values()):
            own[name] = known[name]
        for name in (name for name in names if name not in own):
            own[name] = min(PALETTE, key=lambda colour: (colour in own.values(), times.get(colour, 0)))
            known.setdefault(name, own[name])
        for colour in own.values():
            times[colour] = times.get(colour, 0) + 1
        strips.append(_Strip(str(listed[0]["name"]), tuple(listed), own))
    return strips


# -- drawing ------------------------------------------------------------------------------------------------------------------------


def _draw(canvas: Canvas, table: Table, scenario: Scenario) -> None:
    canvas.figure.set_layout_engine("none")  # places are worked out here, so that every strip has cells of the same width
    strips = _strips(table.rows)
    page = _Page(canvas, strips)
    batch = f", batch {scenario.batch:,}" if scenario.batch > 1 else ""
    head = canvas.figure.text(0, 0, f"state of each layer at {tokens(scenario.context)}{batch}, linear", color=canvas.style.faint)
    legends = [page.legend(strip) for strip in strips]
    heights = [page.height(strip, legend) for strip, legend in zip(strips, legends, strict=True)]
    page.sheet(LINE + sum(heights) + AFTER * (len(strips) - 1) + LINE)
    page.down(LINE)
    page.put(head, page.margin)
    for place, (strip, legend) in enumerate(zip(strips, legends, strict=True)):
        page.down(AFTER if place else 0)
        page.strip(strip, legend)
    label = canvas.figure.text(0, 0, "layer")
    page.down(LINE)
    page.put(label, page.left + (page.cells * page.cell - page.width_of(label)) / 2)


@dataclass(frozen=True)
class _Word:
    """A part of a legend: where it stands in its line, and the colour of its swatch."""

    text: Text
    line: int
    x: float
    swatch: tuple[float, float, float, float] | None


class _Page:
    """Places on the sheet in inches, from the top down."""

    def __init__(self, canvas: Canvas, strips: Sequence[_Strip]) -> None:
        self.canvas, self.figure = canvas, canvas.figure
        self.em = canvas.style.points / 72
        self.renderer = measured(canvas)
        self.most = max(max(strip.state) for strip in strips) or 1
        self.cells = max(len(strip.rows) for strip in strips)
        self.margin = 0.3 * self.em
        names = [*map(_bytes_tick, self.ticks), *("heads" for strip in strips if strip.heads)]
        sample = [self.figure.text(0, 0, name) for name in names]
        self.left = max(map(self.width_of, sample)) + 1.1 * self.em
        for text in sample:
            text.remove()
        room = canvas.style.inches - self.left - 0.8 * self.em
        self.cell = min(room / self.cells, WIDEST * canvas.style.scale)
        self.at = 0.0
        self.total = 1.0

    @property
    def ticks(self) -> tuple[int, int, int]:
        """Nothing, and two powers of two (one twice the other) under the highest bar."""
        step = 1 << max(self.most.bit_length() - 2, 0)
        return (0, step, 2 * step)

    def width_of(self, text: Text) -> float:
        return float(text.get_window_extent(self.renderer).width) / self.figure.dpi

    def sheet(self, ems: float) -> None:
        self.total = (ems + 1) * self.em
        self.canvas.height(self.total / self.canvas.style.scale)
        self.at = self.total - 0.3 * self.em

    def down(self, ems: float) -> None:
        self.at -= ems * self.em

    def put(self, text: Text, x: float, lines: int = 0) -> None:
        """On the line whose foot is here, or so many lines below."""
        inches = (x, self.at + (0.35 - lines * LINE) * self.em)
        text.set_position((inches[0] / self.canvas.style.inches, inches[1] / self.total))

    def axes(self, cells: int, ems: float) -> Axes:
        """Axes over so many cells, from here down."""
        self.down(ems)
        width, high = self.canvas.style.inches, self.total
        made = self.figure.add_axes((self.left / width, self.at / high, cells * self.cell / width, ems * self.em / high))
        made.set_xlim(-0.5, cells - 0.5)
        made.set_axisbelow(True)
        return made

    def legend(self, strip: _Strip) -> list[_Word]:
        """The model's name and size, then its sorts of layers, in lines that fit the sheet."""
        style = self.canvas.style
        name = self.figure.text(0, 0, f"{strip.name} · {bytes_text(sum(strip.state))}", fontweight="bold")
        words = [_Word(name, 0, self.margin, None)]
        x, line = self.margin + self.width_of(name), 0
        for colour, alpha, said in strip.legend():
            text = self.figure.text(0, 0, said)
            width = self.width_of(text) + 1.1 * self.em
            if x + SPACE * self.em + width > style.inches - self.margin:
                x, line = self.margin, line + 1
            else:
                x += SPACE * self.em
            words.append(_Word(text, line, x, to_rgba(colour, alpha)))
            x += width
        return words

    def height(self, strip: _Strip, legend: Sequence[_Word]) -> float:
        heads = HEADS if strip.heads else 0
        return LINE * (legend[-1].line + 1) + GAP + BARS + CELLS + heads + RAKE * len(strip.levels) + TICKS

    def strip(self, strip: _Strip, legend: Sequence[_Word]) -> None:
        self.down(LINE)
        for word in legend:
            self.put(word.text, word.x + (1.1 * self.em if word.swatch else 0), word.line)
            if word.swatch:
                foot = self.at + (0.35 - word.line * LINE) * self.em
                self._square(word.x, foot, word.swatch)
        self.down(LINE * legend[-1].line + GAP)
        count = len(strip.rows)
        self._bars(self.axes(count, BARS), strip)
        below = CELLS + (HEADS if strip.heads else 0) + RAKE * len(strip.levels)
        self._cells(self.axes(count, below), strip, below)
        self.down(TICKS)

    def _square(self, x: float, y: float, colour: tuple[float, float, float, float]) -> None:
        width, size = self.canvas.style.inches, 0.75 * self.em
        square = Rectangle((x / width, y / self.total), size / width, size / self.total, facecolor=colour, linewidth=0)
        square.set_transform(self.figure.transFigure)
        self.figure.add_artist(square)

    def _bars(self, axes: Axes, strip: _Strip) -> None:
        colours = [strip.colours[str(row["attention"])] for row in strip.rows]
        axes.bar(range(len(strip.rows)), strip.state, width=0.8, color=colours, linewidth=0, label=strip.name)
        axes.set_ylim(0, self.most * 1.04)
        axes.yaxis.set_major_locator(FixedLocator(list(self.ticks)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _bytes_tick(round(value))))
        axes.tick_params(axis="y", length=0, pad=0.35 * self.canvas.style.points)
        axes.tick_params(axis="x", bottom=False, labelbottom=False)
        axes.grid(axis="y")
        axes.spines["left"].set_visible(False)

    def _cells(self, axes: Axes, strip: _Strip, ems: float) -> None:
        """The strip, the line of heads and the rakes; y is the distance from the bars [sizes of the text]."""
        axes.set_ylim(ems, 0)
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
        axes.yaxis.set_visible(False)
        for row in strip.rows:
            place, reads = number(row["layer"]), row["reads_layer"] is not None
            colour = to_rgba(strip.colours[str(row["attention"])], PALE if reads else 1.0)
            axes.add_patch(Rectangle((place - 0.42, 0.12), 0.84, CELLS - 0.24, facecolor=colour, linewidth=0))
        foot = CELLS
        if strip.heads:
            self._line_of_heads(axes, strip.heads, foot)
            foot += HEADS
        for level, owners in enumerate(strip.levels):
            for owner in owners:
                self._rake(axes, strip, owner, CELLS, foot + (level + 0.6) * RAKE)
        step = next((step for step in STEPS if step * self.cell > 2.6 * self.em), STEPS[-1])
        axes.xaxis.set_major_locator(FixedLocator(list(range(0, len(strip.rows), step))))
        axes.tick_params(axis="x", length=0.2 * self.canvas.style.points, pad=0.2 * self.canvas.style.points)

    def _line_of_heads(self, axes: Axes, heads: Sequence[int | None], top: float) -> None:
        """A thin line as high as a layer's query heads over the most."""
        most = max(count for count in heads if count is not None)
        high = [top + HEADS - 0.2 - (HEADS - 0.4) * (count or 0) / most for count in heads]
        style = self.canvas.style
        axes.stairs(high, [place - 0.5 for place in range(len(heads) + 1)], baseline=None, color=style.ink, linewidth=0.7 * style.scale)
        axes.text(-0.5, top + HEADS / 2, "heads ", ha="right", va="center", color=style.ink)

    def _rake(self, axes: Axes, strip: _Strip, owner: int, top: float, at: float) -> None:
        """From an owner down, along, and up to each reader."""
        style, readers = self.canvas.style, strip.readers[owner]
        colour = strip.colours[str(strip.rows[owner]["attention"])]
        thin = 0.7 * style.scale
        axes.plot([owner, owner, readers[-1]], [top, at, at], color=colour, linewidth=1.5 * thin, solid_joinstyle="miter", clip_on=False)
        axes.vlines(readers, top, at, color=colour, linewidth=thin, clip_on=False)
        axes.plot([owner], [at], marker="o", markersize=min(0.4 * style.points, 72 * self.cell), color=colour, clip_on=False, zorder=3)


def _bytes_tick(size: int) -> str:
    return bytes_text(size, 1) if size else "0"
