"""From users to devices, racks, megawatts and dollars: how much hardware does a service eat?

devices = (replicas that decode the peak's tokens + replicas that read the peak's prompts) x (1 + spare) x devices of a replica.
A replica decodes the largest batch that fits and whose TPOT stays within the target, at the mean context; prompts are read by replicas
of their own. At the peak a replica is planned with `utilisation` of its speed. Sequences stand at different places: a decode step reads
what it reads in the mean.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil

from kvcalc.assumptions import Assumptions
from kvcalc.energy import completed, node_devices, node_watts, with_speeds
from kvcalc.errors import ScenarioError, Unmet
from kvcalc.hardware import Device
from kvcalc.ledger import ledger
from kvcalc.parallel import Plan, plans
from kvcalc.roofline import answer, plan_of
from kvcalc.scenario import Scenario
from kvcalc.serving import UNKNOWN_MOST, Speculation, decode_bound, ttft
from kvcalc.slots import cycle
from kvcalc.solve import MOST_DEVICES, fewest_devices, fits, largest, nothing
from kvcalc.spec import ModelSpec
from kvcalc.units import JOULES_PER_KWH, MAX_BATCH, MILLION, SECONDS_PER_DAY, seconds_text

HOURS_PER_DAY = 24
MORE = "give a replica more devices: --on 8x... or --tp"
BATCHED = 2
"""Any batch but 1: decode of a service is batched."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Replicas that do one thing, decode or read prompts.

    Args:
        seconds: of a token of one sequence (TPOT), or of a prompt (TTFT), as taken [s].
        tokens_per_second: what one replica does at its full speed, as taken.
        needed: what all must do at the peak [tokens/s].
        replicas: so many, each planned with a part of its speed.
        bound: the speed is that of the bound: no system is faster.
    """

    seconds: float
    tokens_per_second: float
    needed: float
    replicas: int
    bound: bool


@dataclass(frozen=True, slots=True)
class Power:
    """Power of the building [W]: at the peak with every device at work, and in the mean of a day between rest and work."""

    racks: int
    devices_per_rack: int
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
        assumptions: all that was used, completed.
        decode, reading: the pools; None where no token is generated, or no prompt is read.
        batch: sequences of a decoding replica.
        cached: first tokens of a prompt whose state is there.
        prompts: prompts at the peak [1/s].
        busy: devices at work in the mean of a day, as a share of all.
        tokens_out, tokens_in: of a day, all users; cached ones included.
    """

    device: Device
    plan: Plan
    assumptions: Assumptions
    scenario: Scenario
    speculation: Speculation | None
    batch: int
    decode: Pool | None
    reading: Pool | None
    cached: int
    prompts: float
    spare_replicas: int
    busy: float
    tokens_out: float
    tokens_in: float
    power: Power | None
    usd_per_day: float | None
    notes: tuple[str, ...]

    @property
    def replicas(self) -> int:
        """Replicas, spare ones included."""
        return sum(pool.replicas for pool in (self.decode, self.reading) if pool is not None) + self.spare_replicas

    @property
    def devices(self) -> int:
        return self.replicas * self.plan.devices

    def kwh_per_million(self, tokens: float) -> float | None:
        """The day's energy over so many tokens of the day, for each million."""
        return None if self.power is None or not tokens else self.power.kwh_per_day / tokens * MILLION

    def usd_per_million(self, tokens: float) -> float | None:
        """The day's cost over so many tokens of the day, for each million."""
        return None if self.usd_per_day is None or not tokens else self.usd_per_day / tokens * MILLION


def fleet(
    model: ModelSpec,
    scenario: Scenario,
    device: Device,
    users: int,
    assumptions: Assumptions,
    *,
    count: int = 1,
    plan: Plan | None = None,
    speculation: Speculation | None = None,
    measured: bool = True,
) -> Fleet:
    """The fleet that serves so many users.

    Args:
        scenario: gives the formats; contexts come from the assumptions.
        count, plan: devices of a replica, and how the model stands on them; without a plan the usual one, of one device without a
            count the fewest that hold it.
        measured: speeds as measured systems reach them, where that is known; False: the bounds.

    Raises:
        ScenarioError: no users, no tokens, a model that does not fit, or a latency target that cannot be met: it says by how much.
    """
    if users < 1:
        raise ScenarioError("a fleet needs at least one user", "--users 1000000")
    given = completed(assumptions, device)
    tokens_in, tokens_out = given.tokens("tokens_in"), given.tokens("tokens_out")
    if tokens_in + tokens_out == 0:
        raise ScenarioError("a fleet needs tokens: tokens_in and tokens_out are both zero")
    context, prompt = int(given.tokens("context")), int(given.tokens("prompt"))
    if tokens_in and tokens_out and context < prompt:
        raise ScenarioError(
            f"context {context:,} is less than the prompt of {prompt:,}: tokens are generated after it",
            "give a longer context, or a shorter prompt",
        )
    at = context if tokens_out else prompt
    decoding = replace(scenario, phase="decode", batch=1, context=at, steady=True)
    given = with_speeds(given, model, replace(decoding, batch=BATCHED), device, measured=measured)
    room = _Room(model, _held(model, decoding, speculation), _cut(device, given), speculation)
    notes = []
    if plan is not None:
        chosen = plan
    elif count == 1:
        chosen = room.fewest()
        notes.append(f"no number was given: a replica is the fewest {device.id} that hold a sequence, {chosen.devices}")
    else:
        chosen = plan_of(model, room.scenario, room.device, count)
        notes.append(f"plan {chosen.line}: chosen here; another with --tp --pp --ep --dp")
    peak = given.exact("peak_factor")
    out_rate, prompts = (float(users * each * peak / SECONDS_PER_DAY) for each in (tokens_out, tokens_in / prompt))
    most, batch = room.most(chosen), 1
    decode = reading = None
    cached = min(int(prompt * given.exact("cached_share")), prompt - 1)
    if tokens_out:
        batch, decode = _decode(model, decoding, device, chosen, given, speculation, most, out_rate)
    decoding = replace(decoding, batch=batch)
    notes += _notes(model, replace(room.scenario, batch=batch), room.device, chosen)
    if tokens_in:
        prefill = replace(decoding, phase="prefill", batch=chosen.dp, context=prompt, cached=cached, steady=False)
        reading = _read(model, prefill, device, chosen, given, prompts)
        notes += _notes(model, prefill, room.device, chosen)
    if speculation is not None and speculation.draft is not None:
        notes += (f"{speculation.draft.id}: {note}" for note in ledger(speculation.draft, decoding).notes)
    replicas = sum(pool.replicas for pool in (decode, reading) if pool is not None)
    spare = ceil(given.exact("spare") * replicas)
    work = sum(pool.needed / float(peak) / pool.tokens_per_second for pool in (decode, reading) if pool is not None)
    busy = work / (replicas + spare)
    devices = (replicas + spare) * chosen.devices
    price = given.price_usd_per_hour
    return Fleet(
        device=device,
        plan=chosen,
        assumptions=given,
        scenario=decoding,
        speculation=speculation,
        batch=batch,
        decode=decode,
        reading=reading,
        cached=cached,
        prompts=prompts,
        spare_replicas=spare,
        busy=busy,
        tokens_out=float(users * tokens_out),
        tokens_in=float(users * tokens_in),
        power=_power(device, devices, busy, given),
        usd_per_day=None if price is None else devices * price * HOURS_PER_DAY,
        notes=tuple(dict.fromkeys(notes)),
    )


# -- a replica ----------------------------------------------------------------------------------------------------------------------


def _cut(device: Device, given: Assumptions) -> Device:
    """The device with that part of its memory that is to be filled."""
    if device.usable_bytes is None:
        return device
    return device.with_usable(f"{int(device.usable_bytes * given.exact('memory_utilisation'))} B")


def _held(model: ModelSpec, scenario: Scenario, speculation: Speculation | None) -> Scenario:
    """The scenario with the model's own draft layers counted as held, where they guess."""
    if speculation is None:
        return scenario
    speculation.check(model)
    return speculation.held(model, scenario)


def _notes(model: ModelSpec, scenario: Scenario, device: Device, plan: Plan) -> Iterator[str]:
    """What must be said beside a step. Raises ScenarioError where it does not fit."""
    book = ledger(model, scenario)
    verdict = answer(book, device, plan.devices, plan)
    if verdict.fits is False:
        raise Unmet(f"{model.id} does not fit {plan.line} of {device.id}", MORE)
    yield from (*book.notes, *verdict.notes)


@dataclass(frozen=True, slots=True)
class _Room:
    """What fits a replica: the model and its state, and a drafting model with its own."""

    model: ModelSpec
    scenario: Scenario
    device: Device
    speculation: Speculation | None

    def holds(self, plan: Plan, batch: int) -> bool:
        """Whether so many sequences fit, with blocks of a compressor as full as they get."""
        if self.device.usable_bytes is None:
            return True
        beside = nothing if self.speculation is None else self.speculation.beside(plan.devices)
        scenarios = (replace(self.scenario, context=context, batch=batch, steady=False) for context in self._places())
        return all(fits(self.model, scenario, self.device, plan, beside) for scenario in scenarios)

    def _places(self) -> set[int]:
        """The context, and the last places before it where open blocks are full, a token before they close."""
        context = self.scenario.context
        laws = (row.held for block in self.model.blocks for row in block.rows if row.owned)
        full = {context // found[0] * found[0] - 1 for law in laws if (found := cycle(law))}
        return {context} | {place for place in full if place >= 1}

    def most(self, plan: Plan) -> int:
        """The most sequences that fit. Raises ScenarioError where not one does."""
        most = UNKNOWN_MOST if self.device.usable_bytes is None else MAX_BATCH
        found = largest(lambda batch: self.holds(plan, batch), 1, most)
        if found is None:
            raise Unmet(
                f"{self.model.id} does not fit {plan.line} of {self.device.id} at context {self.scenario.context:,}", MORE
            )
        return found

    def fewest(self) -> Plan:
        """The usual plan of the fewest devices that hold a sequence. Raises ScenarioError where there is none."""
        first = fewest_devices(self.model, self.scenario, self.device)
        for count in range(first.devices if first is not None else MOST_DEVICES + 1, MOST_DEVICES + 1):
            for plan in plans(self.model, count, self.device.max_per_node):
                if self.holds(plan, 1):
                    return plan
        raise Unmet(f"{self.model.id} does not fit any number of {self.device.id} up to {MOST_DEVICES:,}")


def _decode(
    model: ModelSpec,
    scenario: Scenario,
    device: Device,
    plan: Plan,
    given: Assumptions,
    speculation: Speculation | None,
    most: int,
    needed: float,
) -> tuple[int, Pool]:
    """The largest batch within the TPOT target, and the replicas that decode so."""
    speed, target = given.number("decode_efficiency"), given.tpot_seconds
    gained = 1.0 if speculation is None else speculation.tokens_per_step

    def tpot(batch: int) -> float:
        return decode_bound(model, replace(scenario, batch=batch), device, plan, speculation).lower / gained / speed

    batch = largest(lambda batch: tpot(batch) <= target, 1, most)
    if batch is None:
        raise Unmet(
            f"tpot: one sequence alone takes {seconds_text(tpot(1))} per token on {device.id} ({plan.line}), the target is "
            f"{seconds_text(target)}",
            "allow more with --tpot, or " + MORE,
        )
    seconds = tpot(batch)
    rate = batch / seconds
    replicas = ceil(needed / (rate * given.number("utilisation")))
    return batch, Pool(seconds, rate, needed, replicas, speed == 1)


def _read(model: ModelSpec, scenario: Scenario, device: Device, plan: Plan, given: Assumptions, prompts: float) -> Pool:
    """The replicas that read prompts, from the first token that is not cached: one on each dp part at a time."""
    speed, target = given.number("prefill_efficiency"), given.ttft_seconds
    seconds = ttft(model, scenario, device, plan).lower / speed
    if seconds > target:
        raise Unmet(
            f"ttft: a prompt of {scenario.context:,} takes {seconds_text(seconds)} on {device.id} ({plan.line}), the target is "
            f"{seconds_text(target)}",
            "allow more with --ttft, or " + MORE,
        )
    rate = scenario.tokens / seconds
    needed = prompts * (scenario.context - scenario.cached)
    return Pool(seconds, rate, needed, ceil(needed / (rate * given.number("utilisation"))), speed == 1)


# -- the building -------------------------------------------------------------------------------------------------------------------


def _power(device: Device, devices: int, busy: float, given: Assumptions) -> Power | None:
    """Racks of whole nodes, by what these draw at work. Where the power at rest is unknown, that at work is taken throughout."""
    watts = given.power_watts
    if watts is None:
        return None
    node = node_devices(device)
    nodes = int(given.rack_watts // node_watts(given, device))
    if nodes < 1:
        raise ScenarioError(
            f"rack_power: a rack of {given.rack_power.value} does not hold one node of {node} x {device.id}, which draws "
            f"{ceil(node_watts(given, device)):,} W",
            "give a larger rack_power with --assumptions FILE",
        )
    peak = devices * watts * given.surroundings
    idle = watts if given.idle_watts is None else given.idle_watts
    mean = peak * (idle + (watts - idle) * busy) / watts
    return Power(ceil(devices / (nodes * node)), nodes * node, peak, mean, peak / given.data_centre_watts)
