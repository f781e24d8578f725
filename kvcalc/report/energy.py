"""What `energy` prints: joules, watt-hours and dollars per token, prefill and decode apart, piece by piece."""

from collections.abc import Sequence
from fractions import Fraction

from kvcalc.assumptions import AS_ASKED, Assumed, Assumptions
from kvcalc.energy import Energy, completed, shares, with_speeds
from kvcalc.energy import energy as energy_of
from kvcalc.hardware import Device
from kvcalc.ledger import Ledger, ledger
from kvcalc.parallel import Plan
from kvcalc.report.table import Cell, Column, Document, Facts, Table, percent_column, text_column
from kvcalc.roofline import Answer
from kvcalc.roofline import answer as bounds
from kvcalc.scenario import Scenario
from kvcalc.spec import ModelSpec
from kvcalc.units import JOULES_PER_KWH, JOULES_PER_WH, MILLION, bytes_text, cell, significant

Phase = tuple[Ledger, Answer, Energy, float]
"""A step, its bounds, its energy, and at which part of the bound's speed."""
ASSUMED = ("decode_efficiency", "prefill_efficiency", "power", "idle_power", "host_overhead", "pue", "price")
ROUND = "a round number"
SHORT_POWERS = ("tdp", "tgp", "tbp")


def energy(
    model: ModelSpec, prefill: Scenario, decode: Scenario, device: Device, count: int, plan: Plan | None, assumptions: Assumptions
) -> tuple[Document, bool]:
    """Energy and money of a prefill and a decode step on the same devices; and whether nothing is known not to fit."""
    given = with_speeds(completed(assumptions, device), model, decode, device)
    phases: list[Phase] = []
    for scenario in (prefill, decode):
        book = ledger(model, scenario)
        answer = bounds(book, device, count, plan)
        reached = given.number(f"{scenario.phase}_efficiency")
        for speed in dict.fromkeys((1.0, reached)):
            phases.append((book, answer, energy_of(book, answer, given, speed), speed))
    fitting = all(answer.fits is not False for _, answer, _, _ in phases)
    return _document(phases, given, _at_work(assumptions, device)), fitting


def _at_work(assumptions: Assumptions, device: Device) -> str:
    """What the power at work is, in a word: TDP, or at work where it is given."""
    if assumptions.power is not None or device.power is None or device.power.kind not in SHORT_POWERS:
        return "at work"
    return device.power.kind.upper()


def _document(phases: Sequence[Phase], given: Assumptions, at_work: str) -> Document:
    book, answer, _, _ = phases[0]
    where = (f"{answer.count} x " if answer.count > 1 else "") + f"{answer.device.name} ({answer.device.id})"
    each = {one.scenario.phase: (one, verdict) for one, verdict, _, _ in phases}
    lines: list[tuple[str, str]] = [(phase, one.scenario.line.removeprefix(f"{phase} · ")) for phase, (one, _) in each.items()]
    lines += [("plan", answer.plan.line)] if answer.count > 1 else []
    lines += [(f"{phase} fits", _fit_words(verdict)) for phase, (_, verdict) in each.items()]
    said = [note for one, verdict in each.values() for note in (*one.notes, *verdict.notes)]
    notes = [
        *dict.fromkeys(said),
        f"{'power at work' if at_work == 'at work' else at_work}: the most that the devices draw; idle: what they draw at rest in the "
        "same time; what is measured lies between",
        "building: power at work x host_overhead x pue, and the Wh of it; M: a million tokens",
    ]
    if given.power is None:
        notes.append(f"the power of {answer.device.id} is not published: give it with --power, e.g. --power 300W")
    if given.price is None:
        notes.append(f"no price of {answer.device.id} is known: give it with --price, e.g. --price 2.10USD/h")
    notes.append("each assumption is changed by its flag or by --assumptions FILE")
    parts = (Facts(tuple(lines)), _phases(phases, at_work), _pieces(phases, at_work), *assumed(given, ASSUMED))
    return Document(f"{book.model.name} ({book.model.id}) on {where}", parts, tuple(notes))


def _fit_words(verdict: Answer) -> str:
    needed, each = verdict.needed_bytes // verdict.count, " on each" if verdict.count > 1 else ""
    room = verdict.usable_bytes if verdict.usable_bytes is not None else verdict.memory_bytes
    if room is None or verdict.fits is None:
        return f"not known: {bytes_text(needed)} needed{each}"
    word, kind = ("yes", "usable") if verdict.fits else ("no", "there")
    return f"{word}: {bytes_text(needed)} needed{each}, {bytes_text(room // verdict.count)} {kind}"


def _phases(phases: Sequence[Phase], at_work: str) -> Table:
    rows: list[dict[str, Cell]] = []
    for book, _, one, speed in phases:
        building = one.building_joules_per_token
        rows.append(
            {
                "phase": book.scenario.phase,
                "speed": speed,
                "idle_joules_per_token": one.idle_joules_per_token,
                "joules_per_token": one.joules_per_token,
                "building_joules_per_token": building,
                "building_wh_per_token": None if building is None else building / JOULES_PER_WH,
                "building_kwh_per_million_tokens": None if building is None else building / JOULES_PER_KWH * MILLION,
                "usd_per_million_tokens": one.usd_per_million_tokens,
            }
        )
    columns = (
        text_column("phase", "phase"),
        percent_column("speed", "of bound [%]"),
        Column("idle_joules_per_token", "idle [J/token]", significant),
        Column("joules_per_token", f"{at_work} [J/token]", significant),
        Column("building_joules_per_token", "building [J/token]", significant),
        Column("building_wh_per_token", "[mWh/token]", lambda value: significant(1000 * value)),
        Column("building_kwh_per_million_tokens", "[kWh/M]", significant),
        Column("usd_per_million_tokens", "cost [USD/M]", significant),
    )
    return Table(columns, tuple(rows))


def _pieces(phases: Sequence[Phase], at_work: str) -> Table:
    """Energy by piece, in proportion to the time that each takes alone, at the bound's speed."""
    names: dict[str, dict[str, Cell]] = {}
    footer: dict[str, Cell] = {"name": "total"}
    columns: list[Column] = [text_column("name", "piece")]
    for book, answer, one, speed in phases:
        if speed != 1:
            continue
        phase = book.scenario.phase
        joules = one.joules_per_token
        for name, share in shares(answer):
            row = names.setdefault(name, {"name": name})
            row[f"{phase}_share"] = share
            row[f"{phase}_joules_per_token"] = None if joules is None else share * joules
        footer |= {f"{phase}_share": 1.0, f"{phase}_joules_per_token": joules}
        columns += [
            percent_column(f"{phase}_share", f"{phase} [%]"),
            Column(f"{phase}_joules_per_token", f"{phase} [J/token]", lambda value: cell(Fraction(value))),
        ]
    where = "power at work" if at_work == "at work" else at_work
    title = f"by piece, in proportion to the time that each takes alone, at the bound's speed and {where}"
    return Table(tuple(columns), tuple(names.values()), (footer,), title=title)


# -- assumptions --------------------------------------------------------------------------------------------------------------------

UNITS = {"tokens_in": "tokens", "tokens_out": "tokens", "context": "tokens", "prompt": "tokens"}
DIGITS = 3


def assumed(given: Assumptions, names: Sequence[str]) -> tuple[Table, Facts]:
    """Assumptions as a table of values, and the sources below it."""
    rows = [_assumed_row(name, getattr(given, name), given) for name in names]
    columns = (
        text_column("name", "assumed"),
        text_column("text", "value")._replace(raw="value"),
        text_column("evidence", "evidence"),
        text_column("about", "what it is"),
    )
    table = Table(columns, tuple(rows), more=("source", "date", "note"))
    sources = [(name, _source_words(one)) for name in names if (one := getattr(given, name)) is not None and _has_source(one)]
    return table, Facts(
        tuple(sources) or (("all", "given, or round numbers"),), "sources; what has none here is given or a round number"
    )


def _assumed_row(name: str, one: Assumed | None, given: Assumptions) -> dict[str, Cell]:
    about = Assumptions.model_fields[name].description or ""
    if one is None:
        return {"name": name, "value": None, "text": "not known", "evidence": "-", "about": about}
    evidence = "as asked" if one.source == AS_ASKED else one.evidence
    row: dict[str, Cell] = {"source": one.source, "date": one.date, "note": one.note}
    return {"name": name, "value": one.value, "text": _value_words(name, one, given), "evidence": evidence, "about": about} | row


def _value_words(name: str, one: Assumed, given: Assumptions) -> str:
    if name in UNITS:
        count = given.tokens(name)
        return f"{int(count):,} {UNITS[name]}" if count.denominator == 1 else f"{significant(count, 6)} {UNITS[name]}"
    if isinstance(one.value, str):
        return one.value
    return (
        f"{one.value:,}"
        if isinstance(one.value, int)
        else significant(one.value)
        if one.evidence == "measured"
        else f"{one.value:g}"
    )


def _has_source(one: Assumed) -> bool:
    return one.source not in (AS_ASKED, ROUND)


def _source_words(one: Assumed) -> str:
    return one.source + (f" ({one.date})" if one.date else "") + (f"; {one.note}" if one.note else "")
