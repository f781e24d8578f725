"""State against context: which model keeps how much, and what fits where."""

from dataclasses import replace

from kvcalc.ledger import ledger
from kvcalc.report.figures import Drawing, Request
from kvcalc.report.figures._labels import End, end_labels, end_text, level
from kvcalc.report.figures._style import Canvas, bytes_axis, looks, token_axis
from kvcalc.report.table import Cell, Column, Table, gib_column, number, text_column
from kvcalc.units import bytes_text, tokens

ABOUT = "state (with --weights: and weights) against context, log2, with the capacity of devices"


def drawing(request: Request) -> Drawing:
    """Bytes of the state of the scenario's batch over contexts; option `weights`: weights and state."""
    with_weights = request.option("weights") is not None
    rows: list[dict[str, Cell]] = []
    for model in request.models:
        for context in request.contexts_of(model):
            sums = ledger(model, replace(request.scenario, context=context)).totals
            held = sums.state_bytes + (sums.weight_bytes if with_weights else 0)
            rows.append({"model": model.id, "name": model.name, "context": context, "held_bytes": held, "state_bytes": sums.state_bytes})
    for rig in request.rigs:
        if rig.device.usable_bytes is not None:
            rows.append({"model": rig.name, "name": rig.device.name, "context": None, "held_bytes": rig.device.usable_bytes * rig.count})
    what = "weights and state" if with_weights else "state"
    columns = (
        text_column("model", "model"),
        Column("context", "context", tokens),
        gib_column("held_bytes", what),
    )
    table = Table(columns, tuple(rows), title=f"{what} against context", more=("name", "state_bytes"))
    batch = f"a batch of {request.scenario.batch:,}" if request.scenario.batch > 1 else "one sequence"
    says = (
        f"{what.capitalize()} of {batch}, {request.scenario.kv_format} format of the state, on log2 axes",
        "Colour: family of models; dash: the kind of attention that most layers have; each line ends at the longest context of its model",
        *(("Dashed across: memory that a program can use",) if request.rigs else ()),
    )
    title = f"{what.capitalize()} against context"
    return Drawing(title, table, lambda canvas: _draw(canvas, request, table, what), says, ("context",))


def _draw(canvas: Canvas, request: Request, table: Table, what: str) -> None:
    (axes,) = canvas.axes()
    look = looks(request.models, canvas.style)
    held = [number(row["held_bytes"]) for row in table.rows if row["held_bytes"]]
    contexts = [number(row["context"]) for row in table.rows if row["context"]]
    token_axis(axes, min(contexts), max(contexts))
    bytes_axis(axes, min(held, default=1), max(held, default=1), what)
    ends: list[End] = []
    for model in request.models:
        points = [(number(row["context"]), number(row["held_bytes"])) for row in table.rows if row["model"] == model.id]
        x, y = zip(*points, strict=True)
        axes.plot(x, y, color=look[model.id].colour, linestyle=look[model.id].dash, label=model.id)
        ends.append(End(x[-1], y[-1], end_text(canvas, model.name, bytes_text(y[-1])), look[model.id].colour))
    for row in table.rows:
        if row["context"] is None:
            size = number(row["held_bytes"])
            level(axes, size, canvas)
            ends.append(End(None, size, f"{row['model']} · {bytes_text(size)}", canvas.style.faint))
    end_labels(canvas, axes, ends)
