"""What `energy` prints: joules, watt-hours and dollars per token, prefill and decode apart, piece by piece."""

from collections.abc import Sequence
from fractions import Fraction

from kvcalc.assumptions import Assumptions
from kvcalc.energy import Energy, shares
from kvcalc.energy import energy as energy_of
from kvcalc.hardware import Device
from kvcalc.ledger import Ledger, ledger
from kvcalc.parallel import Plan
from kvcalc.report.table import Cell, Column, Document, Passage, Table, percent_column, text_column
from kvcalc.report.tables import reached_by
from kvcalc.roofline import Answer
from kvcalc.roofline import answer as bounds
from kvcalc.scenario import Scenario
from kvcalc.spec import ModelSpec
from kvcalc.units import JOULES_PER_KWH, JOULES_PER_WH, MILLION, cell, significant

Phase = tuple[Ledger, Answer, Energy, str]
"""A step, its bounds, its energy, and at which speed: the bound, or what measured systems reach."""


def energy(
    model: ModelSpec, scenarios: Sequence[Scenario], device: Device, count: int, plan: Plan | None, assumptions: Assumptions
) -> Document:
    """Energy and money of a prefill and a decode step on the same devices."""
    phases: list[Phase] = []
    for scenario in scenarios:
        book = ledger(model, scenario)
        answer = bounds(book, device, count, plan)
        phases.append((book, answer, energy_of(book, answer, assumptions), "bound"))
        reached = reached_by(book, answer)
        if reached is not None:
            measured = energy_of(book, answer, assumptions, reached.median)
            phases.append((book, answer, measured, f"measured, {100 * reached.median:.0f} % of it"))
    return _document(phases, assumptions)


def _document(phases: Sequence[Phase], assumptions: Assumptions) -> Document:
    book, answer, _, _ = phases[0]
    where = (f"{answer.count} x " if answer.count > 1 else "") + f"{answer.device.name} ({answer.device.id})"
    notes = (
        "power: TDP is the most the devices may draw, idle what they draw at rest; a measured energy lies between, at the same time",
        "building: devices x host_overhead x pue; what is assumed is below, each value by a flag or --assumptions FILE",
    )
    parts: list[Passage] = [
        "\n".join(dict.fromkeys(book.scenario.line for book, *_ in phases)),
        _phases(phases),
        _pieces(phases),
        assumed(assumptions, ENERGY),
    ]
    return Document(f"{book.model.name} ({book.model.id}) on {where}", tuple(parts), notes)


ENERGY = ("host_overhead", "pue", "price", "power")


def _phases(phases: Sequence[Phase]) -> Table:
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
        text_column("speed", "at"),
        Column("idle_joules_per_token", "idle [J]", significant),
        Column("joules_per_token", "TDP [J]", significant),
        Column("building_joules_per_token", "building [J]", significant),
        Column("building_wh_per_token", "[mWh]", lambda value: significant(1000 * value)),
        Column("building_kwh_per_million_tokens", "per M [kWh]", significant),
        Column("usd_per_million_tokens", "per M [USD]", significant),
    )
    return Table(columns, tuple(rows), title="for each token; the last two for a million")


def _pieces(phases: Sequence[Phase]) -> Table:
    """Energy by piece, in proportion to the time that each takes alone, at the bound's speed."""
    names: dict[str, dict[str, Cell]] = {}
    footer: dict[str, Cell] = {"name": "total"}
    columns: list[Column] = [text_column("name", "piece")]
    for book, answer, one, speed in phases:
        if speed != "bound":
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
    return Table(tuple(columns), tuple(names.values()), (footer,), title="by piece, in proportion to time, at TDP")


def assumed(assumptions: Assumptions, names: Sequence[str]) -> Table:
    """Assumptions as a table: value, evidence, source."""
    rows: list[dict[str, Cell]] = []
    for name in names:
        given = getattr(assumptions, name)
        if given is None:
            continue
        rows.append(
            {
                "name": name,
                "value": given.value if isinstance(given.value, str) else f"{given.value:g}",
                "evidence": given.evidence,
                "source": given.source + (f" ({given.date})" if given.date else ""),
            }
        )
    columns = (
        text_column("name", "assumed"),
        text_column("value", "value"),
        text_column("evidence", "evidence"),
        text_column("source", "source"),
    )
    return Table(columns, tuple(rows))
