"""What `whatif` prints: a model before and after a change, in sum and piece by piece; and the ladder of its tricks."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from kvcalc.hardware import Device
from kvcalc.ledger import Totals
from kvcalc.parallel import Plan
from kvcalc.report.table import Cell, Column, Document, Table, gib_column, scaled_column, text_column
from kvcalc.report.tables import scaled_count
from kvcalc.roofline import Answer, answer
from kvcalc.scenario import NATIVE
from kvcalc.units import bytes_text, gib, scaled, seconds_text, significant
from kvcalc.whatif import COSTS, MEANINGS, PLAIN_FORMAT, Change, Rung, factor, speeds

Rig = tuple[Device, int, Plan | None]
DIGITS = (3, 4, 5, 6)


def whatif(change: Change, rig: Rig | None = None) -> Document:
    """Before, after, difference and ratio; then the same by piece."""
    before, after = change.before, change.after
    verdicts = None if rig is None else (answer(before, *rig), answer(after, *rig))
    scenario, then = before.scenario.line, after.scenario.line
    said = [f"changed: {words}" for words in change.words]
    lines = "\n".join([scenario if scenario == then else f"before: {scenario}\nafter:  {then}", *said])
    notes = [*before.notes, *(note for note in after.notes if note not in before.notes)]
    if verdicts is not None:
        notes += dict.fromkeys(verdicts[0].notes + verdicts[1].notes)
    if new := _new_rows(change):
        notes.append(f"stored in bf16, as the release has no such rows: {', '.join(new)}")
    return Document(f"{before.model.name} ({before.model.id})", (lines, _sums(change, verdicts), _pieces(change)), tuple(notes))


def _new_rows(change: Change) -> list[str]:
    """Rows that only the changed model has, where their format is nobody's choice."""
    if change.after.scenario.kv_format != NATIVE:
        return []
    had = {row.name for row in change.before.state}
    return list(dict.fromkeys(row.name for row in change.after.state if row.name not in had and row.format == PLAIN_FORMAT))


Text = Callable[[Any], str]


def _sums(change: Change, verdicts: tuple[Answer, Answer] | None) -> Table:
    (one, two), before, after = change.totals, change.before, change.after
    lines: list[tuple[str, Cell, Cell, Text]] = [
        ("parameters", one.parameters, two.parameters, scaled_count),
        ("active parameters", one.active_parameters, two.active_parameters, scaled_count),
        ("weights", one.weight_bytes, two.weight_bytes, bytes_text),
        ("state", one.state_bytes, two.state_bytes, bytes_text),
        ("state of a further token", before.state_bytes_per_token, after.state_bytes_per_token, bytes_text),
        ("traffic", one.read_bytes + one.written_bytes, two.read_bytes + two.written_bytes, bytes_text),
        ("work", one.flops, two.flops, lambda value: scaled(value, "FLOP")),
        ("attention work", one.attention_flops, two.attention_flops, lambda value: scaled(value, "FLOP")),
    ]
    if verdicts is not None:
        was, now = verdicts
        what = "TPOT" if before.scenario.phase == "decode" else "TTFT"
        lines += [
            ("fits", _yes(was.fits), _yes(now.fits), str),
            (f"{what}, lower bound", was.bound.lower, now.bound.lower, seconds_text),
            ("tokens/s at most", was.tokens_per_second, now.tokens_per_second, significant),
            ("J per token at TDP", was.joules_per_token, now.joules_per_token, significant),
            ("USD per million tokens", was.usd_per_million_tokens, now.usd_per_million_tokens, significant),
        ]
    rows = tuple(_line(what, was, now, text) for what, was, now, text in lines)
    columns = (
        text_column("what", "what"),
        Column("before_text", "before", raw="before"),
        Column("after_text", "after", raw="after"),
        Column("difference_text", "difference", raw="difference"),
        _factor_column("ratio", "ratio"),
    )
    return Table(columns, rows)


def _factor_column(key: str, head: str) -> Column:
    return Column(key, head, _factor)


def _factor(value: Fraction) -> str:
    """Three digits, or as many more as tell it from 1: 1.0004 is a cost, and 1 is none."""
    exact = Fraction(value)
    if exact == 1:
        return "1"
    return next((text for text in (significant(exact, digits) for digits in DIGITS) if float(text) != 1), "1.00")


def _line(what: str, was: Cell, now: Cell, text: Text) -> dict[str, Cell]:
    row: dict[str, Cell] = {
        "what": what,
        "before_text": None if was is None else text(was),
        "after_text": None if now is None else text(now),
        "before": was,
        "after": now,
    }
    if isinstance(was, int | float) and isinstance(now, int | float):
        more = now - was
        sign = "+" if more > 0 else "-" if more < 0 else ""
        row["difference_text"] = sign + text(abs(more)) if more else "0"
        row["difference"] = more
        row["ratio"] = Fraction(now) / Fraction(was) if was else None
    return row


def _yes(fits: bool | None) -> str:
    return "not known" if fits is None else "yes" if fits else "no"


def _pieces(change: Change) -> Table:
    """State, traffic and work of each piece, before and after. Pieces only one side has count as nothing on the other."""
    rows = [_piece(name, was, now) for name, (was, now) in change.by("piece").items()]
    footer = _piece("total", *change.totals)
    flops = [footer["flops_before"], footer["flops_after"]]
    columns = (
        text_column("name", "piece"),
        gib_column("state_before", "state"),
        Column("state_difference", "+/-", _signed),
        gib_column("traffic_before", "traffic"),
        Column("traffic_difference", "+/-", _signed),
        scaled_column("flops_before", "work", "FLOP", flops),
        Column("flops_difference", "+/-", _same_scale(flops)),
    )
    return Table(columns, tuple(rows), (footer,), more=tuple(footer))


def _piece(name: str, was: Totals, now: Totals) -> dict[str, Cell]:
    row: dict[str, Cell] = {"name": name}
    for key, one, two in (
        ("weight", was.weight_bytes, now.weight_bytes),
        ("state", was.state_bytes, now.state_bytes),
        ("traffic", was.read_bytes + was.written_bytes, now.read_bytes + now.written_bytes),
        ("flops", was.flops, now.flops),
    ):
        row |= {f"{key}_before": one, f"{key}_after": two, f"{key}_difference": two - one}
    return row


def _signed(value: int) -> str:
    return "0" if not value else ("+" if value > 0 else "-") + gib(abs(value))


def _same_scale(values: list[Cell]) -> Text:
    column = scaled_column("", "", "FLOP", values)
    return lambda value: "0" if not value else ("+" if value > 0 else "-") + column.text(abs(value))


def explained() -> Document:
    """What a model looks like without each trick: `kvcalc explain whatif`."""
    rows: tuple[dict[str, Cell], ...] = tuple({"trick": name, "without": meaning} for name, meaning in MEANINGS.items())
    table = Table((text_column("trick", "trick"), text_column("without", "the model without it")), rows)
    notes = (
        "the order is the ladder's, from plain attention to the model as shipped; --without undoes from the last to the first",
        f"these take bytes rather than save them: {', '.join(COSTS)}",
        f"rows and tensors that the release has not are stored in {PLAIN_FORMAT}",
        "the ladder ends with the formats of the state and of the weights, as released or as asked",
    )
    return Document("whatif: the tricks, and what a model looks like without each", (table,), notes)


def ladder(rungs: Sequence[Rung], rig: Rig | None = None) -> Table:
    """The rungs, from plain attention to the model as shipped. `x`: this rung over the one above; the last line is the whole."""
    fast = None if rig is None else speeds(rungs, *rig)
    rows = [_rung(rungs, place) for place in range(len(rungs))]
    first, last = rungs[0], rungs[-1]
    footer: dict[str, Cell] = {
        "name": "shipped over plain",
        "state_factor": factor(last.state_bytes, first.state_bytes),
        "traffic_factor": factor(last.traffic_bytes, first.traffic_bytes),
        "flops_factor": factor(last.flops, first.flops),
    }
    if fast is not None:
        for row, speed in zip(rows, fast, strict=True):
            row["tokens_per_second"] = speed
    flops = [rung.flops for rung in rungs]
    columns = [
        text_column("name", "with"),
        gib_column("state_bytes", "state"),
        _factor_column("state_factor", "x"),
        gib_column("traffic_bytes", "traffic"),
        _factor_column("traffic_factor", "x"),
        scaled_column("flops", "work", "FLOP", flops),
        _factor_column("flops_factor", "x"),
    ]
    if fast is not None:
        columns.append(Column("tokens_per_second", "at most [tok/s]", significant))
    scenario = last.ledger.scenario
    notes = [f"{rung.name}: {rung.meaning}" for rung in rungs]
    notes.append("x: over the line above; the factors multiply to the last line, exactly")
    model = last.ledger.model
    return Table(
        tuple(columns),
        tuple(rows),
        (footer,),
        title=f"{model.name} ({model.id}), {scenario.line}",
        notes=tuple(notes),
        more=("meaning",),
    )


def _rung(rungs: Sequence[Rung], place: int) -> dict[str, Cell]:
    rung, above = rungs[place], rungs[max(place - 1, 0)]
    row: dict[str, Cell] = {
        "name": rung.name,
        "meaning": rung.meaning,
        "state_bytes": rung.state_bytes,
        "traffic_bytes": rung.traffic_bytes,
        "flops": rung.flops,
    }
    if place:
        row["state_factor"] = factor(rung.state_bytes, above.state_bytes)
        row["traffic_factor"] = factor(rung.traffic_bytes, above.traffic_bytes)
        row["flops_factor"] = factor(rung.flops, above.flops)
    return row
