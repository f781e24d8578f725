"""Inverse questions by exact integer search: largest context, largest batch, fewest devices, what would have to change.

Every answer is one that fits, by the same ledger that `estimate` prints; the next larger one does not.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from math import lcm

from kvcalc.errors import KvcalcError, PlanError, ScenarioError
from kvcalc.formats import FORMATS
from kvcalc.hardware import Device
from kvcalc.parallel import LISTED, Plan, most_stages, plans, shard
from kvcalc.scenario import NATIVE, Scenario
from kvcalc.slots import cycle
from kvcalc.spec import ModelSpec
from kvcalc.units import MAX_BATCH, MAX_TOKENS

WEIGHT_LADDER = ("q8_0", "fp8", "q6_k", "q5_k", "q4_k", "q4_0", "mxfp4", "q3_k", "q2_k")
STATE_LADDER = ("q8_0", "fp8", "q4_0")
"""Formats that people store weights and KV in, from wide to narrow."""
MOST_DEVICES = 4096


Beside = Callable[[Scenario], int]
"""Bytes that each device holds beside the model (a drafting model), by scenario."""


def nothing(scenario: Scenario) -> int:
    """Nothing stands beside the model."""
    return 0


def held_bytes(model: ModelSpec, scenario: Scenario, plan: Plan) -> int:
    """Bytes of weights and state on the fullest device."""
    return max(stage.held_bytes for stage in shard(model, scenario, plan))


def capacity(device: Device) -> int:
    """Bytes of one device that may be used.

    Raises:
        ScenarioError: nobody published what a program may use of it.
    """
    if device.usable_bytes is None:
        raise ScenarioError(
            f"{device.id}: what a program may use of {device.label} is not known, so nothing can be promised to fit",
            "give it with --usable, e.g. --usable 8GiB",
        )
    return device.usable_bytes


def fits(model: ModelSpec, scenario: Scenario, device: Device, plan: Plan, beside: Beside = nothing) -> bool:
    """Whether the fullest device holds its part, and what stands `beside` it."""
    return held_bytes(model, scenario, plan) + beside(scenario) <= capacity(device)


def largest(fitting: Callable[[int], bool], low: int, high: int) -> int | None:
    """The largest n in low ... high for which `fitting` holds, if it holds up to some n and not beyond; None if for none."""
    if not fitting(low):
        return None
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fitting(middle) else (low, middle - 1)
    return low


def largest_batch(model: ModelSpec, scenario: Scenario, device: Device, plan: Plan, beside: Beside = nothing) -> int | None:
    """The most sequences of the scenario's context that fit; None if not one does."""
    return largest(lambda batch: fits(model, replace(scenario, batch=batch), device, plan, beside), 1, MAX_BATCH)


def largest_context(model: ModelSpec, scenario: Scenario, device: Device, plan: Plan, most: int = MAX_TOKENS) -> int | None:
    """The longest context up to `most` that fits at the scenario's batch; None if not even one token does.

    State may fall as t grows (an open block that closes), so a context beyond one that does not fit may fit again. Contexts are
    searched in blocks of the common period: within a block the least state stands at a known place, or every place is tried.
    """
    cycles = {found for block in model.blocks for row in block.rows if row.owned and (found := cycle(row.held))}
    period = lcm(*(length for length, _ in cycles)) if cycles else 1
    lows = {low for _, low in cycles}

    def fits_at(t: int) -> bool:
        return 1 <= t <= most and fits(model, replace(scenario, context=t), device, plan)

    def places(block: int) -> Iterable[int]:
        start = block * period
        return [max(start + next(iter(lows), 0), 1)] if len(lows) <= 1 else range(start, start + period)

    block = largest(lambda number: any(fits_at(t) for t in places(number)), 0, most // period)
    if block is None:
        return None
    end = min((block + 1) * period + max(lows, default=0), most + 1)
    return next(t for t in range(end - 1, -1, -1) if fits_at(t))


def fewest_devices(model: ModelSpec, scenario: Scenario, device: Device, most: int = MOST_DEVICES) -> Plan | None:
    """The plan of the fewest devices that hold the model and its state, among all of `parallel.plans`; None beyond `most`."""
    alone, room = held_bytes(model, scenario, Plan()), capacity(device)
    node = device.max_per_node or most
    farthest = min(most, max(node * model.num_hidden_layers, alone // room + 1))
    if not any(_may_fit(model, scenario, device, node)):
        return None
    for count in range(max(-(-alone // room), 1), farthest + 1):
        for plan in plans(model, count, device.max_per_node):
            if fits(model, scenario, device, plan):
                return plan
    return None


def _may_fit(model: ModelSpec, scenario: Scenario, device: Device, node: int) -> Iterator[bool]:
    """Whether the model fits where it is cut most: a stage for each layer, or all experts dealt out. Cut less, a device holds more."""
    for tp in range(min(node, LISTED), 0, -1):
        try:
            yield fits(model, scenario, device, Plan(tp=tp, pp=most_stages(model)))
        except PlanError:
            continue
    experts = [weight.experts for block in model.blocks for weight in block.weights if weight.experts]
    for plan in plans(model, min(experts), device.max_per_node) if experts else ():
        yield fits(model, scenario, device, plan)


@dataclass(frozen=True, slots=True)
class Remedy:
    """One change, or the few together, under which a scenario would fit; `scenario` and `plan` are those that do."""

    what: str
    scenario: Scenario
    plan: Plan
    held_bytes: int


def remedies(model: ModelSpec, scenario: Scenario, device: Device, plan: Plan) -> Iterator[Remedy]:
    """What would have to change for a scenario to fit: one thing at a time, then both formats."""

    def tried(what: str, changed: Scenario, by: Plan = plan) -> Iterator[Remedy]:
        try:
            held = held_bytes(model, changed, by)
        except KvcalcError:
            return
        if held <= capacity(device):
            yield Remedy(what, changed, by, held)

    def first(candidates: Iterable[Iterator[Remedy]]) -> Iterator[Remedy]:
        for candidate in candidates:
            for remedy in candidate:
                yield remedy
                return

    weights = [name for name in _narrower(WEIGHT_LADDER, scenario.weight_format) if _runs(device, name)]
    states = list(_narrower(STATE_LADDER, scenario.kv_format))
    yield from first(tried(f"weights in {name}", replace(scenario, weight_format=name)) for name in weights)
    yield from first(tried(f"state in {name}", replace(scenario, kv_format=name)) for name in states)
    context = largest_context(model, scenario, device, plan, scenario.context)
    if context is not None:
        yield from tried(f"a context of {context:,}", replace(scenario, context=context))
    batch = largest_batch(model, scenario, device, plan)
    if batch is not None and scenario.batch > 1:
        yield from tried(f"a batch of {batch:,}", replace(scenario, batch=batch))
    more = fewest_devices(model, scenario, device)
    if more is not None:
        yield from tried(f"{more.devices} x {device.id} ({more.line})", scenario, more)
    yield from first(
        tried(f"weights in {weight} and state in {state}", replace(scenario, weight_format=weight, kv_format=state))
        for weight in weights
        for state in states
    )


def _runs(device: Device, name: str) -> bool:
    """Whether weights in a format run on a device as they are, or are unpacked as ggml's are."""
    return FORMATS[name].packed or not device.lacks(FORMATS[name].math)


def _narrower(names: Iterable[str], now: str) -> Iterator[str]:
    """The formats narrower than the one in use; all of them where the release's own is in use."""
    for name in names:
        if now == NATIVE or _width(name) < _width(now):
            yield name


def _width(name: str) -> float:
    return float(FORMATS[name].bits_per_element)
