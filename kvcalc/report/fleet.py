"""What `fleet` prints: users in, devices, racks, megawatts and dollars out, and every assumption."""

from kvcalc.assumptions import Assumptions
from kvcalc.fleet import Fleet, Speeds
from kvcalc.report.energy import assumed
from kvcalc.report.table import Cell, Column, Document, Passage, Table, text_column
from kvcalc.scenario import Scenario
from kvcalc.spec import ModelSpec
from kvcalc.units import MILLION, significant

ASSUMED = (
    "tokens_in",
    "tokens_out",
    "cached_share",
    "peak_factor",
    "context",
    "prompt",
    "tpot",
    "ttft",
    "spare",
    "host_overhead",
    "pue",
    "rack_power",
    "data_centre_power",
    "price",
    "power",
)


def fleet(model: ModelSpec, scenario: Scenario, users: int, found: Fleet, assumptions: Assumptions) -> Document:
    """The fleet, step by step, and what it rests on."""
    device = found.device
    notes = [
        "decode and prefill run on devices of their own; a replica decodes the largest batch within the TPOT target",
        "power at the peak: TDP x host_overhead x pue; mean: between idle and TDP by the mean load"
        + ("" if device.idle_power is not None else f" (idle of {device.id} is not published: TDP throughout)"),
        "cost: every device rented all day at the price per hour; staff, network, training and idle capacity beyond `spare` are left out",
    ]
    title = f"{users:,} users of {model.name} ({model.id}) on {device.name} ({device.id})"
    line = f"state {scenario.kv_format} · weights {scenario.weight_format}"
    parts: tuple[Passage, ...] = (line, _steps(users, found), _assumed(found.speeds, assumptions, found))
    return Document(title, parts, tuple(notes))


def _steps(users: int, found: Fleet) -> Table:
    at, power = found.decode, found.power
    steps: list[tuple[str, float | int | None, str]] = [
        ("tokens to generate at the peak", found.out_tokens_per_second, "tok/s"),
        ("prompt tokens to read at the peak", found.in_tokens_per_second, "tok/s"),
        (f"devices of a replica ({found.plan.line})", found.plan.devices, ""),
        ("batch of a decoding replica", at.batch, "sequences"),
        ("TPOT there", at.tpot_seconds / found.speeds.decode, "s"),
        ("speed of a decoding replica", found.decode_tokens_per_second, "tok/s"),
        ("TTFT", found.prompt_seconds, "s"),
        ("speed of a reading replica", found.prefill_tokens_per_second, "tok/s"),
        ("replicas that decode", found.decode_replicas, ""),
        ("replicas that read prompts", found.prefill_replicas, ""),
        ("spare devices", found.spare_devices, ""),
        ("devices", found.devices, ""),
        ("racks", None if power is None else power.racks, ""),
        ("power at the peak", None if power is None else power.peak_watts / MILLION, "MW"),
        ("power in the mean", None if power is None else power.mean_watts / MILLION, "MW"),
        ("energy", None if power is None else power.kwh_per_day / 1000, "MWh/day"),
        ("energy of a million tokens", found.kwh_per_million_tokens, "kWh"),
        ("cost", found.usd_per_day, "USD/day"),
        ("cost of a million tokens", found.usd_per_million_tokens, "USD"),
        ("cost of a user", None if found.usd_per_day is None else found.usd_per_day / users, "USD/day"),
        ("users of a device", users / found.devices, ""),
        ("data centres", None if power is None else power.data_centres, ""),
    ]
    rows: list[dict[str, Cell]] = [{"what": what, "value": value, "unit": unit} for what, value, unit in steps]
    columns = (text_column("what", "what"), Column("value", "value", _value), text_column("unit", "unit"))
    return Table(columns, tuple(rows))


def _value(value: float | int) -> str:
    return f"{value:,}" if isinstance(value, int) else significant(value)


def _assumed(speeds: Speeds, assumptions: Assumptions, found: Fleet) -> Table:
    table = assumed(assumptions, ASSUMED)
    extra: list[dict[str, Cell]] = [
        {"name": "decode_efficiency", "value": significant(speeds.decode), "evidence": "", "source": speeds.decode_because},
        {"name": "prefill_efficiency", "value": significant(speeds.prefill), "evidence": "", "source": speeds.prefill_because},
    ]
    device = found.device
    if assumptions.price is None and device.cloud_price is not None:
        price = device.cloud_price
        extra.append(
            {"name": "price", "value": price.value, "evidence": price.evidence, "source": f"{price.source} ({price.date})"}
        )
    if assumptions.power is None and device.power is not None:
        power = device.power
        extra.append({"name": "power", "value": power.value, "evidence": power.evidence, "source": power.source})
    return Table(table.columns, table.rows + tuple(extra))
