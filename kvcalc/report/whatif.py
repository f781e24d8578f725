"""What `whatif` prints: a model before and after a change, in sum and piece by piece; and the ladder of its tricks."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from kvcalc.hardware import Device
from kvcalc.ledger import Totals
from kvcalc.parallel import Plan
from kvcalc.report.table import Cell, Column, Document, Facts, Passage, Table, gib_column, scaled_column, text_column
from kvcalc.report.tables import scaled_count
from kvcalc.roofline import Answer
from kvcalc.scenario import NATIVE
from kvcalc.units import bytes_text, gib, scaled, seconds_text, significant, times, tokens
from kvcalc.verify import Verdict
from kvcalc.whatif import COSTS, MEANINGS, PLAIN_FORMAT, PUBLISHED, Change, Rung, Standing, factor, standings

Rig = tuple[Device, int, Plan | None]


def whatif(change: Change, rig: Rig | None = None, published: Sequence[Verdict] = ()) -> Document:
    """Before, after, difference and ratio; then the same by piece. `published`: figures of what the change undoes."""
    before, after = change.before, change.after
    stand = None if rig is None else standings([before, after], before, *rig)
    parts: list[Passage] = [_head(change, stand), _sums(change, stand, BEFORE_AFTER), _pieces(change)]
    notes = [*before.notes, *after.notes]
    if stand is not None:
        notes += [note for each in stand if each.answer is not None for note in each.answer.notes]
        notes += [f"after: {each.why}" for each in stand if each.why]
    if new := _new_rows(change):
        notes.append(f"stored in {PLAIN_FORMAT}, as the release has no such rows: {', '.join(new)}")
    notes += [_published(verdict) for verdict in published]
    return Document(f"{before.model.name} ({before.model.id})", tuple(parts), tuple(dict.fromkeys(notes)))


BEFORE_AFTER = ("before", "after")


def beside(change: Change, rig: Rig | None, names: tuple[str, str]) -> tuple[Passage, ...]:
    """What two models cost, in sum and piece by piece. `names`: what to call them."""
    stand = None if rig is None else standings([change.before, change.after], change.before, *rig)
    return (_head(change, stand), _sums(change, stand, names), _pieces(change))


def _head(change: Change, stand: Sequence[Standing] | None) -> Facts:
    scenario, then = change.before.scenario.line, change.after.scenario.line
    lines = [] if scenario == then else [("before", scenario), ("after", then)]
    lines += [("changed" if not place else "", words) for place, words in enumerate(change.words)]
    if stand is not None:
        lines += _device_lines(stand[0], "before and after")
    return Facts(tuple(lines), scenario if scenario == then else "")


def _device_lines(shipped: Standing, whose: str) -> list[tuple[str, str]]:
    """Which devices, under which plan, and what they hold."""
    verdict = shipped.answer
    if verdict is None:
        return []
    device, several = verdict.device, verdict.count > 1
    room = verdict.usable_bytes if verdict.usable_bytes is not None else verdict.memory_bytes
    each = " of each" if several else ""
    lines = [("on", (f"{verdict.count:,} x " if several else "") + f"{device.name} ({device.id})")]
    if several:
        asked = "as asked" if verdict.plan_asked else "that of the model as shipped"
        lines.append(("plan", f"{verdict.plan.line}: {asked}, {whose}"))
    if room is None:
        lines.append(("memory", f"what is built in{each} is not published"))
    else:
        kind = f"usable{each}" if verdict.usable_bytes is not None else f"built in{each}; what is usable is not published"
        lines.append(("memory", f"{bytes_text(room // verdict.count)} {kind}"))
    return lines


def _published(verdict: Verdict) -> str:
    """A published figure beside its computed value: under which convention, and why they differ."""
    check = verdict.check
    unit = f" {check.unit}" if check.unit else ""
    at = f" at {tokens(check.context)}" if check.context else ""
    outcome = "agrees" if verdict.agrees else f"differs: {check.because or 'no reason is known'}"
    return (
        f"published: {PUBLISHED[check.what]} saves {check.equals}{unit}{at} ({check.convention}); "
        f"counted so, {significant(verdict.computed)}{unit}, {outcome} [{check.source}]"
    )


def _new_rows(change: Change) -> list[str]:
    """Rows that only the changed model has, where their format is nobody's choice."""
    if change.after.scenario.kv_format != NATIVE:
        return []
    had = {row.name for row in change.before.state}
    return list(dict.fromkeys(row.name for row in change.after.state if row.name not in had and row.format == PLAIN_FORMAT))


Text = Callable[[Any], str]


def _sums(change: Change, stand: Sequence[Standing] | None, names: tuple[str, str]) -> Table:
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
    if stand is not None:
        was, now = stand[0].answer, stand[1].answer
        what = "TPOT" if before.scenario.phase == "decode" else "TTFT"
        lines += [
            ("memory of the fullest device", _each(was), _each(now), bytes_text),
            ("fits", _fits(was), _fits(now), str),
            (f"{what}, lower bound", _lower(was), _lower(now), seconds_text),
            ("tokens/s at most", stand[0].tokens_per_second, stand[1].tokens_per_second, significant),
            ("J per token at TDP", _joules(was), _joules(now), significant),
            ("USD per million tokens", _usd(was), _usd(now), significant),
        ]
    rows = tuple(_line(what, was, now, text) for what, was, now, text in lines)
    columns = (
        text_column("what", "what"),
        Column("before_text", names[0], raw="before"),
        Column("after_text", names[1], raw="after"),
        Column("difference_text", "difference", raw="difference"),
        _factor_column("ratio", "ratio"),
    )
    return Table(columns, rows)


def _each(verdict: Answer | None) -> int | None:
    """Bytes on the fullest device."""
    return None if verdict is None else verdict.needed_bytes // verdict.count


def _usd(verdict: Answer | None) -> float | None:
    return None if verdict is None else verdict.usd_per_million_tokens


def _joules(verdict: Answer | None) -> float | None:
    return None if verdict is None else verdict.joules_per_token


def _lower(verdict: Answer | None) -> float | None:
    return None if verdict is None or verdict.edge is None else verdict.edge.lower


def _fits(verdict: Answer | None) -> str | None:
    return None if verdict is None else "not known" if verdict.fits is None else "yes" if verdict.fits else "no"


def _factor_column(key: str, head: str) -> Column:
    return Column(key, head, times)


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
        f"rows that the release has not are stored in {PLAIN_FORMAT}, tensors that it has not in the format of their piece",
        "query heads, feed-forward blocks, residual and embeddings stay as they are, but for the trick itself",
        "the ladder ends with the formats of the state and of the weights, as released or as asked",
    )
    return Document("whatif: the tricks, and what a model looks like without each", (table,), notes)


# -- the ladder ---------------------------------------------------------------------------------------------------------------------

FIGURES = ("state_bytes", "traffic_bytes", "flops")
SHORT = {"state_bytes": "state", "traffic_bytes": "traffic", "flops": "flops"}
MORE = tuple(f"{SHORT[key]}_{what}" for key in FIGURES for what in ("factor", "saved"))
"""What programs get of every rung beside the columns."""


def ladder(rungs: Sequence[Rung], rig: Rig | None = None) -> Document:
    """The rungs, from plain attention to the model as shipped: what each saves, and over the rung above; the last line is the whole."""
    last = rungs[-1]
    stand = None if rig is None else standings([rung.ledger for rung in rungs], last.ledger, *rig)
    rows = [_rung(rungs, stand, place) for place in range(len(rungs))]
    footer = _between(rungs, stand, 0, len(rungs) - 1) | {"name": "shipped over plain"}
    facts = [] if stand is None else _device_lines(stand[-1], "on every line")
    parts: list[Passage] = [Facts(tuple(facts), last.scenario.line) if facts else last.scenario.line]
    parts += _tables(rungs, rows, footer, stand)
    first, *others = [(rung.name, rung.meaning) for rung in rungs]
    told = f"{first[0]}: {first[1]}"
    parts.append(Facts(tuple(others), f"{told}\nand the model without each of the others:") if others else told)
    notes = [note for rung in reversed(rungs) for note in rung.ledger.notes]
    if stand is not None:
        notes += stand[-1].answer.notes if stand[-1].answer else ()
        notes.append("needs: weights and state on the fullest device; fits: in its usable memory; speeds are bounds, fit or not")
        notes += [f"{rung.name}: {each.why}" for rung, each in zip(rungs, stand, strict=True) if each.why]
    notes.append(
        "saves: against the line above, at this context; x: over the line above; the factors multiply to the last line, exactly"
    )
    return Document(f"{last.model.name} ({last.model.id})", tuple(parts), tuple(dict.fromkeys(notes)))


def _tables(
    rungs: Sequence[Rung], rows: list[dict[str, Cell]], footer: dict[str, Cell], stand: Sequence[Standing] | None
) -> list[Table]:
    """One table; with devices two, so that both stand within 80 columns."""
    name = text_column("name", "with")
    state = (
        gib_column("state_bytes", "state"),
        Column("state_saved", "saves [GiB]", _saved),
        _factor_column("state_factor", "x"),
    )
    traffic = (gib_column("traffic_bytes", "traffic"), _factor_column("traffic_factor", "x"))
    flops = [rung.flops for rung in rungs]
    work = (scaled_column("flops", "work", "FLOP", flops), _factor_column("flops_factor", "x"))
    more = (*MORE, "meaning")
    if stand is None:
        return [Table((name, *state, *traffic, *work), tuple(rows), (footer,), more=more)]
    device = (
        gib_column("fullest_bytes", "needs"),
        Column("fits", "fits"),
        Column("tokens_per_second", "at most [tok/s]", significant),
        _factor_column("speed_factor", "x"),
    )
    saved = scaled_column("flops_saved", "saves", "FLOP", flops)
    costs = (
        traffic[0],
        Column("traffic_saved", "saves [GiB]", _saved),
        traffic[1],
        work[0],
        saved._replace(text=_less(saved.text)),
        work[1],
    )
    first = Table((name, *state, *device), tuple(rows), (footer,), more=("traffic_bytes", "flops", *more))
    return [first, Table((name, *costs), tuple(rows), (footer,))]


def _less(text: Text) -> Text:
    """Bytes or FLOPs saved; what a trick costs has a minus."""
    return lambda value: "0" if not value else ("-" if value < 0 else "") + text(abs(value))


_saved = _less(gib)


def _rung(rungs: Sequence[Rung], stand: Sequence[Standing] | None, place: int) -> dict[str, Cell]:
    rung = rungs[place]
    row: dict[str, Cell] = {"name": rung.name, "meaning": rung.meaning}
    row |= {key: getattr(rung, key) for key in FIGURES}
    if stand is not None:
        verdict = stand[place].answer
        row |= {"fullest_bytes": _each(verdict), "fits": _fits(verdict), "tokens_per_second": stand[place].tokens_per_second}
    return row | (_between(rungs, stand, place - 1, place) if place else {})


def _between(rungs: Sequence[Rung], stand: Sequence[Standing] | None, above: int, place: int) -> dict[str, Cell]:
    """What one rung saves against another, and how many times it is."""
    row: dict[str, Cell] = {}
    for key in FIGURES:
        was, now = getattr(rungs[above], key), getattr(rungs[place], key)
        row |= {f"{SHORT[key]}_saved": was - now, f"{SHORT[key]}_factor": factor(now, was)}
    if stand is not None:
        before, after = stand[above].tokens_per_second, stand[place].tokens_per_second
        row["speed_factor"] = None if before is None or after is None else factor(after, before)
    return row
