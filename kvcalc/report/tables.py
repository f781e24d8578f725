"""What each command prints: ledgers and bounds as tables, and the JSON of `estimate`."""

from collections.abc import Sequence
from fractions import Fraction
from shlex import quote
from typing import Any

from kvcalc import __version__
from kvcalc.efficiency import Factor, efficiency, weight_width
from kvcalc.hardware import Device
from kvcalc.importers import is_source
from kvcalc.ledger import Entry, Ledger, grouped, ledger, total, what_is_known
from kvcalc.report.table import (
    Cell,
    Column,
    Document,
    Facts,
    Passage,
    Table,
    gib_column,
    percent_column,
    ratio_column,
    scaled_column,
    text_column,
    time_column,
)
from kvcalc.roofline import Answer, Bound, answer, bound
from kvcalc.scenario import Scenario
from kvcalc.spec import ModelSpec
from kvcalc.units import bytes_text, scaled, seconds_text, significant, tokens

SCHEMA_VERSION = 1
SAID_IF_ASKED: dict[str, Any] = {"cached": 0, "chunk": None, "math": "native", "include": ()}
"""Parts of a scenario that the JSON of `estimate` names only where they are not as usual."""


def _share(part: int, whole: int) -> Fraction:
    return Fraction(part, whole) if whole else Fraction(0)


# -- estimate -----------------------------------------------------------------------------------------------------------------------


def estimate(book: Ledger, verdict: Answer | None = None, by: str = "piece", asked: str | None = None) -> Document:
    """The ledger of one model: what is eaten, by which piece; with a device, what that means."""
    parts: list[Passage] = [_summary(book), _pieces(book, verdict, by)]
    if verdict is not None:
        parts.append(_device_lines(book, verdict))
    notes = [
        *book.notes,
        *(verdict.notes if verdict else ()),
        *_left_out(book),
        *(["time: of each piece alone; the total is less where one overlaps another"] if verdict and verdict.edge else []),
        *(book.model.caveats if asked is not None and is_source(asked) else ()),
        f"where each number comes from: kvcalc explain {quote(asked or book.model.id)}",
    ]
    return Document(f"{book.model.name} ({book.model.id})", tuple(parts), tuple(notes))


def _summary(book: Ledger) -> Facts:
    sums = book.totals
    if book.model.unknown:
        growth = f"{bytes_text(book.state_bytes_per_token)} for each further token of a sequence, {_formats(book)}"
        missing = ", ".join(book.model.unknown)
        lines = [("parameters", f"not known: no {missing}"), ("state", f"{bytes_text(sums.state_bytes)}; {growth}")]
        return Facts(tuple(lines), book.scenario.line)
    step = "per step" if book.scenario.phase == "decode" else "for the whole prompt"
    memory = sums.weight_bytes + sums.state_bytes
    lines = [
        ("parameters", f"{scaled_count(sums.parameters)}, {scaled_count(sums.active_parameters)} active for one token"),
        ("memory", f"{bytes_text(memory)} = weights {bytes_text(sums.weight_bytes)} + state {bytes_text(sums.state_bytes)}"),
        ("state", f"{bytes_text(book.state_bytes_per_token)} for each further token of a sequence, {_formats(book)}"),
        ("traffic", f"{bytes_text(sums.read_bytes)} read, {bytes_text(sums.written_bytes)} written {step}"),
        ("work", f"{scaled(sums.flops, 'FLOP')} {step}, {scaled(sums.attention_flops, 'FLOP')} of it attention"),
    ]
    return Facts(tuple(lines), book.scenario.line)


def scaled_count(count: int) -> str:
    """Parameters as people say them: 4.63 B."""
    return scaled(count, "").replace(" G", " B").strip()


def _formats(book: Ledger) -> str:
    names = list(dict.fromkeys(entry.format for entry in book.state))
    return f"in {', '.join(names)}" if names else "none kept"


def _pieces(book: Ledger, verdict: Answer | None, by: str) -> Table:
    sums = book.totals
    if book.model.unknown:
        return _state_alone(book, by)
    parts = book.by(by)
    rows = [_piece_row(name, entries, book) for name, entries in parts.items() if name or any(e.flops for e in entries)]
    footer = _piece_row("total", book.entries, book)
    timed = verdict is not None and verdict.edge is not None
    if verdict is not None and timed:
        on_one = grouped(verdict.entries, by)
        for row, name in zip(
            rows, (name for name, entries in parts.items() if name or any(e.flops for e in entries)), strict=True
        ):
            row["seconds_lower"] = bound(on_one.get(name, ()), verdict.device).lower
        footer["seconds_lower"] = verdict.bound.lower
    columns: list[Column] = [
        text_column("name", by),
        scaled_column("parameters", "params", "", [sums.parameters]),
        gib_column("weight_bytes", "weights"),
        gib_column("state_bytes", "state"),
        percent_column("memory_share", "mem [%]"),
        gib_column("traffic_bytes", "traffic"),
        percent_column("traffic_share", "traf [%]"),
        scaled_column("flops", "work", "FLOP", [sums.flops]),
    ]
    if verdict is not None and timed:
        columns.append(time_column("seconds_lower", "time", verdict.bound.lower))
    return Table(tuple(columns), tuple(rows), (footer,))


def _state_alone(book: Ledger, by: str) -> Table:
    """The state of a model whose weights are not known."""
    rows: list[dict[str, Cell]] = [
        {"name": name, "state_bytes": total(entries).state_bytes} for name, entries in book.by(by).items()
    ]
    footer: dict[str, Cell] = {"name": "total", "state_bytes": book.totals.state_bytes}
    return Table((text_column("name", by), gib_column("state_bytes", "state")), tuple(rows), (footer,))


def _piece_row(name: str, entries: Sequence[Entry], book: Ledger) -> dict[str, Cell]:
    sums, whole = total(entries), book.totals
    traffic = sums.read_bytes + sums.written_bytes
    return {
        "name": name or "products",
        "parameters": sums.parameters,
        "weight_bytes": sums.weight_bytes,
        "state_bytes": sums.state_bytes,
        "memory_share": _share(sums.weight_bytes + sums.state_bytes, whole.weight_bytes + whole.state_bytes),
        "read_bytes": sums.read_bytes,
        "written_bytes": sums.written_bytes,
        "traffic_bytes": traffic,
        "traffic_share": _share(traffic, whole.read_bytes + whole.written_bytes),
        "flops": sums.flops,
    }


def reached_words(reached: Factor, most: float, what: str) -> str:
    """What measured systems make of a bound: '65.0 to 96.0 tokens/s: measured systems reach 54 to 80 % of the bound ...'."""
    low, high = significant(reached.low * most), significant(reached.high * most)
    share = f"{100 * reached.low:.0f} to {100 * reached.high:.0f} % of the bound, median {100 * reached.median:.0f} %"
    years = f", {reached.eras}" if reached.eras else ""
    return (
        f"{low} to {high} {what}: measured systems reach {share} ({reached.rows} rows of {reached.systems} systems: {reached.label}"
        f"{years}; a further one lies inside in {100 * reached.claim:.0f} of 100 cases)"
    )


def reached_by(book: Ledger, verdict: Answer) -> Factor | None:
    """The measurements that stand nearest to a scenario on a device."""
    scenario = book.scenario
    return efficiency(verdict.device, scenario.phase, scenario.batch, weight_width(book))


def _device_lines(book: Ledger, verdict: Answer) -> Facts:
    reached = reached_by(book, verdict)
    device, edge = verdict.device, verdict.edge
    name = (f"{verdict.count} x " if verdict.count > 1 else "") + f"{device.name} ({device.id})"
    capacity = verdict.usable_bytes if verdict.usable_bytes is not None else verdict.memory_bytes
    needed, each = verdict.needed_bytes, " on each" if verdict.count > 1 else ""
    needed, capacity = needed // verdict.count, None if capacity is None else capacity // verdict.count
    if capacity is None:
        fits = f"not known: {bytes_text(needed)} needed{each}; what is built in is not published"
    elif verdict.fits is None:
        fits = f"not known: {bytes_text(needed)} needed{each} of {bytes_text(capacity)} built in"
    elif verdict.fits:
        fits = f"yes: {bytes_text(needed)} of {bytes_text(capacity)} usable{each}, {bytes_text(capacity - needed)} left"
    else:
        fits = f"no: {bytes_text(needed)} needed{each}, {bytes_text(capacity)} there, {bytes_text(needed - capacity)} short"
    what = "tokens/s" if book.scenario.phase == "decode" else "prompt tokens/s"
    time = "TPOT" if book.scenario.phase == "decode" else "TTFT"
    lines = [
        ("on", name),
        *([("plan", _plan_words(verdict))] if verdict.count > 1 else []),
        ("fits", fits),
    ]
    if edge is None:
        return Facts((*lines, (time, "not known: the memory bandwidth is not known")))
    lines += [
        (time, _bound_words(edge)),
        *([("links", _links_words(verdict, edge))] if verdict.collectives else []),
        ("speed", f"at most {significant(verdict.tokens_per_second)} {what}{_known(edge)}"),
    ]
    if verdict.measured is not None:
        at = verdict.measured
        speed = f"{significant(verdict.tokens / at.lower)} {what}"
        lines.append(("as measured", f"{seconds_text(at.lower)}, {speed}, with products at measured rates where no peak is published"))
    if reached is not None:
        lines.append(("reached", reached_words(reached, verdict.tokens_per_second, what)))
    if verdict.joules_per_token is not None and device.power is not None:
        lines.append(
            ("energy", f"{significant(verdict.joules_per_token)} J per token at {device.power.value} for the lower bound's time")
        )
    if verdict.usd_per_million_tokens is not None and device.cloud_price is not None:
        price = f"{device.cloud_price.value} ({device.cloud_price.date})"
        lines.append(("cost", f"{significant(verdict.usd_per_million_tokens)} USD per million tokens at {price}"))
    return Facts(tuple(lines))


def _known(edge: Bound) -> str:
    return "" if edge.math_seconds is not None else ", by its memory alone: how fast it computes is not known"


def _bound_words(edge: Bound) -> str:
    upper = f"upper bound {seconds_text(edge.upper)}" if edge.upper is not None else "upper bound not known"
    return f"lower bound {seconds_text(edge.lower)}, {upper}; bound by {edge.bound_by}; {significant(edge.intensity)} FLOP/B"


def _plan_words(verdict: Answer) -> str:
    layers = [str(len(stage.layers)) for stage in verdict.stages]
    return verdict.plan.line + (f" of {', '.join(layers)} layers" if len(layers) > 1 else "")


def _step(verdict: Answer) -> str:
    return "per step" if verdict.stages[0].ledger.scenario.phase == "decode" else "for the prompt"


def _links_words(verdict: Answer, edge: Bound) -> str:
    sent: dict[str, int] = {}
    for collective in verdict.collectives:
        sent[collective.name] = sent.get(collective.name, 0) + collective.bytes
    words = ", ".join(f"{name} {bytes_text(size)}" for name, size in sent.items())
    return f"one device sends {words} {_step(verdict)}: {seconds_text(edge.link_seconds)}"


def _left_out(book: Ledger) -> list[str]:
    left = [name for name in book.model.optional_pieces if name not in book.scenario.include and not book.model.unknown]
    counted = []
    for name in left:
        sums = total(ledger(book.model, Scenario(context=book.scenario.context, include=(name,))).entries)
        extra = sums.parameters - total(ledger(book.model, Scenario(context=book.scenario.context)).entries).parameters
        counted.append(f"{name} ({scaled_count(extra)} parameters)")
    return [f"not counted: {', '.join(counted)}; count what they hold with --include"] if counted else []


def estimate_json(book: Ledger, verdict: Answer | None = None) -> dict[str, Any]:
    """The JSON contract of `estimate`: raw integers in base units, stable keys; null where the model's weights are not known."""
    sums, scenario = book.totals, book.scenario

    def known(value: int) -> int | None:
        return None if book.model.unknown else value

    return {
        "schema_version": SCHEMA_VERSION,
        "kvcalc_version": __version__,
        "model": {"id": book.model.id, "name": book.model.name},
        "scenario": {
            "phase": scenario.phase,
            "context": scenario.context,
            "batch": scenario.batch,
            "kv_format": scenario.kv_format,
            "weight_format": scenario.weight_format,
            "allocator": scenario.allocator,
            **{name: value for name, usual in SAID_IF_ASKED.items() if (value := getattr(scenario, name)) != usual},
        },
        "parameters": {"total": known(sums.parameters), "active": known(sums.active_parameters)},
        "totals": {
            "weight_bytes": known(sums.weight_bytes),
            "state_bytes": sums.state_bytes,
            "state_bytes_per_sequence": sums.state_bytes // scenario.batch,
            "state_bytes_per_token": book.state_bytes_per_token,
            "read_bytes": known(sums.read_bytes),
            "written_bytes": known(sums.written_bytes),
            "flops": known(sums.flops),
            "attention_flops": known(sums.attention_flops),
        },
        "pieces": []
        if book.model.unknown
        else [_piece_json(name, entries, book.model.num_hidden_layers) for name, entries in book.by("piece").items()],
        "state": [
            {
                "group": entry.group,
                "kind": entry.kind,
                "row": entry.name,
                "role": entry.role,
                "layers": entry.layers,
                "elements": entry.elements,
                "slots": entry.slots,
                "format": entry.format,
                "bytes": entry.state_bytes,
            }
            for entry in book.state
        ],
        "device": None if verdict is None else _device_json(verdict),
    }


def _piece_json(name: str, entries: Sequence[Entry], num_hidden_layers: int) -> dict[str, Any]:
    sums = total(entries)
    layers = {entry.group: entry.layers for entry in entries}
    return {
        "piece": name,
        "layers": min(sum(layers.values()), num_hidden_layers),
        "parameters": sums.parameters,
        "weight_bytes": sums.weight_bytes,
        "state_bytes": sums.state_bytes,
        "read_bytes": sums.read_bytes,
        "written_bytes": sums.written_bytes,
        "flops": sums.flops,
    }


def _device_json(verdict: Answer) -> dict[str, Any]:
    edge = verdict.edge
    return {
        "id": verdict.device.id,
        "count": verdict.count,
        **({"plan": _plan_json(verdict)} if verdict.plan_asked else {}),
        "fits": verdict.fits,
        "memory_bytes": verdict.memory_bytes,
        "usable_bytes": verdict.usable_bytes,
        "needed_bytes": verdict.needed_bytes,
        "headroom_bytes": verdict.headroom_bytes,
        "seconds_lower": None if edge is None else edge.lower,
        "seconds_upper": None if edge is None else edge.upper,
        "tokens_per_second": None if edge is None else verdict.tokens_per_second,
        "bound_by": None if edge is None else edge.bound_by,
        "intensity_flops_per_byte": None if edge is None else edge.intensity,
        "joules_per_token": verdict.joules_per_token,
        "usd_per_million_tokens": verdict.usd_per_million_tokens,
    }


def _plan_json(verdict: Answer) -> dict[str, Any]:
    plan = verdict.plan
    return {
        "tp": plan.tp,
        "pp": plan.pp,
        "ep": plan.ep,
        "dp": plan.dp,
        "fullest_device_bytes": verdict.needed_bytes // verdict.count,
        "link_seconds": None if verdict.edge is None else verdict.edge.link_seconds,
        "sent_bytes": sum(collective.bytes for collective in verdict.collectives),
    }


# -- compare ------------------------------------------------------------------------------------------------------------------------


def compare(models: Sequence[ModelSpec], scenarios: Sequence[Scenario], devices: Sequence[tuple[int, Device]] = ()) -> Table:
    """Models side by side, context by context. `relative` is the state against the smallest at that context."""
    rows: list[dict[str, Cell]] = []
    notes: dict[str, None] = {}
    for scenario in scenarios:
        books = [what_is_known(model, scenario) for model in models]
        least = min((book.totals.state_bytes for book in books if book.totals.state_bytes), default=1)
        for book in books:
            sums, known = book.totals, not book.model.unknown
            row: dict[str, Cell] = {
                "model": book.model.id,
                "context": scenario.context,
                "parameters": sums.parameters if known else None,
                "active_parameters": sums.active_parameters if known else None,
                "weight_bytes": sums.weight_bytes if known else None,
                "state_bytes": sums.state_bytes,
                "state_bytes_per_token": book.state_bytes_per_token,
                "traffic_bytes": sums.read_bytes + sums.written_bytes if known else None,
                "flops": sums.flops if known else None,
                "relative": Fraction(sums.state_bytes, least),
            }
            notes.update(dict.fromkeys(f"{book.model.id}: {note}" for note in book.notes))
            for count, device in devices if known else ():
                verdict = answer(book, device, count)
                row[_device_key(count, device)] = (
                    "no" if verdict.fits is False else None if verdict.edge is None else verdict.tokens_per_second
                )
                notes.update(dict.fromkeys(note for note in verdict.notes if "computed in" not in note))
            rows.append(row)
    columns = [
        text_column("model", "model"),
        Column("context", "ctx", tokens),
        gib_column("weight_bytes", "weights"),
        gib_column("state_bytes", "state"),
        ratio_column("relative", "rel."),
        Column("state_bytes_per_token", "B/token", lambda value: f"{value:,}"),
        gib_column("traffic_bytes", "traffic"),
        scaled_column("flops", "work", "FLOP", [row["flops"] for row in rows]),
        *(Column(_device_key(count, device), f"{_device_key(count, device)} [tok/s]", _speed) for count, device in devices),
    ]
    first = scenarios[0]
    title = f"{first.phase} · batch {first.batch:,} · state {first.kv_format} · weights {first.weight_format}"
    if devices:
        notes["tok/s: at most (perfect overlap at peak rates); no: does not fit"] = None
    notes["rel.: state against the smallest at that context; B/token: growth of one sequence; traffic and work: per step"] = None
    return Table(tuple(columns), tuple(rows), title=title, notes=tuple(notes))


def _device_key(count: int, device: Device) -> str:
    return f"{count}x{device.id}" if count > 1 else device.id


def _speed(value: object) -> str:
    return value if isinstance(value, str) else significant(float(str(value)))


# -- lists --------------------------------------------------------------------------------------------------------------------------


def attention_words(spec: ModelSpec) -> str:
    """The attention layout in a few words: '28 local gqa + 7 global gqa'."""
    counts: dict[str, int] = {}
    for layer in spec.plan:
        counts[layer.attention] = counts.get(layer.attention, 0) + 1
    shared = sum(layer.reuses is not None for layer in spec.plan)
    words = " + ".join(f"{count} {name}" for name, count in counts.items())
    return words + (f", {shared} share" if shared else "")
