"""Tables of the article: over contexts, on devices, published claims, and all techniques side by side."""

from collections.abc import Iterable, Sequence
from fractions import Fraction

from kvcalc import catalog
from kvcalc.errors import KvcalcError
from kvcalc.evidence import figures
from kvcalc.judge import judge_all
from kvcalc.ledger import Ledger, ledger
from kvcalc.published import Check
from kvcalc.report.article.techniques import Technique
from kvcalc.report.article.words import Pair, ratio, traffic
from kvcalc.report.figures import Rig
from kvcalc.report.table import Cell, Column, Table, count_column, gib_column, scaled_column, text_column
from kvcalc.report.tables import reached_by
from kvcalc.report.verdicts import of_evidence
from kvcalc.roofline import Answer
from kvcalc.scenario import Scenario
from kvcalc.solve import fewest_devices
from kvcalc.spec import ModelSpec
from kvcalc.units import significant, times, tokens
from kvcalc.verify import verify
from kvcalc.whatif import Standing, standings

FITS = {True: "yes", False: "no", None: "not known"}
AGREES, DIFFERS, UNJUDGED = "agrees", "differs", "cannot judge"
VERDICTS = (AGREES, DIFFERS, UNJUDGED)
CLAIMS = {
    "sharing_saves_bytes": "what sharing saves",
    "state_bytes": "state",
    "state_bytes_per_token": "state per token",
    "weight_bytes": "weights",
    "heads_per_kv_head": "query heads per KV head",
    "fp8_equivalent_flops": "FLOPs as of FP8",
}
"""Sorts of claims in words, where their names are not."""


def _times(key: str, head: str = "x") -> Column:
    return Column(key, head, lambda value: times(Fraction(value)))


# -- over contexts ------------------------------------------------------------------------------------------------------------------


def contexts(pairs: Sequence[Pair]) -> Table:
    """State, traffic and work at each context, with the technique and without."""
    rows: list[dict[str, Cell]] = []
    for two in pairs:
        for context in two.contexts:
            change = two.change(context)
            now, before = change.totals
            rows.append(
                {
                    "model": two.model.id,
                    "context": context,
                    "state_bytes": now.state_bytes,
                    "state_bytes_without": before.state_bytes,
                    "state_ratio": ratio(now.state_bytes, before.state_bytes),
                    "state_bytes_per_token": change.before.state_bytes_per_token,
                    "read_bytes": now.read_bytes,
                    "written_bytes": now.written_bytes,
                    "traffic_bytes": traffic(now),
                    "traffic_bytes_without": traffic(before),
                    "traffic_ratio": ratio(traffic(now), traffic(before)),
                    "flops": now.flops,
                    "flops_without": before.flops,
                    "flops_ratio": ratio(now.flops, before.flops),
                    "weight_bytes": now.weight_bytes,
                }
            )
    work = [row[key] for row in rows for key in ("flops", "flops_without")]
    columns = (
        text_column("model", "model"),
        Column("context", "context", tokens),
        gib_column("state_bytes", "state"),
        gib_column("state_bytes_without", "without"),
        _times("state_ratio"),
        count_column("state_bytes_per_token", "B/token"),
        gib_column("traffic_bytes", "traffic"),
        gib_column("traffic_bytes_without", "without"),
        _times("traffic_ratio"),
        scaled_column("flops", "work", "FLOP", work),
        scaled_column("flops_without", "without", "FLOP", work),
        _times("flops_ratio"),
    )
    note = "x: with the technique over without; B/token: growth of the state as released; traffic and work: per step"
    return Table(columns, tuple(rows), notes=(note,), more=("read_bytes", "written_bytes", "weight_bytes"))


def side_by_side(techniques: Sequence[tuple[Technique, Sequence[Pair]]], rig: Rig) -> Table:
    """Every technique in every model, at its longest context: with over without."""
    rows: list[dict[str, Cell]] = []
    for technique, pairs in techniques:
        for two in pairs:
            change = two.change()
            now, before = change.totals
            stand = standings([change.before, change.after], change.before, rig.device, rig.count, rig.plan)
            fast, slow = stand[0].tokens_per_second, stand[1].tokens_per_second
            rows.append(
                {
                    "technique": technique.name,
                    "model": two.model.id,
                    "context": two.context,
                    "weight_ratio": ratio(now.weight_bytes, before.weight_bytes),
                    "state_ratio": ratio(now.state_bytes, before.state_bytes),
                    "traffic_ratio": ratio(traffic(now), traffic(before)),
                    "flops_ratio": ratio(now.flops, before.flops),
                    "speed_ratio": Fraction(fast) / Fraction(slow) if fast and slow else None,
                }
            )
    columns = (
        text_column("technique", "technique"),
        text_column("model", "model"),
        Column("context", "context", tokens),
        _times("weight_ratio", "weights x"),
        _times("state_ratio", "state x"),
        _times("traffic_ratio", "traffic x"),
        _times("flops_ratio", "work x"),
        _times("speed_ratio", "tokens/s x"),
    )
    note = f"with the technique over without: below 1 it saves (tokens/s: above 1 it is faster); tokens/s: by the bound on {rig.name}"
    return Table(columns, tuple(rows), notes=(note,))


def against(models: Sequence[ModelSpec], context: int) -> Table:
    """Models side by side at one context, over the last of them."""
    books = [ledger(model, Scenario(context=context)) for model in models]
    last = books[-1].totals
    rows: list[dict[str, Cell]] = [
        {
            "model": book.model.id,
            "context": context,
            "weight_bytes": book.totals.weight_bytes,
            "state_bytes": book.totals.state_bytes,
            "state_ratio": ratio(book.totals.state_bytes, last.state_bytes),
            "state_bytes_per_token": book.state_bytes_per_token,
            "traffic_bytes": traffic(book.totals),
            "traffic_ratio": ratio(traffic(book.totals), traffic(last)),
            "flops": book.totals.flops,
            "flops_ratio": ratio(book.totals.flops, last.flops),
        }
        for book in books
    ]
    columns = (
        text_column("model", "model"),
        Column("context", "context", tokens),
        gib_column("weight_bytes", "weights"),
        gib_column("state_bytes", "state"),
        _times("state_ratio"),
        count_column("state_bytes_per_token", "B/token"),
        gib_column("traffic_bytes", "traffic"),
        _times("traffic_ratio"),
        scaled_column("flops", "work", "FLOP", [row["flops"] for row in rows]),
        _times("flops_ratio"),
    )
    notes = dict.fromkeys(f"{book.model.id}: {note}" for book in books for note in book.notes)
    return Table(columns, tuple(rows), notes=(f"x: over {books[-1].model.id}; traffic and work: per step", *notes))


# -- on devices ---------------------------------------------------------------------------------------------------------------------


def devices(pairs: Sequence[Pair], rigs: Sequence[Rig]) -> tuple[Table, tuple[str, ...]]:
    """Fit, bound, energy and money at the longest context; and what must be said about the devices.

    What does not fit is answered for the fewest of these devices that hold it.
    """
    rows: list[dict[str, Cell]] = []
    notes: dict[str, None] = {}
    for two in pairs:
        change = two.change()
        for rig in rigs:
            row: dict[str, Cell] = {"model": two.model.id, "context": two.context}
            answered, said = _on(change.before, change.after, rig)
            rows.append(row | answered)
            notes.update(dict.fromkeys(said))
    columns = (
        text_column("model", "model"),
        Column("context", "context", tokens),
        text_column("device", "device"),
        text_column("fits", "fits one"),
        count_column("devices", "devices"),
        gib_column("needed_bytes", "held"),
        Column("tokens_per_second", "at most [tok/s]", significant),
        Column("tokens_per_second_without", "without [tok/s]", significant),
        text_column("reached", "measured systems [tok/s]"),
        Column("joules_per_token", "J/token", significant),
        Column("usd_per_million_tokens", "USD/M tokens", significant),
    )
    note = (
        "fits one: weights and state in what a program can use of the device (of all of them, where several are asked for); where they do "
        "not fit, the row is for the fewest devices that hold them; held: on all of them; at most: bound at peak rates; without: the same "
        "devices, without the technique; measured systems: the range that such systems reach of the bound; energy at TDP and cost at the "
        "cloud price, for the bound's time"
    )
    return Table(columns, tuple(rows), notes=(note,), more=("bound_by", "seconds_lower")), tuple(notes)


def _on(book: Ledger, bare: Ledger, rig: Rig) -> tuple[dict[str, Cell], tuple[str, ...]]:
    stand = standings([book, bare], book, rig.device, rig.count, rig.plan)
    asked = stand[0].answer
    fits = None if asked is None else asked.fits
    if fits is False and rig.count == 1 and (count := _fewest(book, rig)) is not None:
        stand = standings([book, bare], book, rig.device, count, None)
    verdict = stand[0].answer
    row: dict[str, Cell] = {"device": rig.device.id, "fits": FITS[fits], "devices": rig.count}
    if verdict is None:
        return row, ()
    if fits is False and verdict.count == rig.count:
        return row | {"devices": None, "needed_bytes": verdict.needed_bytes}, ()
    return row | _answered(book, verdict, stand[1]), verdict.notes


def _answered(book: Ledger, verdict: Answer, bare: Standing) -> dict[str, Cell]:
    edge = verdict.edge
    return {
        "devices": verdict.count,
        "needed_bytes": verdict.needed_bytes,
        "tokens_per_second": None if edge is None else verdict.tokens_per_second,
        "tokens_per_second_without": bare.tokens_per_second,
        "reached": _reached(book, verdict),
        "joules_per_token": verdict.joules_per_token,
        "usd_per_million_tokens": verdict.usd_per_million_tokens,
        "bound_by": None if edge is None else edge.bound_by,
        "seconds_lower": None if edge is None else edge.lower,
    }


def _fewest(book: Ledger, rig: Rig) -> int | None:
    try:
        plan = fewest_devices(book.model, book.scenario, rig.device)
    except KvcalcError:
        return None
    return None if plan is None else plan.devices


def _reached(book: Ledger, verdict: Answer) -> str | None:
    """From so much to so much; nothing for several devices, which few have measured."""
    found = reached_by(book, verdict) if verdict.edge is not None and verdict.count == 1 else None
    if found is None:
        return None
    most = verdict.tokens_per_second
    return f"{significant(found.low * most)} to {significant(found.high * most)}"


# -- published claims ---------------------------------------------------------------------------------------------------------------


def of_checks(models: Iterable[ModelSpec]) -> list[dict[str, Cell]]:
    """Every claim that stands in the specs, with what comes out."""
    rows: list[dict[str, Cell]] = []
    for model in models:
        for verdict in verify(model, catalog.load_model):
            check = verdict.check
            computed = significant(verdict.computed, 5) + ("" if verdict.upto is None else f" to {significant(verdict.upto, 5)}")
            rows.append(
                {
                    "sort": check.what,
                    "model": model.id,
                    "claim": _claim(check),
                    "published": f"{check.equals} {check.unit}".strip(),
                    "computed": f"{computed} {check.unit}".strip(),
                    "verdict": AGREES if verdict.agrees else DIFFERS,
                    "convention": check.convention,
                    "because": check.because,
                    "source": check.source,
                }
            )
    return rows


def _claim(check: Check) -> str:
    at = f" at {tokens(check.context)}" if check.context else ""
    than = f" over {check.versus.model}" if check.versus is not None and check.versus.model is not None else ""
    return CLAIMS.get(check.what, check.what.replace("_", " ")) + at + than


def of_measurements(models: Iterable[ModelSpec]) -> list[dict[str, Cell]]:
    """What others measured or logged of these models, held against the bounds."""
    ids = {model.id for model in models}
    rows = [figure for figure in figures() if figure.model in ids]
    found: list[dict[str, Cell]] = []
    for judged in judge_all(rows, catalog.load_model, catalog.load_device):
        line = of_evidence(judged)
        figure = judged.figure
        where = ", ".join(name for name in (figure.device_name or figure.device, figure.engine) if name)
        found.append(
            {
                "sort": figure.what,
                "model": line.model,
                "claim": line.what + (f" ({where})" if where else ""),
                "published": line.published,
                "computed": line.computed or None,
                "verdict": line.verdict,
                "convention": figure.rule or "",
                "because": judged.reason or None,
                "source": line.source,
            }
        )
    return found


def claims(rows: Sequence[dict[str, Cell]]) -> Table:
    """Claims with their verdicts."""
    columns = (
        text_column("model", "model"),
        text_column("claim", "claim"),
        Column("published", "published"),
        Column("computed", "computed"),
        text_column("verdict", "verdict"),
        text_column("counted", "how the source counts, and why it differs or is not judged"),
        text_column("source", "source"),
    )
    told = (row | {"counted": "; ".join(str(row[key]) for key in ("convention", "because") if row[key]) or None} for row in rows)
    return Table(columns, tuple(told), more=("convention", "because"))


def counted(rows: Sequence[dict[str, Cell]]) -> str:
    """How many of them agree, and what of the others."""
    agree, differ, unjudged = (sum(row["verdict"] == verdict for row in rows) for verdict in VERDICTS)
    said = [f"{agree:,} of {len(rows):,} agree"]
    said += [f"{differ:,} differ, with the reason" if differ != 1 else "one differs, with the reason"] if differ else []
    said += [f"{unjudged:,} cannot be judged"] if unjudged else []
    return "; ".join(said)
