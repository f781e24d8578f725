"""What each trick of a model saves: its state with and without the trick, over context, one small picture for each."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from math import sqrt

from matplotlib.colors import to_hex
from matplotlib.lines import Line2D

from kvcalc.errors import ScenarioError
from kvcalc.ledger import ledger
from kvcalc.report.figures import Drawing, Request
from kvcalc.report.figures._labels import End, end_labels, thin_ticks
from kvcalc.report.figures._stack import LINE, keys, tall
from kvcalc.report.figures._style import PALETTE, Canvas, Style, bytes_axis, looks, token_axis
from kvcalc.report.table import Cell, Column, Table, gib_column, number, ratio_column, text_column
from kvcalc.spec import ModelSpec
from kvcalc.units import significant, tokens
from kvcalc.whatif import MEANINGS, factor, steps, tricks, without

ABOUT = "state with and without each trick (--trick) over context, log2, with the factor at the longest context"

DASHED = (0, (3, 1.5))
PANEL = 11.0
"""Height of a picture [sizes of the text]."""
PALE = 0.18
FILLED = 2
"""Between the lines of so many models is a pale area; more of them would cover each other."""
BROTHERS = 2
"""So many models of a family are told apart by the shade of its colour."""


def drawing(request: Request) -> Drawing:
    """State as released and without a trick, trick by trick; option `trick`: these only, else all of the first model."""
    asked = tuple(dict.fromkeys(name.strip() for name in (request.option("trick") or "").split(",") if name.strip()))
    has = {model.id: tuple(tricks(model)) for model in request.models}
    _refuse(request.models, asked, has)
    listed = asked or has[request.models[0].id]
    rows: list[dict[str, Cell]] = []
    same: list[str] = []
    for trick in listed:
        found = [row for model in request.models if trick in has[model.id] for row in _rows(request, model, trick)]
        if any(row["state_bytes"] != row["without_bytes"] for row in found):
            rows += found
        else:
            same.append(trick)
    if not rows or (same and asked):
        which = ", ".join(same)
        raise ScenarioError(
            f"no state to compare: {which} {'changes' if len(same) == 1 else 'change'} none of it", "see kvcalc whatif"
        )
    left_out = [model.id for model in request.models if not any(row["model"] == model.id for row in rows)]
    if left_out:
        shown = ", ".join(dict.fromkeys(str(row["trick"]) for row in rows))
        use = "uses" if len(left_out) == 1 else "use"
        raise ScenarioError(
            f"{', '.join(left_out)} {use} none of {shown}", "leave out such models, or name their tricks with --trick"
        )
    if len({row["context"] for row in rows}) < 2:
        raise ScenarioError("one context is no axis", "give a range of contexts: -c 64..1K")
    columns = (
        text_column("trick", "trick"),
        text_column("model", "model"),
        Column("context", "context", tokens),
        gib_column("state_bytes", "with"),
        gib_column("without_bytes", "without"),
        ratio_column("factor", "factor"),
    )
    title = "State with and without each trick"
    table = Table(columns, tuple(rows), title=title, more=("name",))
    return Drawing(title, table, lambda canvas: _draw(canvas, request, table), _says(request, table, same), ("context",))


def _refuse(models: Sequence[ModelSpec], asked: Sequence[str], has: Mapping[str, tuple[str, ...]]) -> None:
    """Raises ScenarioError for a trick that does not exist or that no model can be without, and where there is none at all."""
    for name in asked:
        if not any(name in listed for listed in has.values()):
            if len(models) == 1 or name not in MEANINGS:
                steps(models[0], name)  # says why not
            used = ", ".join(dict.fromkeys(trick for listed in has.values() for trick in listed))
            raise ScenarioError(f"none of {', '.join(has)} uses {name}", f"their tricks: {used}" if used else None)
    if not asked and not has[models[0].id]:
        raise ScenarioError(f"{models[0].id} has no trick that kvcalc can undo")


def _rows(request: Request, model: ModelSpec, trick: str) -> list[dict[str, Cell]]:
    after = without(model, trick)
    rows: list[dict[str, Cell]] = []
    for context in request.contexts_of(model):
        scenario = replace(request.scenario, context=context)
        now, then = (ledger(each, scenario).totals.state_bytes for each in (model, after))
        rows.append(
            {
                "trick": trick,
                "model": model.id,
                "name": model.name,
                "context": context,
                "state_bytes": now,
                "without_bytes": then,
                "factor": factor(then, now),
            }
        )
    return rows


def _says(request: Request, table: Table, same: Sequence[str]) -> tuple[str, ...]:
    batch = f"a batch of {request.scenario.batch:,}" if request.scenario.batch > 1 else "one sequence"
    several = len(request.models) > 1
    shown = dict.fromkeys(str(row["trick"]) for row in table.rows)
    return (
        f"State of {batch}, {request.scenario.kv_format} format of the state, on log2 axes: solid as released, "
        "dashed without the trick",
        "Numbers: state without the trick over state with it, at the longest context of the model",
        *(f"Without {trick}: {MEANINGS[trick]}" for trick in shown),
        *((f"Not shown, as the state is the same without: {', '.join(same)}",) if same else ()),
        *(("A model that does not use a trick has no line there",) if several else ()),
    )


def _draw(canvas: Canvas, request: Request, table: Table) -> None:
    style = canvas.style
    colours = _colours(request.models, style)
    shown = list(dict.fromkeys(str(row["trick"]) for row in table.rows))
    columns = _columns(len(shown), canvas)
    down = -(-len(shown) // columns)
    one = len(shown) == 1
    made = canvas.axes(down, columns, sharey=True)
    for spare in made[len(shown) :]:
        spare.remove()
    contexts = [number(row["context"]) for row in table.rows]
    sizes = [size for row in table.rows for size in (number(row["state_bytes"]), number(row["without_bytes"])) if size]
    handles = [
        *(Line2D([], [], color=colours[model.id], label=model.name) for model in request.models if not one),
        Line2D([], [], color=style.faint, label="as released"),
        Line2D([], [], color=style.faint, linestyle=DASHED, label="without the trick"),
    ]
    for place, (axes, trick) in enumerate(zip(made, shown, strict=False)):
        token_axis(axes, min(contexts), max(contexts))
        bytes_axis(axes, min(sizes), max(sizes), "state" if place % columns == 0 else "", most=6)
        axes.set_title(trick, loc="left")
        axes.tick_params(labelleft=place % columns == 0)
        if place + columns < len(shown):
            axes.set_xlabel("")
            axes.tick_params(labelbottom=False)
    lines = keys(canvas, handles)
    each = max(PANEL, LINE * (2 if one and style.width == "column" else 1) * len(request.models) + 1)
    if one:
        tall(canvas, (each + 2 * LINE) / LINE + lines + 2)
    else:
        canvas.figure.set_figheight((down * (each + 2 * LINE) + (lines + 2) * LINE) * style.points / 72)
    for axes, trick in zip(made, shown, strict=False):
        ends: list[End] = []
        for model in request.models:
            rows = [row for row in table.rows if row["trick"] == trick and row["model"] == model.id]
            if not rows:
                continue
            x = [number(row["context"]) for row in rows]
            now, then = ([number(row[key]) for row in rows] for key in ("state_bytes", "without_bytes"))
            colour = colours[model.id]
            axes.plot(x, now, color=colour, label=f"{model.id}, with")
            axes.plot(x, then, color=colour, linestyle=DASHED, label=f"{model.id}, without")
            if len(request.models) <= FILLED:
                axes.fill_between(x, now, then, facecolor=colour, alpha=PALE, linewidth=0)
            times = f"{significant(Fraction(str(rows[-1]['factor'])))}×"
            name = f"{model.name}{chr(10) if style.width == 'column' else ' · '}{times}" if one else times
            ends.append(End(x[-1], sqrt(max(now[-1], 1) * max(then[-1], 1)), name, colour))
        end_labels(canvas, axes, ends)
    for axes in made[max(len(shown) - columns, 0) : len(shown)]:  # all labels stand, so that the width is the last one
        for tick in axes.xaxis.get_major_ticks():
            tick.label1.set_visible(True)
        thin_ticks(canvas, axes)


def _colours(models: Sequence[ModelSpec], style: Style) -> dict[str, str]:
    """A colour for each model: its look; where that would be one of many shades, one of its own as far as there are."""
    families = [model.family for model in models]
    found = {name: look.colour for name, look in looks(models, style).items()}
    if len(models) > len(PALETTE) or max(families.count(family) for family in families) <= BROTHERS:
        return found
    firsts = {model.family: found[model.id] for model in reversed(models)}
    free = [colour for colour in PALETTE if to_hex(colour) not in {to_hex(first) for first in firsts.values()}]
    first_ids = {families.index(family) for family in firsts}
    return {model.id: found[model.id] if place in first_ids else free.pop(0) for place, model in enumerate(models)}


def _columns(panels: int, canvas: Canvas) -> int:
    """Pictures beside each other: as many as are wide enough, in even rows."""
    most = 2 if canvas.style.width == "column" else 3
    return min(panels, 2 if panels == 4 else most)
