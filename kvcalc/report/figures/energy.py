"""Energy of a token over the batch: at the power of the data sheet, and, where it is known, what the devices draw at rest as its floor.

Both are power x the bound's time / tokens, for the devices alone. As a batch grows, weights are read once for more tokens, until what
each sequence reads for itself, or arithmetic, is most of the time: from there on a line is flat.
"""

from kvcalc.energy import KINDS, Energy
from kvcalc.errors import ScenarioError
from kvcalc.report.energy import SHORT_POWERS
from kvcalc.report.figures import Drawing, Request
from kvcalc.report.figures._labels import End, end_labels
from kvcalc.report.figures._style import Canvas
from kvcalc.report.figures.throughput import DOT, PALE, Line, Served, Sheet, batch_axis, real, served, span
from kvcalc.report.table import Cell, Column, Table, count_column, text_column
from kvcalc.serving import Point
from kvcalc.units import significant, tokens

ABOUT = "J per token against batch, up to the largest that fits, with the floor at idle power (--on)"


def drawing(request: Request) -> Drawing:
    """Energy and money of a token at every batch: powers of two, the knee, and the largest batch that fits."""
    for rig in request.rigs:
        if rig.device.watts is None:
            raise ScenarioError(
                f"the power of {rig.device.id} is not published", "kvcalc energy takes it with --power, e.g. --power 300W"
            )
    lines, said = served(request, "energy")
    rows = tuple(_row(line, point) for line in lines for point in line.found.points)
    at_work = _at_work(request)
    columns = (
        text_column("model", "model"),
        text_column("rig", "on"),
        text_column("plan", "plan"),
        count_column("batch", "batch"),
        Column("joules_per_token", f"{at_work} [J/token]", significant),
        Column("idle_joules_per_token", "idle [J/token]", significant),
        Column("usd_per_million_tokens", "cost [USD/M]", significant),
        text_column("bound_by", "bound by"),
        text_column("mark", ""),
    )
    context = tokens(request.scenario.context)
    title = f"Energy of a token at {context}"
    powers = [(rig.device.id, rig.device.power) for rig in request.rigs if rig.device.power is not None]
    each = dict.fromkeys(f"{name} {power.value} ({KINDS[power.kind]})" for name, power in powers)
    floors = any(row["idle_joules_per_token"] is not None for row in rows)
    prices = any(row["usd_per_million_tokens"] is not None for row in rows)
    says = (
        f"Decode at a context of {context}, mean step; J per token at the data sheet's power for the bound's time, devices alone, without "
        "their servers and building; points at powers of two; each line ends at the largest batch that fits",
        f"Power of one: {', '.join(each)}",
        *(("Pale: the floor, what the same devices draw at idle in that time, where it is published",) if floors else ()),
        *(
            ("At page and slide width, beside a name: values at the line's end; USD/M: rent for a million tokens",)
            if prices
            else ()
        ),
        "Bounds at peak rates, which no machine beats",
        *said,
    )
    table = Table(columns, rows, title=title, more=("name",))
    return Drawing(title, table, lambda canvas: _draw(canvas, request, table, at_work), says, ("batch",))


def _at_work(request: Request) -> str:
    """What the powers are, in a word: TDP, or at work where they are not of one kind."""
    kinds = {rig.device.power.kind for rig in request.rigs if rig.device.power is not None}
    return kinds.pop().upper() if len(kinds) == 1 and kinds <= set(SHORT_POWERS) else "at work"


def _row(line: Served, point: Point) -> dict[str, Cell]:
    device, count = line.rig.device, line.plan.devices
    one = Energy(
        seconds=point.bound.lower,
        tokens=point.batch,
        watts=None if device.watts is None else float(device.watts) * count,
        idle_watts=None if device.idle_watts is None else float(device.idle_watts) * count,
        surroundings=1.0,
        usd_per_hour=None if device.usd_per_hour is None else float(device.usd_per_hour) * count,
    )
    return {
        **line.cells,
        "batch": point.batch,
        "joules_per_token": one.joules_per_token,
        "idle_joules_per_token": one.idle_joules_per_token,
        "usd_per_million_tokens": one.usd_per_million_tokens,
        "bound_by": point.bound.bound_by.partition(",")[0],
        "mark": line.marks(point),
    }


def _draw(canvas: Canvas, request: Request, table: Table, at_work: str) -> None:
    sheet = Sheet(canvas, request, table)
    axes = sheet.axes
    floors = [real(row["idle_joules_per_token"]) for row in table.rows if row["idle_joules_per_token"] is not None]
    batch_axis(canvas, axes, max(real(row["batch"]) for row in table.rows))
    span(canvas, axes, "y", [real(row["joules_per_token"]) for row in table.rows] + floors, "J per token")
    for line in sheet.lines:
        line.plot(axes, [(real(row["batch"]), real(row["joules_per_token"])) for row in line.rows], canvas, marked=False)
        floor = [
            (real(row["batch"]), real(row["idle_joules_per_token"]))
            for row in line.rows
            if row["idle_joules_per_token"] is not None
        ]
        if floor:
            x, y = zip(*floor, strict=True)
            scale = canvas.style.scale
            look = {"color": line.colour, "linestyle": line.dash, "linewidth": 0.8 * scale, "alpha": PALE}
            axes.plot(x, y, **look, marker=line.marker, markersize=DOT * scale, markevery=line.dots, label=f"{line.name}: idle")
    sheet.key([(f"at {at_work}" if at_work.isupper() else at_work, "line"), ("at idle: the floor", "pale")] if floors else [])
    end_labels(
        canvas, axes, [End(line.found[0][-1], line.found[1][-1], _text(canvas, line), line.colour) for line in sheet.lines]
    )


def _text(canvas: Canvas, line: Line) -> str:
    """What a line is; where there is room, its energy and price at the largest batch."""
    last = line.rows[-1]
    price = last["usd_per_million_tokens"]
    values = f"{significant(real(last['joules_per_token']))} J" + (
        f" · {significant(real(price))} USD/M" if price is not None else ""
    )
    return line.text if canvas.style.width == "column" else f"{line.text}\n{values}"
