"""Energy and money of a step: joules per token at the device, at the plug and at the building, dollars per million tokens.

energy = power x time / tokens. Power between idle (the floor) and TDP (the ceiling) of the devices; the server around them
multiplies it by `host_overhead`, the building by `pue`. Time is the lower bound, or what measured systems make of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from kvcalc.assumptions import Assumptions
from kvcalc.ledger import Ledger, grouped
from kvcalc.roofline import Answer, bound
from kvcalc.units import MILLION, SECONDS_PER_HOUR


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
        """At TDP, devices alone [J/token]."""
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
    """Energy of the step that an answer bounds, at `efficiency` times the bound's speed."""
    scenario, device, count = ledger.scenario, answer.device, answer.count
    watts = assumptions.power_watts if assumptions.power is not None else None if device.watts is None else float(device.watts)
    idle = device.idle_watts
    price = assumptions.price_usd_per_hour
    if price is None and device.usd_per_hour is not None:
        price = float(device.usd_per_hour)
    return Energy(
        seconds=answer.bound.lower / efficiency,
        tokens=scenario.tokens if scenario.phase == "prefill" else scenario.batch,
        watts=None if watts is None else watts * count,
        idle_watts=None if idle is None else float(idle) * count,
        surroundings=assumptions.number("host_overhead") * assumptions.number("pue"),
        usd_per_hour=None if price is None else price * count,
    )


def shares(answer: Answer, by: str = "piece") -> Iterator[tuple[str, float]]:
    """The share of the step's time that each piece takes alone: energy and money are dealt out so. They add up to 1."""
    alone = {name: bound(entries, answer.device).lower for name, entries in grouped(answer.entries, by).items()}
    whole = sum(alone.values())
    yield from ((name, seconds / whole) for name, seconds in alone.items())
