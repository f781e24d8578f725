"""What `fit` prints: what fits a device, how far it goes, and what would have to change."""

from collections.abc import Sequence

from kvcalc.errors import KvcalcError, ScenarioError
from kvcalc.hardware import Device
from kvcalc.ledger import ledger
from kvcalc.parallel import Plan
from kvcalc.report.table import (
    Cell,
    Column,
    Document,
    Facts,
    Passage,
    Table,
    count_column,
    gib_column,
    scaled_column,
    text_column,
)
from kvcalc.roofline import answer, plan_of
from kvcalc.scenario import Scenario
from kvcalc.solve import capacity, fewest_devices, fits, held_bytes, largest_batch, largest_context, remedies
from kvcalc.spec import ModelSpec
from kvcalc.units import MAX_TOKENS, bytes_text, significant, tokens

FRONTIER = tuple(1 << power for power in range(10, 31))
"""Contexts of the frontier: powers of two, as far as the model goes."""


def fit(model: ModelSpec, scenario: Scenario, device: Device, count: int, plan: Plan | None) -> tuple[Document, bool]:
    """How far one model goes on devices of one kind; and whether the scenario as asked fits."""
    chosen = plan if plan is not None else plan_of(model, scenario, device, count)
    if chosen.devices != count:
        raise ScenarioError(
            f"the plan takes {chosen.devices:,} devices, {count:,} are given", f"--on {chosen.devices}x{device.id}"
        )
    there, held = capacity(device), held_bytes(model, scenario, chosen)
    context = largest_context(model, scenario, device, chosen)
    batch = largest_batch(model, scenario, device, chosen)
    fewest = fewest_devices(model, scenario, device)
    lines = [
        ("asked", f"{scenario.line} on {count} x {device.id}" + (f" ({chosen.line})" if count > 1 else "")),
        (
            "fits",
            ("yes" if held <= there else "no") + f": {bytes_text(held)} of {bytes_text(there)} usable on the fullest device",
        ),
        ("largest context", _context_words(context, scenario, model)),
        ("largest batch", "none" if batch is None else f"{batch:,} at context {tokens(scenario.context)}"),
        ("fewest devices", "more than 4,096" if fewest is None else f"{fewest.devices:,} ({fewest.line})"),
    ]
    parts: list[Passage] = [Facts(tuple(lines)), _frontier(model, scenario, device, chosen)]
    if held > there:
        parts.append(_remedies(model, scenario, device, chosen))
    notes = (
        f"exact: each answer fits by the ledger of `kvcalc estimate`, one token or sequence more does not ({chosen.line}); fewest devices: "
        "over tensor parallel with pipeline stages, and over replicas with all experts dealt out",
        "weights and state alone: what an engine reserves, its activations and its CUDA context come on top",
    )
    return Document(f"{model.name} ({model.id}) on {device.name}", tuple(parts), notes), held <= there


def _context_words(context: int | None, scenario: Scenario, model: ModelSpec) -> str:
    if context is None:
        return f"none: not one token at batch {scenario.batch:,}"
    if context == MAX_TOKENS:
        return f"any at batch {scenario.batch:,}: its state stops growing; the model goes to {model.max_context:,}"
    beyond = f"; the model goes to {model.max_context:,}" if context > model.max_context else ""
    return f"{context:,} tokens at batch {scenario.batch:,}{beyond}"


def _frontier(model: ModelSpec, scenario: Scenario, device: Device, plan: Plan) -> Table:
    from dataclasses import replace

    rows: list[dict[str, Cell]] = []
    contexts = [context for context in FRONTIER if context <= model.max_context]
    for context in [*contexts, *([model.max_context] if model.max_context not in contexts else [])]:
        at = replace(scenario, context=context)
        batch = largest_batch(model, at, device, plan)
        row: dict[str, Cell] = {"context": context, "batch": batch, "held_bytes": None, "headroom_bytes": None}
        if batch is not None:
            held = held_bytes(model, replace(at, batch=batch), plan)
            row |= {"held_bytes": held, "headroom_bytes": capacity(device) - held}
            if device.bandwidth is not None:
                verdict = answer(ledger(model, replace(at, batch=batch)), device, plan.devices, plan)
                row["tokens_per_second"] = verdict.tokens_per_second
        rows.append(row)
    columns = (
        Column("context", "context", tokens),
        count_column("batch", "largest batch"),
        gib_column("held_bytes", "held"),
        gib_column("headroom_bytes", "left"),
        Column("tokens_per_second", "at most [tok/s]", lambda value: significant(value)),
    )
    return Table(columns, tuple(rows), title="frontier: the largest batch at each context")


def _remedies(model: ModelSpec, scenario: Scenario, device: Device, plan: Plan) -> Table:
    rows: list[dict[str, Cell]] = [
        {
            "what": remedy.what,
            "held_bytes": remedy.held_bytes,
            "headroom_bytes": capacity(device) - remedy.held_bytes,
            "devices": remedy.plan.devices,
        }
        for remedy in remedies(model, scenario, device, plan)
    ]
    columns = (
        text_column("what", "it fits with"),
        gib_column("held_bytes", "held"),
        gib_column("headroom_bytes", "left"),
        count_column("devices", "devices"),
    )
    return Table(
        columns,
        tuple(rows),
        title="what would have to change" if rows else "no single change of format, context or devices helps",
    )


def which(models: Sequence[ModelSpec], scenario: Scenario, device: Device, count: int) -> Table:
    """The models that fit at a context, the largest first."""
    capacity(device)  # refuses a device of which nobody knows how much a program may use
    rows: list[dict[str, Cell]] = []
    left_out = []
    beyond = [model.id for model in models if scenario.context > model.max_context]
    for model in models:
        if model.id in beyond:
            continue
        try:
            plan = plan_of(model, scenario, device, count)
            if not fits(model, scenario, device, plan):
                continue
        except KvcalcError:
            left_out.append(model.id)
            continue
        book = ledger(model, scenario)
        verdict = answer(book, device, count, plan)
        rows.append(
            {
                "model": model.id,
                "parameters": book.totals.parameters,
                "active_parameters": book.totals.active_parameters,
                "held_bytes": held_bytes(model, scenario, plan),
                "batch": largest_batch(model, scenario, device, plan),
                "context": largest_context(model, scenario, device, plan, model.max_context),
                "tokens_per_second": None if verdict.edge is None else verdict.tokens_per_second,
            }
        )
    rows.sort(key=lambda row: (-_number(row["parameters"]), -_number(row["tokens_per_second"])))
    columns = (
        text_column("model", "model"),
        scaled_column("parameters", "params", "", [row["parameters"] for row in rows]),
        scaled_column("active_parameters", "active", "", [row["active_parameters"] for row in rows]),
        gib_column("held_bytes", "held"),
        Column("context", "up to ctx", tokens),
        count_column("batch", "batch"),
        Column("tokens_per_second", "at most [tok/s]", lambda value: significant(value)),
    )
    notes = [
        f"{len(rows)} of {len(models)} models fit; the largest first; batch: the most sequences of {tokens(scenario.context)}; "
        "up to ctx: the longest context at this batch, within the model's maximum",
    ]
    if beyond:
        notes.append(f"not asked, as their maximum context is shorter: {', '.join(beyond)}")
    if left_out:
        notes.append(f"cannot be divided or stored so: {', '.join(left_out)}")
    where = f"{count} x {device.id}" if count > 1 else device.id
    return Table(columns, tuple(rows), title=f"{scenario.line} on {where}", notes=tuple(notes))


def _number(value: Cell) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
