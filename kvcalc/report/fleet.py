"""What `fleet` prints: users in, devices, racks, megawatts and dollars out, and every assumption."""

from collections.abc import Iterator
from typing import NamedTuple

from kvcalc.assumptions import Assumptions
from kvcalc.fleet import Fleet, Pool
from kvcalc.report.energy import assumed
from kvcalc.report.table import Cell, Column, Document, Facts, Passage, Table, text_column
from kvcalc.spec import ModelSpec
from kvcalc.units import MILLION, significant, tokens


class Step(NamedTuple):
    """One line: a key for programs, words, the value and its unit, and at which speed."""

    key: str
    what: str
    value: float | int | None
    unit: str
    at: str = ""


def fleet(model: ModelSpec, users: int, found: Fleet) -> Document:
    """The fleet, step by step, and what it rests on."""
    device = found.device
    title = f"{users:,} users of {model.name} ({model.id}) on {device.name} ({device.id})"
    columns = (
        text_column("what", "what"),
        Column("value", "value", _value),
        text_column("unit", "unit"),
        text_column("at", "speed"),
    )
    rows: list[dict[str, Cell]] = [step._asdict() for step in _steps(users, found)]
    table = Table(columns, tuple(rows), more=("key",))
    parts: tuple[Passage, ...] = (
        Facts(tuple(_lines(found))),
        table,
        *assumed(found.assumptions, tuple(Assumptions.model_fields)),
    )
    return Document(title, parts, tuple(_notes(found)))


def _lines(found: Fleet) -> Iterator[tuple[str, str]]:
    scenario = found.scenario
    yield "formats", f"state {scenario.kv_format}, weights {scenario.weight_format}"
    yield "replica", f"{found.plan.devices:,} x {found.device.id} ({found.plan.line})"
    if found.speculation is not None:
        guesses = found.speculation
        by = guesses.draft.id if guesses.draft is not None else "nobody, for free" if guesses.free else "its own draft layers"
        yield (
            "drafting",
            f"{guesses.draft_tokens} tokens by {by}, accepted at {guesses.acceptance:g}: "
            f"{significant(guesses.tokens_per_step)} tokens a step",
        )
    if found.cached:
        yield "cached", f"{found.cached:,} of the {tokens(int(found.assumptions.tokens('prompt')))} tokens of a prompt"


def _at(pool: Pool, name: str, assumptions: Assumptions) -> str:
    return "bound" if pool.bound else f"{100 * assumptions.number(f'{name}_efficiency'):.0f} % of bound"


def _steps(users: int, found: Fleet) -> Iterator[Step]:
    if found.decode is not None:
        at = _at(found.decode, "decode", found.assumptions)
        yield Step("out_tokens", "tokens to generate at the peak", found.decode.needed, "tokens/s")
        yield Step("batch", "batch of a decoding replica", found.batch, "sequences")
        yield Step("tpot", "TPOT in that batch", found.decode.seconds, "s", at)
        yield Step("decode_speed", "full speed of a decoding replica", found.decode.tokens_per_second, "tokens/s", at)
        yield Step("decode_replicas", "replicas that decode", found.decode.replicas, "replicas")
    if found.reading is not None:
        at = _at(found.reading, "prefill", found.assumptions)
        yield Step("prompts", "prompts at the peak", found.prompts, "prompts/s")
        uncached = ", without what is cached" if found.cached else ""
        yield Step("in_tokens", f"tokens to read at the peak{uncached}", found.reading.needed, "tokens/s")
        yield Step("ttft", "TTFT of a prompt that need not wait", found.reading.seconds, "s", at)
        yield Step("prefill_speed", "full speed of a reading replica", found.reading.tokens_per_second, "tokens/s", at)
        yield Step("prefill_replicas", "replicas that read prompts", found.reading.replicas, "replicas")
    yield Step("spare_replicas", "spare replicas", found.spare_replicas, "replicas")
    yield Step("devices", "devices", found.devices, "devices")
    yield Step("users_per_device", "users of a device", users / found.devices, "users")
    yield from _power(found)
    yield from _money(users, found)


def _power(found: Fleet) -> Iterator[Step]:
    power, size = found.power, found.assumptions.data_centre_power.value
    yield Step("racks", "racks", None if power is None else power.racks, "racks")
    yield Step("peak_power", "power at the peak", None if power is None else power.peak_watts / MILLION, "MW")
    yield Step("busy", "devices at work in the day's mean", 100 * found.busy, "%")
    yield Step("mean_power", "power in the day's mean", None if power is None else power.mean_watts / MILLION, "MW")
    yield Step("energy", "energy", None if power is None else power.kwh_per_day / 1000, "MWh/day")
    for key, what, count in _counts(found):
        yield Step(f"energy_{key}", f"energy of a million {what}", found.kwh_per_million(count), "kWh")
    yield Step("data_centres", f"data centres of {size}", None if power is None else power.data_centres, "centres")


def _money(users: int, found: Fleet) -> Iterator[Step]:
    yield Step("cost", "cost", found.usd_per_day, "USD/day")
    for key, what, count in _counts(found):
        yield Step(f"cost_{key}", f"cost of a million {what}", found.usd_per_million(count), "USD")
    yield Step("cost_per_user", "cost of a user", None if found.usd_per_day is None else found.usd_per_day / users, "USD/day")


def _counts(found: Fleet) -> Iterator[tuple[str, str, float]]:
    """Over which tokens a day's energy and cost are dealt."""
    yield "generated", "tokens generated", found.tokens_out
    yield "served", "tokens served", found.tokens_in + found.tokens_out


def _value(value: float | int) -> str:
    return f"{value:,}" if isinstance(value, int) else significant(value)


def _notes(found: Fleet) -> Iterator[str]:
    device, given = found.device, found.assumptions
    yield from found.notes
    yield "decode and reading of prompts have replicas of their own; one decodes the largest batch that fits within the TPOT target"
    for pool, what in ((found.decode, "decode"), (found.reading, "prefill")):
        if pool is not None and pool.bound:
            yield f"{what} at the bound: no system is faster, so its replicas, and all that follows, are the least possible"
    yield "tokens served: prompt tokens, cached ones too, and generated ones; the whole energy and cost are dealt over either count"
    if found.power is None:
        yield f"the power of {device.id} is not published: give it with --power, e.g. --power 300W"
    else:
        idle = (
            "power at work throughout, for the power at rest is not published"
            if given.idle_power is None
            else "idle_power + (power - idle_power) x devices at work"
        )
        yield f"power at the peak: all devices at work, spare ones too, x host_overhead x pue; in the mean: {idle}"
        yield f"racks: of {found.power.devices_per_rack:,} devices: whole servers, by what they draw at work, within rack_power"
    if found.usd_per_day is None:
        yield f"no price of {device.id} is known: give it with --price, e.g. --price 2.10USD/h"
    else:
        yield "cost: every device rented all day at the price; staff, network and training are left out"
    yield "each assumption is changed by its flag or by --assumptions FILE"
