"""What `throughput` prints: TTFT, TPOT and tokens per second against batch, the knee, and what a latency target allows."""

from dataclasses import replace

from kvcalc.hardware import Device
from kvcalc.ledger import ledger
from kvcalc.parallel import Plan
from kvcalc.report.table import Cell, Column, Document, Facts, Table, count_column, text_column, time_column
from kvcalc.roofline import answer, plan_of
from kvcalc.scenario import Scenario
from kvcalc.serving import Curve, Point, Speculation, curve, ttft
from kvcalc.spec import ModelSpec
from kvcalc.units import MILLION, SECONDS_PER_HOUR, seconds_text, significant, tokens


def throughput(
    model: ModelSpec,
    scenario: Scenario,
    prefill: Scenario,
    device: Device,
    count: int,
    plan: Plan | None,
    speculation: Speculation | None = None,
    target_seconds: float | None = None,
) -> tuple[Document, bool]:
    """Decode at the scenario's context over all batches that fit, and the prefill of one prompt; and whether a batch meets the target."""
    chosen = plan if plan is not None else plan_of(model, scenario, device, count)
    scenario = replace(scenario, steady=True)
    book = ledger(model, scenario)
    found = curve(model, scenario, device, chosen, speculation, target_seconds)
    first = ttft(model, prefill, device, chosen)
    lines = [
        ("on", f"{count} x {device.name} ({device.id})" + (f", {chosen.line}" if count > 1 else "")),
        ("TTFT", f"at least {seconds_text(first.lower)} for {prompt_words(prefill)}; bound by {first.bound_by}"),
        ("largest batch", _largest_words(found)),
        ("knee", _knee_words(found)),
    ]
    if speculation is not None:
        lines.append(("drafting", _speculation_words(speculation)))
    if target_seconds is not None:
        most = "no batch meets it" if found.within_target is None else f"batch {found.within_target:,} at most"
        lines.append(("target", f"TPOT within {seconds_text(target_seconds)}: {most}"))
    title = f"{model.name} ({model.id})"
    said = (
        *dict.fromkeys(book.notes + answer(book, device, count, chosen).notes),
        "bounds at peak rates under this plan; what real systems reach: kvcalc estimate --on",
        "mean step: sequences of a batch stand at different places of what comes in blocks",
        "user: tokens per second of one sequence; energy at TDP, cost at the cloud price, for the lower bound's time",
    )
    ok = (found.largest_batch is not None or not found.fits_known) and (target_seconds is None or found.within_target is not None)
    data: dict[str, Cell] = {
        "ttft_seconds_lower": first.lower,
        "largest_batch": found.largest_batch,
        "knee_batch": found.knee,
        "target_batch": found.within_target,
    }
    return Document(title, (Facts(tuple(lines), scenario.line, data), _table(found, scenario, device)), said), ok


def _largest_words(found: Curve) -> str:
    if not found.fits_known:
        return "not known: what a program may use of its memory is not known; give it with --usable"
    return "none: one sequence does not fit" if found.largest_batch is None else f"{found.largest_batch:,} sequences fit"


def _knee_words(found: Curve) -> str:
    if found.knee is None:
        return "-"
    beyond = ", more than fit" if found.largest_batch is not None and found.knee > found.largest_batch else ""
    return f"batch {found.knee:,}{beyond}: from there on half the throughput of an unlimited batch"


def prompt_words(prefill: Scenario) -> str:
    cached = f", {tokens(prefill.cached)} of them cached" if prefill.cached else ""
    chunks = f", in chunks of {tokens(prefill.chunk)}" if prefill.chunk else ""
    return f"a prompt of {tokens(prefill.context)}{cached}{chunks}"


def _speculation_words(speculation: Speculation) -> str:
    by = (
        "for free"
        if speculation.free
        else f"by {speculation.draft.id}"
        if speculation.draft
        else "by the model's own draft layers"
    )
    return (
        f"{speculation.draft_tokens} tokens {by}, accepted at {speculation.acceptance:g}: "
        f"{significant(speculation.tokens_per_step)} tokens a step"
    )


def _table(found: Curve, scenario: Scenario, device: Device) -> Table:
    rows = [_row(point, found, device) for point in found.points]
    longest = max(point.tpot_seconds for point in found.points)
    columns = (
        count_column("batch", "batch"),
        time_column("tpot_seconds", "TPOT", longest),
        Column("tokens_per_second_per_user", "user [tok/s]", significant),
        Column("tokens_per_second", "all [tok/s]", significant),
        Column("tokens_per_second_per_device", "device [tok/s]", significant),
        text_column("bound_by", "bound by"),
        Column("joules_per_token", "energy [J/token]", significant),
        Column("usd_per_million_tokens", "cost [USD/M]", significant),
        text_column("mark", "mark"),
    )
    return Table(columns, tuple(rows), title=f"decode at context {tokens(scenario.context)}")


def _row(point: Point, found: Curve, device: Device) -> dict[str, Cell]:
    marks = {found.knee: "knee", found.within_target: "target", found.largest_batch: "largest"}
    per_token = point.devices / point.tokens_per_second
    return {
        "batch": point.batch,
        "tpot_seconds": point.tpot_seconds,
        "tokens_per_second_per_user": 1 / point.tpot_seconds,
        "tokens_per_second": point.tokens_per_second,
        "tokens_per_second_per_device": point.tokens_per_second_per_device,
        "bound_by": point.bound.bound_by.partition(",")[0],
        "joules_per_token": None if device.watts is None else float(device.watts) * per_token,
        "usd_per_million_tokens": None
        if device.usd_per_hour is None
        else float(device.usd_per_hour) / SECONDS_PER_HOUR * MILLION * per_token,
        "mark": marks.get(point.batch, "") if point.fits is not False else "does not fit",
    }


def prompt(scenario: Scenario, context: int, cached: int, chunk: int | None) -> Scenario:
    """The prefill of one prompt under the formats of a decode scenario."""
    return replace(scenario, phase="prefill", context=context, batch=1, cached=cached, chunk=chunk)
