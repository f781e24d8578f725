"""From users to devices, racks, megawatts and dollars: how much hardware does a service eat?

devices = (replicas that decode the peak's tokens + replicas that prefill the peak's prompts) x devices of a replica x (1 + spare).
A replica decodes the largest batch whose TPOT stays within the target, at the mean context; prompts run on replicas of their own.
"""

from dataclasses import dataclass, replace
from math import ceil

from kvcalc.assumptions import Assumptions
from kvcalc.efficiency import average_bits, efficiency, width_of
from kvcalc.errors import ScenarioError
from kvcalc.hardware import Device
from kvcalc.ledger import ledger
from kvcalc.parallel import Plan
from kvcalc.scenario import Scenario
from kvcalc.serving import Point, Speculation, curve, point, ttft
from kvcalc.solve import fewest_devices
from kvcalc.spec import ModelSpec
from kvcalc.units import JOULES_PER_KWH, MILLION, SECONDS_PER_DAY, seconds_text

HOURS_PER_DAY = 24


@dataclass(frozen=True, slots=True)
class Speeds:
    """Measured over bound speed, as taken, and why: both 1 where the bound itself is asked for."""

    decode: float
    prefill: float
    decode_because: str
    prefill_because: str


@dataclass(frozen=True, slots=True)
class Power:
    """Power of the building [W]: at the peak with every device at TDP, and in the mean of a day between idle and TDP."""

    racks: int
    peak_watts: float
    mean_watts: float
    data_centres: float

    @property
    def kwh_per_day(self) -> float:
        return self.mean_watts * SECONDS_PER_DAY / JOULES_PER_KWH


@dataclass(frozen=True, slots=True)
class Fleet:
    """What a service needs. Power and dollars are None where the device's power or price is not known.

    Args:
        decode: one replica at its batch, bounds; decode_tokens_per_second: what it is taken to reach.
        prompt_seconds: time to the first token, as taken [s].
    """

    device: Device
    plan: Plan
    speeds: Speeds
    decode: Point
    decode_tokens_per_second: float
    prompt_seconds: float
    prefill_tokens_per_second: float
    out_tokens_per_second: float
    in_tokens_per_second: float
    decode_replicas: int
    prefill_replicas: int
    spare_devices: int
    devices: int
    tokens_per_day: float
    power: "Power | None"
    usd_per_day: float | None

    @property
    def kwh_per_million_tokens(self) -> float | None:
        return None if self.power is None else self.power.kwh_per_day / self.tokens_per_day * MILLION

    @property
    def usd_per_million_tokens(self) -> float | None:
        return None if self.usd_per_day is None else self.usd_per_day / self.tokens_per_day * MILLION


BATCHED = 2
"""Any batch but 1: decode of a service is batched."""


def speeds(assumptions: Assumptions, model: ModelSpec, scenario: Scenario, device: Device, *, measured: bool) -> Speeds:
    """The speeds to plan with: as given, else the median of measured systems like these, else the bounds themselves."""
    width = width_of(average_bits(ledger(model, scenario)))
    found: list[tuple[float, str]] = []
    for given, phase in ((assumptions.decode_efficiency, "decode"), (assumptions.prefill_efficiency, "prefill")):
        known = efficiency(device, phase, BATCHED, width) if measured else None
        if given is not None:
            found.append((float(given.value), given.source))
        elif known is not None:
            found.append((known.median, f"median of {known.rows} measurements: {known.label}"))
        else:
            found.append((1.0, "no measurement: the bound itself" if measured else "the bound itself: no system is faster"))
    return Speeds(found[0][0], found[1][0], found[0][1], found[1][1])


def fleet(
    model: ModelSpec,
    scenario: Scenario,
    device: Device,
    users: int,
    assumptions: Assumptions,
    speeds: Speeds,
    plan: Plan | None = None,
    speculation: Speculation | None = None,
) -> Fleet:
    """The fleet that serves so many users. The scenario gives the formats; contexts come from the assumptions.

    Raises:
        ScenarioError: no users, no tokens, or a latency target that no batch meets: it says by how much.
    """
    if users < 1:
        raise ScenarioError("a fleet needs at least one user", "--users 1000000")
    tokens_in = assumptions.number("tokens_in") * (1 - assumptions.number("cached_share"))
    tokens_out = assumptions.number("tokens_out")
    if tokens_in + tokens_out <= 0:
        raise ScenarioError("a fleet needs tokens: tokens_in and tokens_out are both zero")
    decoding = replace(scenario, phase="decode", batch=1, context=int(assumptions.number("context")))
    chosen = plan if plan is not None else fewest_devices(model, decoding, device)
    if chosen is None:
        raise ScenarioError(f"{model.id} does not fit any number of {device.id} up to 4,096")
    at = _decode(model, decoding, device, chosen, assumptions, speeds, speculation)
    prompt = int(assumptions.number("prompt"))
    prefill = replace(decoding, phase="prefill", context=prompt)
    prompt_seconds = ttft(model, prefill, device, chosen).lower / speeds.prefill
    if prompt_seconds > assumptions.ttft_seconds:
        raise ScenarioError(
            f"ttft: a prompt of {prompt:,} takes {seconds_text(prompt_seconds)} on {device.id} ({chosen.line}), the target is "
            f"{seconds_text(assumptions.ttft_seconds)}",
            "allow more with --ttft, or give a replica more devices: --on 8x... or --tp",
        )
    peak = assumptions.number("peak_factor")
    out_rate, in_rate = (users * tokens * peak / SECONDS_PER_DAY for tokens in (tokens_out, tokens_in))
    decode_rate, prefill_rate = at.tokens_per_second * speeds.decode, prompt / prompt_seconds
    replicas = ceil(out_rate / decode_rate), ceil(in_rate / prefill_rate)
    at_work = sum(replicas) * chosen.devices
    spare = ceil(at_work * assumptions.number("spare"))
    devices = at_work + spare
    return Fleet(
        device=device,
        plan=chosen,
        speeds=speeds,
        decode=at,
        decode_tokens_per_second=decode_rate,
        prompt_seconds=prompt_seconds,
        prefill_tokens_per_second=prefill_rate,
        out_tokens_per_second=out_rate,
        in_tokens_per_second=in_rate,
        decode_replicas=replicas[0],
        prefill_replicas=replicas[1],
        spare_devices=spare,
        devices=devices,
        tokens_per_day=users * (tokens_out + tokens_in),
        power=_power(device, devices, assumptions),
        usd_per_day=_usd_per_day(device, devices, assumptions),
    )


def _decode(
    model: ModelSpec,
    scenario: Scenario,
    device: Device,
    plan: Plan,
    assumptions: Assumptions,
    speeds: Speeds,
    speculation: Speculation | None,
) -> Point:
    target = assumptions.tpot_seconds
    found = curve(model, scenario, device, plan, speculation, target * speeds.decode)
    if found.largest_batch is None:
        raise ScenarioError(
            f"{model.id} does not fit {plan.line} of {device.id} at context {scenario.context:,}", "give more devices"
        )
    if found.within_target is None:
        alone = found.points[0].tpot_seconds / speeds.decode
        raise ScenarioError(
            f"tpot: one sequence alone takes {seconds_text(alone)} per token on {device.id} ({plan.line}), the target is "
            f"{seconds_text(target)}",
            "allow more with --tpot, or give a replica more devices: --on 8x... or --tp",
        )
    return point(model, replace(scenario, batch=found.within_target), device, plan, speculation)


def _usd_per_day(device: Device, devices: int, assumptions: Assumptions) -> float | None:
    price = assumptions.price_usd_per_hour
    if price is None and device.usd_per_hour is not None:
        price = float(device.usd_per_hour)
    return None if price is None else devices * price * HOURS_PER_DAY


def _power(device: Device, devices: int, assumptions: Assumptions) -> Power | None:
    """Racks by what their servers draw at TDP. Where the power at rest is unknown, TDP is taken throughout."""
    watts = assumptions.power_watts
    if watts is None and device.watts is not None:
        watts = float(device.watts)
    if watts is None:
        return None
    at_plug = watts * assumptions.number("host_overhead")
    peak = devices * at_plug * assumptions.number("pue")
    idle = watts if device.idle_watts is None else min(float(device.idle_watts), watts)
    mean_share = (idle + (watts - idle) / assumptions.number("peak_factor")) / watts
    per_rack = max(int(assumptions.rack_watts // at_plug), 1)
    return Power(ceil(devices / per_rack), peak, peak * mean_share, peak / assumptions.data_centre_watts)
