"""Energy and money of a step: joules per token at the device, at the plug and at the building, dollars per million tokens.

energy = power x time / tokens. Power between idle (the floor) and TDP (the ceiling) of the devices; the server around them
multiplies it by `host_overhead`, the building by `pue`. Time is the lower bound, or what measured systems make of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from kvcalc.assumptions import Assumed, Assumptions
from kvcalc.catalog import load_assumptions
from kvcalc.efficiency import efficiency, weight_width
from kvcalc.errors import ScenarioError
from kvcalc.hardware import Device, Sourced
from kvcalc.ledger import Ledger, grouped, ledger
from kvcalc.roofline import Answer, bound, stage_bound
from kvcalc.scenario import Scenario
from kvcalc.spec import ModelSpec
from kvcalc.units import MILLION, SECONDS_PER_HOUR

LINKS = "links"
"""The piece that stands for what the devices send each other."""
KINDS = {
    "tdp": "TDP",
    "tgp": "TGP",
    "tbp": "TBP",
    "max": "maximum",
    "system": "whole system",
    "supply": "power supply",
}
"""Of what a published power is, in words."""
WITH_HOST = ("system", "supply")
"""Powers that have the host in them."""


# -- assumptions, completed ---------------------------------------------------------------------------------------------------------


def completed(assumptions: Assumptions, device: Device) -> Assumptions:
    """The assumptions, with the device's own power, idle power and price where none is given.

    A power of the whole system has the host in it: its `host_overhead` is 1. Where a node draws more than the rack that kvcalc ships,
    it stands in a rack of its own. What a user says about either holds.

    Raises:
        ScenarioError: at rest the device would draw more than at work.
    """
    shipped = load_assumptions()
    found: dict[str, Assumed] = {}
    if assumptions.power is None and device.power is not None:
        found["power"] = _published(device.power, f"{KINDS[device.power.kind]}, ")
    for name, published in (("idle_power", device.idle_power), ("price", device.cloud_price)):
        if getattr(assumptions, name) is None and published is not None:
            found[name] = _published(published)
    if device.power is not None and device.power.kind in WITH_HOST and assumptions.host_overhead == shipped.host_overhead:
        source = f"the power of {device.id} is that of its {KINDS[device.power.kind]}: the host is in it"
        found["host_overhead"] = Assumed(value=1, evidence="derived", source=source)
    filled = assumptions.changed(**found)
    watts, idle = filled.power_watts, filled.idle_watts
    if watts is not None and idle is not None and idle > watts:
        raise ScenarioError(
            f"idle_power {_value(filled.idle_power)} is more than the power at work, {_value(filled.power)}",
            "give both: power and idle_power, by flags or --assumptions FILE",
        )
    if watts is None or filled.rack_power != shipped.rack_power or node_watts(filled, device) <= filled.rack_watts:
        return filled
    own = Assumed(
        value=f"{ceil(node_watts(filled, device))} W",
        evidence="derived",
        source=f"a node of {node_devices(device)} draws more than {filled.rack_power.value}: a rack of its own",
    )
    return filled.changed(rack_power=own)


def _published(value: Sourced, what: str = "") -> Assumed:
    return Assumed(value=value.value, evidence=value.evidence, source=what + value.source, date=value.date, note=value.note)


def _value(given: Assumed | None) -> str:
    return "" if given is None else str(given.value)


def node_devices(device: Device) -> int:
    """Devices that stand or fall together: those of a server, as far as is known."""
    return max((device.max_per_node or 1) // (device.seen_as or 1), 1)


def node_watts(assumptions: Assumptions, device: Device) -> float:
    """What a node draws at its plug, at work, under completed assumptions [W]; 0 where that is not known."""
    return node_devices(device) * (assumptions.power_watts or 0.0) * assumptions.number("host_overhead")


def with_speeds(
    assumptions: Assumptions, model: ModelSpec, scenario: Scenario, device: Device, *, measured: bool = True
) -> Assumptions:
    """The assumptions, with the speeds to plan with: as given, else the median of measured systems like these, else the bound's.

    Args:
        scenario: the decode, for its batch and formats.
        measured: False asks for the bounds themselves.

    Raises:
        ScenarioError: the bounds are asked for, and another speed is given.
    """
    width = weight_width(ledger(model, scenario))
    found: dict[str, Assumed] = {}
    for phase in ("decode", "prefill"):
        name = f"{phase}_efficiency"
        given: Assumed | None = getattr(assumptions, name)
        if given is not None and not measured:
            raise ScenarioError(f"--speed bound and {name} {given.value} contradict each other", "leave one of them out")
        if given is not None:
            continue
        known = efficiency(device, phase, scenario.batch, width) if measured else None
        if known is not None:
            years = f", {known.eras}" if known.eras else ""
            source = f"median of {known.systems} measured systems ({known.rows} rows): {known.label}{years}"
            found[name] = Assumed(value=known.median, evidence="measured", source=source)
        else:
            source = "no measurement: the bound itself" if measured else "the bound itself, as asked"
            found[name] = Assumed(value=1.0, evidence="derived", source=source)
    return assumptions.changed(**found)


# -- a step -------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Energy:
    """Energy of one step on all its devices, for each of its tokens. None where a power or price is not published.

    Args:
        seconds: time of the step [s].
        tokens: tokens that the step yields (decode) or reads (prefill).
        watts: power of all devices at work [W]; idle_watts: at rest.
        surroundings: host_overhead x pue.
    """

    seconds: float
    tokens: int
    watts: float | None
    idle_watts: float | None
    surroundings: float
    usd_per_hour: float | None

    @property
    def joules_per_token(self) -> float | None:
        """At work, devices alone [J/token]."""
        return None if self.watts is None else self.watts * self.seconds / self.tokens

    @property
    def idle_joules_per_token(self) -> float | None:
        """What the same devices draw at rest in that time: the floor [J/token]."""
        return None if self.idle_watts is None else self.idle_watts * self.seconds / self.tokens

    @property
    def building_joules_per_token(self) -> float | None:
        """With the servers around the devices and the building around them [J/token]."""
        return None if self.joules_per_token is None else self.joules_per_token * self.surroundings

    @property
    def usd_per_million_tokens(self) -> float | None:
        return None if self.usd_per_hour is None else self.usd_per_hour * self.seconds / SECONDS_PER_HOUR / self.tokens * MILLION


def energy(ledger: Ledger, answer: Answer, assumptions: Assumptions, efficiency: float = 1.0) -> Energy:
    """Energy of the step that an answer bounds, at `efficiency` times the bound's speed, under completed assumptions."""
    scenario, count = ledger.scenario, answer.count
    watts, idle, price = assumptions.power_watts, assumptions.idle_watts, assumptions.price_usd_per_hour
    return Energy(
        seconds=answer.bound.lower / efficiency,
        tokens=scenario.tokens if scenario.phase == "prefill" else scenario.batch,
        watts=None if watts is None else watts * count,
        idle_watts=None if idle is None else idle * count,
        surroundings=assumptions.surroundings,
        usd_per_hour=None if price is None else price * count,
    )


def shares(answer: Answer, by: str = "piece") -> Iterator[tuple[str, float]]:
    """The share of the time that each piece takes alone: energy and money are dealt out so. They add up to 1.

    What the devices send each other is a piece of its own, `links`.
    """
    alone = {name: bound(entries, answer.device).lower for name, entries in grouped(answer.entries, by).items()}
    sent = sum(stage_bound(stage, answer.device).link_seconds for stage in answer.stages)
    if sent:
        alone[LINKS] = sent
    whole = sum(alone.values())
    yield from ((name, seconds / whole) for name, seconds in alone.items())
