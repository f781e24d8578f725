"""What stacked figures share: parts of a model folded into bands, their colours, linear axes, keys and head lines.

A stack shows at most seven parts by name, those with the largest share anywhere; the others are one grey band. What comes of the
state (or of products of attention) is hatched, what comes of weights is plain.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any, cast

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from kvcalc.errors import ScenarioError
from kvcalc.ledger import Entry, ledger
from kvcalc.report.figures import Drawing, Request
from kvcalc.report.figures._labels import End, end_labels, end_text, measured
from kvcalc.report.figures._style import ASPECT, PALETTE, Canvas, Style, looks, plain, shade, token_axis
from kvcalc.report.table import Cell, Column, Table, text_column
from kvcalc.scenario import Scenario
from kvcalc.spec import ModelSpec
from kvcalc.units import GIB, KIB, MIB, bytes_text, cell, decimal_prefix, decimal_scale, round_half_up, scaled, tokens

BYS = ("piece", "kind", "row", "group", "format")
OTHERS = "others"
NAMED = len(PALETTE) - 1
"""So many parts have a band and a colour of their own; the last colour, grey, is that of the others."""
LEAST_SHARE = Fraction(1, 100)
"""A part that nowhere has this share of the whole is one of the others."""
HOME = {
    "attention": 0,
    "routed_experts": 1,
    "dense_mlp": 3,
    "shared_experts": 4,
    "lm_head": 2,
    "embeddings": 2,
    "indexer": 5,
    "ple_table": 6,
    "engram_table": 6,
}
"""Pieces that have the same colour in every figure if it is free; the others take what is left."""
HATCH = "/////"
LINE = 1.35
"""Height of a line of text over its size."""
TICKS = 5
OVER = 1.04
"""The axis over the highest value."""

Amount = int | Fraction


@dataclass(frozen=True)
class Measure:
    """A sum over entries of the ledger, and the part of it that is hatched.

    Args:
        key: name of the sum in the table.
        of_it: name of the hatched part in the table.
        what: the sum in words: traffic.
        plain, hatched: what the two parts are, in words.
        counted: the sum and the hatched part of it of one entry.
        text: an amount with its unit.
        unit: the unit for an axis up to an amount, and its size.
    """

    key: str
    of_it: str
    what: str
    plain: str
    hatched: str
    counted: Callable[[Entry], tuple[int, int]]
    text: Callable[[Amount], str]
    unit: Callable[[Amount], tuple[str, int]]

    def of(self, entries: Iterable[Entry], parts: int = 1) -> tuple[Amount, Amount]:
        """The sums over entries, each divided into so many parts: whole numbers where they are whole."""
        pairs = [self.counted(entry) for entry in entries]
        return divided(sum(all_of for all_of, _ in pairs), parts), divided(sum(of_it for _, of_it in pairs), parts)


def divided(amount: int, parts: int) -> Amount:
    """An amount over a whole number, exactly."""
    exact = Fraction(amount, parts)
    return exact.numerator if exact.denominator == 1 else exact


def bytes_unit(largest: Amount) -> tuple[str, int]:
    """The binary unit in which the largest of some sizes is at least 1, and its bytes."""
    return next(((name, size) for name, size in (("GiB", GIB), ("MiB", MIB), ("KiB", KIB)) if largest >= size), ("B", 1))


def size_text(amount: Amount) -> str:
    """Bytes, also where they are a mean."""
    return bytes_text(round_half_up(Fraction(amount)))


def flops_unit(largest: Amount) -> tuple[str, int]:
    """The decimal multiple of a FLOP in which the largest is at least 1, and its size."""
    prefix = decimal_prefix(largest)
    return f"{prefix}FLOP", decimal_scale(prefix)


def flops_text(amount: Amount) -> str:
    return scaled(amount, "FLOP")


def amount(value: Cell) -> Amount:
    """A cell that holds an exact number. Raises TypeError for another."""
    if not isinstance(value, int | Fraction):
        raise TypeError(f"{value!r} is not an exact number")
    return value


def part_of(request: Request) -> str:
    """What a part is: option `by`, else a piece. Raises ScenarioError for what no part is."""
    by = request.option("by") or BYS[0]
    if by not in BYS:
        raise ScenarioError(f"a part cannot be a {by}", "parts: " + ", ".join(BYS))
    return by


# -- bands --------------------------------------------------------------------------------------------------------------------------


def bands(stacks: Iterable[Mapping[str, Amount]]) -> dict[str, str]:
    """The band of each part, by the largest share that it has of any stack; parts that are nothing everywhere have none."""
    shares: dict[str, Fraction] = {}
    for stack in stacks:
        whole = sum(stack.values())
        for part, size in stack.items():
            if size:
                shares[part] = max(shares.get(part, Fraction(0)), Fraction(size) / Fraction(whole))
            else:
                shares.setdefault(part, Fraction(0))
    shares = {part: share for part, share in shares.items() if share}
    largest = sorted(shares, key=lambda part: -shares[part])
    named = [part for part in largest[:NAMED] if shares[part] >= LEAST_SHARE]
    return {part: part if part in named else OTHERS for part in shares}


def in_order(found: Mapping[str, str]) -> list[str]:
    """The bands in the order of the table, the others last."""
    return sorted(dict.fromkeys(found.values()), key=lambda band: band == OTHERS)


def band_colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each band."""
    colours: dict[str, str] = {OTHERS: PALETTE[NAMED]}
    for name in names:
        at_home = PALETTE[HOME[name]] if name in HOME else ""
        if at_home and at_home not in colours.values():
            colours[name] = at_home
    for name in names:
        if name not in colours:
            colours[name] = next(colour for colour in PALETTE if colour not in colours.values())
    return colours


def band_text(band: str, found: Mapping[str, str], by: str) -> str:
    """A band in words: routed experts, 5 others; a single other by its name. Tensors and groups keep theirs as they are spelt."""
    folded = [part for part, each in found.items() if each == OTHERS]
    if band == OTHERS and len(folded) > 1:
        return f"{len(folded):,} others"
    name = folded[0] if band == OTHERS else band
    return name.replace("_", " ") if by == BYS[0] else name


def others_line(found: Mapping[str, str]) -> list[str]:
    """A sentence of the caption that names what is folded; none if nothing is."""
    folded = [part for part, band in found.items() if band == OTHERS]
    return [f"Others: {', '.join(folded)}"] if folded else []


def readable(colour: str, style: Style) -> str:
    """A colour for text: nearer to the ink."""
    return shade(colour, 1, 2, style)


# -- axes, keys and head lines ------------------------------------------------------------------------------------------------------


def linear_axis(axis: Axis, high: float, unit: tuple[str, int], label: str, *, most: int = TICKS) -> None:
    """A linear axis from zero in one unit, with ticks at 1, 2 or 5 of it, or of its tens."""
    name, size = unit
    inside = [
        tick for tick in MaxNLocator(most, steps=[1, 2, 5, 10]).tick_values(0, high * OVER / size) if tick * size <= high * OVER
    ]
    axis.set_major_locator(FixedLocator([float(tick) * size for tick in inside]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: plain(round(value / size, 9)) if value else "0"))
    axis.set_minor_locator(NullLocator())
    axis.set_label_text(f"{label} [{name}]")


def tall(canvas: Canvas, lines: float) -> None:
    """A sheet high enough for so many lines of text."""
    canvas.figure.set_figheight(max(canvas.style.inches * ASPECT, lines * LINE * canvas.style.points / 72))


def headline(canvas: Canvas, axes: Axes, words: Sequence[str]) -> int:
    """Words above the axes, from their left: as many in a line as fit on the sheet. The number of lines."""
    title = axes.set_title(words[0], loc="left", color=canvas.style.ink)
    renderer = measured(canvas)
    room = canvas.figure.bbox.x1 - canvas.style.points - title.get_window_extent(renderer).x0
    lines: list[str] = []
    for word in words:
        longer = f"{lines[-1]} · {word}" if lines else word
        title.set_text(longer)
        if lines and title.get_window_extent(renderer).width <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    title.set_text("\n".join(lines))
    return len(lines)


def keys(canvas: Canvas, handles: Sequence[Artist]) -> int:
    """A key outside of the axes, in as many columns as fit on the sheet. The number of its lines."""
    style, sheet = canvas.style, cast(Any, canvas.figure.canvas)
    for columns in range(len(handles), 0, -1):
        legend = canvas.figure.legend(
            handles=list(handles),
            loc="outside upper left",
            ncols=columns,
            frameon=False,
            borderpad=0.2,
            borderaxespad=0.2,
            handlelength=1.4,
            handletextpad=0.5,
            columnspacing=1.2,
            labelspacing=0.3,
        )
        width = legend.get_window_extent(sheet.get_renderer()).width
        if columns == 1 or width <= canvas.figure.bbox.width - style.points:
            return -(-len(handles) // columns)
        legend.remove()
    return 0


def two_keys(measure: Measure, style: Style) -> list[Patch]:
    """What plain and hatched mean."""
    line = 0.6 * style.scale
    return [
        Patch(facecolor=style.paper, edgecolor=style.ink, linewidth=line, label=measure.plain),
        Patch(facecolor=style.paper, edgecolor=style.ink, linewidth=line, hatch=HATCH, label=measure.hatched),
    ]


# -- per token against context ------------------------------------------------------------------------------------------------------


def share_words(scenario: Scenario, what: str) -> list[str]:
    """How a step is divided, in a sentence, where it is."""
    if scenario.phase == "prefill":
        return [f"{what.capitalize()} of a whole prompt over its tokens: the mean of one"]
    if scenario.batch > 1:
        return [
            f"{what.capitalize()} of a step over its batch of {scenario.batch:,}: the part of one sequence; "
            "weights are read once for all"
        ]
    return []


def contexts_of(request: Request, model: ModelSpec) -> list[int]:
    """The axis of a model; where none was asked, twice as dense as for log axes, on which a chord shows less."""
    chosen = request.contexts_of(model)
    between = [] if request.contexts else [(low + high) // 2 for low, high in pairwise(chosen)]
    return sorted({*chosen, *between})


def per_token(request: Request, measure: Measure) -> Drawing:
    """A sum of the ledger per token over contexts: one model as a stack of its parts, several as lines."""
    if len(request.models) > 1 and request.option("by"):
        raise ScenarioError(f"--by splits one model, not {len(request.models)}", "name one model, or leave out --by")
    contexts = sorted({context for model in request.models for context in contexts_of(request, model)})
    if len(contexts) < 2:
        raise ScenarioError(f"one context, {tokens(contexts[0])}, is no axis", "give a range of contexts: -c 64..1K")
    title = f"{measure.what.capitalize()} per token against context"
    batch = f", batch {request.scenario.batch:,}" if request.scenario.batch > 1 else ""
    base = (f"{title}, {request.scenario.phase}{batch}", *share_words(request.scenario, measure.what))
    if len(request.models) > 1:
        table = _lines_table(request, measure, title)
        looks_said = (
            "Colour: family of models; dash: the kind of attention that most layers have; each line ends at the longest context"
        )
        return Drawing(title, table, lambda canvas: _draw_lines(canvas, request, table, measure), (*base, looks_said), ("context",))
    by = part_of(request)
    table, found = _stack_table(request, measure, title, by)
    hatched = f"Hatched: {measure.hatched}; plain: {measure.plain}"
    said = (*base, f"Bands: each {by} of the model, as far as it has 1 % anywhere", hatched, *others_line(found))
    return Drawing(title, table, lambda canvas: _draw_stack(canvas, request, table, measure, found), said, ("context",))


def _columns(measure: Measure, rows: Sequence[dict[str, Cell]]) -> tuple[Column, ...]:
    name, size = measure.unit(max(amount(row[measure.key]) for row in rows))
    return tuple(
        Column(key, f"{head} [{name}]", lambda value: cell(Fraction(value) / size))
        for key, head in ((measure.key, measure.what), (measure.of_it, f"{measure.hatched} of it"))
    )


def _lines_table(request: Request, measure: Measure, title: str) -> Table:
    rows: list[dict[str, Cell]] = []
    for model in request.models:
        for context in contexts_of(request, model):
            scenario = replace(request.scenario, context=context)
            whole, of_it = measure.of(ledger(model, scenario).entries, scenario.tokens)
            rows.append({"model": model.id, "name": model.name, "context": context, measure.key: whole, measure.of_it: of_it})
    head = (text_column("model", "model"), Column("context", "context", tokens))
    return Table((*head, *_columns(measure, rows)), tuple(rows), title=title, more=("name",))


def _stack_table(request: Request, measure: Measure, title: str, by: str) -> tuple[Table, dict[str, str]]:
    (model,) = request.models
    found: dict[int, dict[str, tuple[Amount, Amount]]] = {}
    for context in contexts_of(request, model):
        scenario = replace(request.scenario, context=context)
        parts = ledger(model, scenario).by(by)
        found[context] = {name or "products": measure.of(entries, scenario.tokens) for name, entries in parts.items()}
    folded = bands({part: whole for part, (whole, _) in parts.items()} for parts in found.values())
    rows: list[dict[str, Cell]] = [
        {
            "model": model.id,
            "context": context,
            "part": part,
            "band": band,
            measure.key: found[context].get(part, (0, 0))[0],
            measure.of_it: found[context].get(part, (0, 0))[1],
        }
        for context in found
        for part, band in folded.items()
    ]
    head = (
        text_column("model", "model"),
        Column("context", "context", tokens),
        text_column("part", by),
        text_column("band", "band"),
    )
    return Table((*head, *_columns(measure, rows)), tuple(rows), title=title), folded


def _value_axis(canvas: Canvas, axes: Axes, request: Request, measure: Measure, high: Amount) -> None:
    axes.set_ylim(0, float(high) * OVER)
    linear_axis(axes.yaxis, float(high), measure.unit(high), f"{measure.what} per token")


def _head(request: Request) -> list[str]:
    """What the axes do not say: the batch, or that a prompt is taken as a whole."""
    scenario = request.scenario
    batch = [f"batch {scenario.batch:,}"] if scenario.batch > 1 else []
    return [*batch, *(["prefill, mean of a prompt"] if scenario.phase == "prefill" else [])]


def _draw_lines(canvas: Canvas, request: Request, table: Table, measure: Measure) -> None:
    look = looks(request.models, canvas.style)
    head = _head(request)
    tall(canvas, len(request.models) + 3.5 + len(head))
    (axes,) = canvas.axes()
    contexts = [int(amount(row["context"])) for row in table.rows]
    token_axis(axes, min(contexts), max(contexts))
    _value_axis(canvas, axes, request, measure, max(amount(row[measure.key]) for row in table.rows))
    if head:
        headline(canvas, axes, head)
    ends: list[End] = []
    for model in request.models:
        points = [(int(amount(row["context"])), amount(row[measure.key])) for row in table.rows if row["model"] == model.id]
        x, y = [at for at, _ in points], [value for _, value in points]
        chosen = look[model.id]
        axes.plot(
            x,
            [float(value) for value in y],
            color=chosen.colour,
            linestyle=chosen.dash,
            marker="o" if len(x) == 1 else None,
            label=model.id,
        )
        ends.append(End(x[-1], float(y[-1]), end_text(canvas, model.name, measure.text(y[-1])), chosen.colour))
    end_labels(canvas, axes, ends)


def _draw_stack(canvas: Canvas, request: Request, table: Table, measure: Measure, found: Mapping[str, str]) -> None:
    (model,) = request.models
    names = in_order(found)
    colours = band_colours(names)
    contexts = sorted({int(amount(row["context"])) for row in table.rows})
    sums: dict[tuple[str, int], tuple[Amount, Amount]] = {}
    for row in table.rows:
        at = (str(row["band"]), int(amount(row["context"])))
        before = sums.get(at, (0, 0))
        sums[at] = (before[0] + amount(row[measure.key]), before[1] + amount(row[measure.of_it]))
    totals = [sum(sums[name, context][0] for name in names) for context in contexts]
    tall(canvas, len(names) + 6.5)
    (axes,) = canvas.axes()
    token_axis(axes, contexts[0], contexts[-1])
    _value_axis(canvas, axes, request, measure, max(totals))
    said = [model.name, f"{measure.text(totals[-1])} at {tokens(contexts[-1])}", *_head(request)]
    if any(of_it for _, of_it in sums.values()):
        said.append(f"hatched: {measure.hatched}")
    headline(canvas, axes, said)
    style = canvas.style
    under: list[Amount] = [0 for _ in contexts]
    ends: list[End] = []
    for name in reversed(names):  # from the bottom up, so that they stand from the top down as in the table
        foot = under[-1]
        whole, of_it = ([sums[name, context][place] for context in contexts] for place in (0, 1))
        for sizes, hatch in (([all_of - part for all_of, part in zip(whole, of_it, strict=True)], ""), (of_it, HATCH)):
            if not any(sizes):
                continue
            over = [low + size for low, size in zip(under, sizes, strict=True)]
            axes.fill_between(
                contexts,
                [float(low) for low in under],
                [float(high) for high in over],
                facecolor=colours[name],
                edgecolor=style.paper,
                linewidth=0.5 * style.scale,
                hatch=hatch or None,
                label=f"{name}, {measure.hatched if hatch else measure.plain}",
            )
            under = over
        value = end_text(canvas, band_text(name, found, part_of(request)), measure.text(whole[-1]))
        ends.append(End(None, float(foot + under[-1]) / 2, value, readable(colours[name], style)))
    axes.set_axisbelow(False)
    end_labels(canvas, axes, ends)
