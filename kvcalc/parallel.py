"""More than one device: which part of a ledger stands on the fullest device of each stage, and what the devices must send each other.

Tensor parallelism cuts what has heads or a width (`split`) into tp parts; what has fewer parts is repeated (KV heads), what has one is
copied (MLA latents, index keys, norms, routers). What is copied is held and read by every device; its products may be shared out by
tokens (sequence parallel), so that their FLOPs are cut too. Pipeline stages are runs of layers, chosen so that the fullest holds least.
Attention data parallelism gives each replica its part of the batch; experts are dealt out over ep devices, or cut like the rest.
Source of the rules: Shoeybi et al. 2019, arXiv:1909.08053 (tensor parallel); vLLM 0.33.0 (KV heads repeated, MLA and indexer copied).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from typing import Any

from kvcalc.errors import PlanError
from kvcalc.formats import FORMATS
from kvcalc.kind import Weight
from kvcalc.ledger import (
    ACTIVATION_FORMAT,
    PER_PASS,
    Entry,
    Ledger,
    added,
    blocks_of,
    expected_distinct,
    of_blocks,
    weight_format,
    weight_math,
)
from kvcalc.scenario import Scenario
from kvcalc.spec import Block, ModelSpec

MAX_DEVICES = 65_536
CUT = ("elements", "parameters", "active_parameters", "weight_bytes", "state_bytes", *PER_PASS)
NARROW, NARROW_MATH = "fp8", ("fp8", "fp4", "int8")
"""Tokens go to experts that compute in these as one byte an element (DeepEP, https://github.com/deepseek-ai/DeepEP)."""
LISTED = 64
"""Sizes up to this are tried when an error says which divide."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a model stands on tp x pp x dp devices.

    Args:
        tp: tensor parallel: devices that share each layer.
        pp: pipeline stages: runs of layers.
        ep: devices over which whole experts are dealt out, within the tp x dp devices of a stage; 1: experts are cut like the rest.
        dp: attention data parallel: replicas of all but the dealt-out experts, each with its part of the batch.
    """

    tp: int = 1
    pp: int = 1
    ep: int = 1
    dp: int = 1

    def __post_init__(self) -> None:
        for name in ("tp", "pp", "ep", "dp"):
            if not 1 <= getattr(self, name) <= MAX_DEVICES:
                raise PlanError(f"--{name} {getattr(self, name):,} must be between 1 and {MAX_DEVICES:,}")
        if (self.tp * self.dp) % self.ep or (self.tp % self.ep and self.ep % self.tp):
            fitting = [
                n for n in range(1, self.tp * self.dp + 1) if not (self.tp * self.dp) % n and not (self.tp % n and n % self.tp)
            ]
            raise PlanError(
                f"ep={self.ep} does not go with the {self.tp * self.dp} devices of a stage (tp={self.tp} x dp={self.dp}): "
                "it divides them, and either it divides tp or tp divides it",
                "sizes that do: " + ", ".join(map(str, fitting)),
            )

    @property
    def devices(self) -> int:
        return self.tp * self.pp * self.dp

    @property
    def expert_tp(self) -> int:
        """Parts into which a single expert is cut."""
        return max(self.tp // self.ep, 1)

    @property
    def expert_replicas_joined(self) -> int:
        """Attention replicas whose tokens meet at the same experts."""
        return max(self.ep // self.tp, 1)

    @property
    def line(self) -> str:
        """The plan in words: tp 8, ep 8."""
        parts = [f"{name} {getattr(self, name)}" for name in ("tp", "pp", "ep", "dp") if getattr(self, name) > 1]
        return ", ".join(parts) or "one device"


@dataclass(frozen=True, slots=True)
class Collective:
    """What one device sends in one step.

    `bytes` is what must leave a device on its link, in one direction, under the best known algorithm (a ring for all-reduce).
    """

    name: str
    devices: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Stage:
    """The fullest device of one pipeline stage: its part of the ledger, and what it sends."""

    layers: tuple[int, ...]
    ledger: Ledger
    collectives: tuple[Collective, ...]

    @property
    def held_bytes(self) -> int:
        return self.ledger.totals.weight_bytes + self.ledger.totals.state_bytes


Runs = tuple[tuple[int, ...], ...]
"""The layers of each stage."""


def shard(
    model: ModelSpec, scenario: Scenario, plan: Plan, runs: Runs | None = None, *, copies: bool = True
) -> tuple[Stage, ...]:
    """The fullest device of each stage. `runs` are the layers of each; None: those whose fullest device holds least. Without `copies`,
    rows that a stage reads of an earlier one are read and not kept: as in a cut that needs no copy.

    Raises:
        PlanError: the model's heads, widths, layers or experts do not divide so; it says which sizes do.
    """
    refuse(model, plan)
    blocks = blocks_of(model, scenario)
    runs = stages(model, scenario, plan, blocks) if runs is None else runs
    out = []
    for number, layers in enumerate(runs):
        first, last = number == 0, number == len(runs) - 1
        own = tuple(_blocks_of_stage(model, blocks, layers, first=first, last=last, copies=copies))
        ledger = _on_one_device(model, scenario, plan, own)
        out.append(Stage(layers, ledger, tuple(_collectives(model, scenario, plan, own, last=number == len(runs) - 1))))
    return tuple(out)


# -- tensor, expert and data parallel -----------------------------------------------------------------------------------------------


def share(split: int, uneven: str, tp: int) -> Fraction | None:
    """The part of something with `split` equal parts that one of tp devices holds; None where that cannot be."""
    if split == 1 or tp == 1:
        return Fraction(1)
    if split % tp == 0:
        return Fraction(1, tp)
    if uneven == "pad":
        return Fraction(min(ceil(Fraction(split, tp)), split), split)
    if uneven == "repeat" and tp % split == 0:
        return Fraction(1, split)
    return None


def refuse(model: ModelSpec, plan: Plan) -> None:
    """Raises PlanError for a plan that a model's heads, widths, layers or experts do not allow; it says which sizes do."""
    if plan.ep > 1 and not any(weight.experts for block in model.blocks for weight in block.weights):
        raise PlanError(f"ep={plan.ep}: {model.id} has no experts to deal out", "leave out --ep")
    for block in model.blocks:
        for weight in block.weights:
            if weight.experts and plan.ep > weight.experts:
                raise PlanError(
                    f"ep={plan.ep} is more than the {weight.experts:,} experts of {model.id}", f"at most --ep {weight.experts}"
                )
            if share(weight.split, weight.uneven, _cut_of(plan, weight.experts)) is None:
                fitting = [n for n in range(1, LISTED + 1) if _divides(model, n, plan.ep)]
                raise PlanError(
                    f"tp={plan.tp} does not divide {model.id}: {block.label}.{weight.name} comes in {weight.split:,} equal parts",
                    f"tp that divides everything: {', '.join(map(str, fitting))}",
                )
    if plan.pp > 1 and most_stages(model) == 1:
        raise PlanError(
            f"pp={plan.pp}: {model.id} runs some weights more than once, so that a token would pass its stages round", "leave out --pp"
        )
    if plan.pp > model.num_hidden_layers:
        raise PlanError(
            f"pp={plan.pp} is more than the {model.num_hidden_layers} layers of {model.id}", f"at most --pp {model.num_hidden_layers}"
        )


def most_stages(model: ModelSpec) -> int:
    """The most stages that a model can be cut into: its layers; 1 where a token runs some weights more than once."""
    again = any(not weight.stored for block in model.blocks for weight in block.weights)
    return 1 if again else model.num_hidden_layers


def _cut_of(plan: Plan, experts: int) -> int:
    return plan.expert_tp if experts else plan.tp


def _divides(model: ModelSpec, tp: int, ep: int) -> bool:
    cut = {True: max(tp // ep, 1), False: tp}
    weights = (weight for block in model.blocks for weight in block.weights)
    return all(share(weight.split, weight.uneven, cut[weight.experts > 0]) is not None for weight in weights)


def _on_one_device(model: ModelSpec, scenario: Scenario, plan: Plan, blocks: tuple[Block, ...]) -> Ledger:
    """Each replica runs its part of the batch, rounded up; joined experts see the tokens of all their replicas."""
    replica = replace(scenario, batch=ceil(Fraction(scenario.batch, plan.dp)))
    own = of_blocks(model, replica, blocks)
    if plan == Plan():
        return own
    met = min(replica.batch * plan.expert_replicas_joined, scenario.batch)
    joined = of_blocks(model, replace(replica, batch=met), blocks)
    passes = tuple(
        tuple(_part(other if entry.experts else entry, plan) for entry, other in zip(alone, together, strict=True))
        for alone, together in zip(own.passes, joined.passes, strict=True)
    )
    return Ledger(model, replica, added(passes), (), passes)


def _part(entry: Entry, plan: Plan) -> Entry:
    part = share(entry.split, entry.uneven, _cut_of(plan, entry.experts)) or Fraction(1)
    if entry.experts:
        part *= Fraction(ceil(Fraction(entry.experts, plan.ep)), entry.experts)
    if part < 1:
        return _cut(entry, CUT, part)
    if plan.tp == 1:
        return entry
    return _cut(entry, ("flops", "attention_flops") if entry.role or entry.weight_bytes else PER_PASS, Fraction(1, plan.tp))


def _cut(entry: Entry, names: tuple[str, ...], part: Fraction) -> Entry:
    smaller: dict[str, Any] = {name: ceil(getattr(entry, name) * part) for name in names}
    return entry._replace(**smaller)


# -- pipeline -----------------------------------------------------------------------------------------------------------------------


def stages(model: ModelSpec, scenario: Scenario, plan: Plan, blocks: tuple[Block, ...]) -> Runs:
    """The layers of each stage: runs of layers whose fullest device holds the least, found by exact search.

    A run never holds less than a part of it, so that filling runs in order under a limit takes the fewest, and the least limit that
    takes no more than pp is the answer.
    """
    if plan.pp == 1:
        return (tuple(range(model.num_hidden_layers)),)
    layers = _held_by_layer(model, scenario, plan, blocks)
    low, high = max(layer.alone for layer in layers), _held(layers)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if len(_packed(layers, middle, plan.pp)) <= plan.pp else (middle + 1, high)
    return tuple(tuple(run) for run in _packed(layers, low, plan.pp))


@dataclass(frozen=True, slots=True)
class _Layer:
    """Bytes of one layer on one device; and of the rows that it reads in earlier layers, by layer and name."""

    own: int
    borrowed: dict[tuple[int, str], int]

    @property
    def alone(self) -> int:
        return self.own + sum(self.borrowed.values())


def _held_by_layer(model: ModelSpec, scenario: Scenario, plan: Plan, blocks: tuple[Block, ...]) -> list[_Layer]:
    own = [0] * model.num_hidden_layers
    borrowed: list[dict[tuple[int, str], int]] = [{} for _ in own]

    def held(*some: Block) -> int:
        sums = _on_one_device(model, scenario, plan, some).totals
        return sums.weight_bytes + sums.state_bytes

    for block in blocks:
        if not block.places:
            continue
        one = block._replace(layers=1, places=block.places[:1])
        sizes = _layer_sizes(model, block, held)
        copies = {
            (block.reuses, row.name): held(one._replace(rows=(row._replace(owned=True),), weights=(), work=(), streams=()))
            for row in block.rows
            if block.reuses is not None and not row.owned
        }
        for place, size in zip(block.places, sizes, strict=True):
            own[place] += size
            borrowed[place].update(copies)
    own[0] += held(*_outside(blocks, first=True, last=False))
    own[-1] += held(*_outside(blocks, first=False, last=True))
    return [_Layer(size, copies) for size, copies in zip(own, borrowed, strict=True)]


def _layer_sizes(model: ModelSpec, block: Block, held: Callable[[Block], int]) -> list[int]:
    """Bytes of each layer of a block: all alike, but where layers store a tensor in formats of their own."""
    if model.stored_by_layer:
        return [held(block._replace(layers=1, places=(place,))) for place in block.places]
    return [held(block._replace(layers=1, places=block.places[:1]))] * block.layers


def _held(layers: list[_Layer], start: int = 0) -> int:
    """Bytes of a run of layers that begins at layer `start`: rows of an earlier run are held once more, but only once."""
    copies = {key: size for layer in layers for key, size in layer.borrowed.items() if key[0] < start}
    return sum(layer.own for layer in layers) + sum(copies.values())


def _packed(layers: list[_Layer], most: int, wanted: int) -> list[list[int]]:
    """Runs of at most `most` bytes, filled in order; while more stages are wanted than layers would be left, a run ends early."""
    runs: list[list[int]] = [[]]
    held, seen = 0, set[tuple[int, str]]()
    for place, layer in enumerate(layers):
        new = {key: size for key, size in layer.borrowed.items() if runs[-1] and key[0] < runs[-1][0] and key not in seen}
        left, missing = len(layers) - place, wanted - len(runs)
        if runs[-1] and (held + layer.own + sum(new.values()) > most or left <= missing):
            runs.append([])
            held, seen = 0, set()
        if not runs[-1]:
            new = {key: size for key, size in layer.borrowed.items() if key[0] < place}
        runs[-1].append(place)
        held += layer.own + sum(new.values())
        seen.update(new)
    return runs


def _blocks_of_stage(
    model: ModelSpec, blocks: tuple[Block, ...], layers: tuple[int, ...], *, first: bool, last: bool, copies: bool
) -> Iterator[Block]:
    inside, copied = set(layers), set[tuple[int, str]]()
    for block in blocks:
        places = tuple(place for place in block.places if place in inside)
        if not places:
            continue
        here = block._replace(layers=len(places), places=places)
        if not copies or block.reuses is None or block.reuses in inside:
            yield here
        else:
            yield from _with_borrowed_rows(here, block.reuses, copied)
    yield from _outside(blocks, first=first, last=last)


def _with_borrowed_rows(block: Block, owner: int, copied: set[tuple[int, str]]) -> Iterator[Block]:
    """Layers that read the rows of a layer in an earlier stage: one copy of these rows stands in their stage too."""
    kept = tuple(row._replace(owned=row.owned or (owner, row.name) not in copied) for row in block.rows)
    copied.update((owner, row.name) for row in block.rows if not row.owned)
    if kept == block.rows:
        yield block
        return
    yield block._replace(layers=1, places=block.places[:1], rows=kept)
    if block.layers > 1:
        yield block._replace(layers=block.layers - 1, places=block.places[1:])


def _outside(blocks: Iterable[Block], *, first: bool, last: bool) -> Iterator[Block]:
    """What stands outside the layers: look-up tables and towers before the first; final norm, head and draft after the last."""
    for block in blocks:
        if block.places:
            continue
        if block.part == "embedding" and first != last:
            yield block._replace(weights=tuple(_at_one_end(block.weights, first=first)))
        elif last if block.part in ("model", "draft") else first:
            yield block


def _at_one_end(weights: Iterable[Weight], *, first: bool) -> Iterator[Weight]:
    """The embedding before the first stage, the head after the last. A tied matrix stands at both, as a table and as the head."""
    for weight in weights:
        tied = weight.name == "token_embedding" and weight.use != "lookup"
        if tied and first:
            yield weight._replace(use="lookup", chosen=1, last=None)
        elif first == (weight.piece == "embeddings" and not tied):
            yield weight


# -- what the devices send ----------------------------------------------------------------------------------------------------------


def _collectives(
    model: ModelSpec, scenario: Scenario, plan: Plan, blocks: tuple[Block, ...], *, last: bool
) -> Iterator[Collective]:
    """Bytes that one device sends in one step: 16-bit activations; to experts in the arithmetic that these compute in.

    All-reduce of n bytes over p devices: 2 (p - 1)/p n in a ring (Patarasuk and Yuan 2009). Dispatch to experts and the way back:
    tokens/tp x distinct devices among the k chosen x (p - 1)/p x hidden_size each. Logits stay where they are: devices compare their best.
    """
    wide = FORMATS[ACTIVATION_FORMAT].bytes(1, 1)
    sequences = ceil(Fraction(scenario.batch, plan.dp))
    dealt = plan.ep > plan.tp
    reduced, sent = 0, Fraction(0)
    for block in blocks:
        elements = sequences * _tokens(scenario, block) * model.hidden_size
        experts = [weight for weight in block.weights if weight.experts and weight.chosen]
        if dealt and experts:
            chosen = max((w.chosen or 0) * w.experts // w.copies for w in experts)
            math = weight_math(model, scenario, experts[0], weight_format(model, scenario, experts[0]))
            narrow = FORMATS[NARROW].bytes(1, 1) if math in NARROW_MATH else wide
            sent += block.layers * elements * (narrow + wide) * expected_distinct(plan.ep, 1, chosen)
        elif (block.weights and block.part in ("attention", "feedforward")) or (block.part == "embedding" and 0 in _places(blocks)):
            reduced += block.layers * elements * wide
    if plan.tp > 1:
        yield Collective("all-reduce", plan.tp, ceil(Fraction(2 * (plan.tp - 1) * reduced, plan.tp)))
    if sent:
        yield Collective("all-to-all to experts and back", plan.ep, ceil(sent * Fraction(plan.ep - 1, plan.ep * plan.tp)))
    if not last:
        stream = sequences * _tokens(scenario, None) * model.hidden_size * wide
        yield Collective("hand-over to the next stage", 2, ceil(Fraction(stream * model.residual.streams_kept, plan.tp)))


def _tokens(scenario: Scenario, block: Block | None) -> int:
    """Tokens of one sequence that run a block in the whole step."""
    new = scenario.tokens_per_sequence
    replay = block.replay if block is not None and scenario.phase == "prefill" else None
    return new if replay is None else min(new, replay)


def _places(blocks: Iterable[Block]) -> set[int]:
    return {place for block in blocks for place in block.places}


# -- a plan where none is asked -----------------------------------------------------------------------------------------------------


def plans(model: ModelSpec, count: int, per_node: int | None = None) -> Iterator[Plan]:
    """Plans of exactly `count` devices: tensor parallel as far as a node and the heads go, pipeline stages for the rest; then, where
    there are experts, replicas of the attention with all experts dealt out."""
    widths = [tp for tp in range(min(count, per_node or count), 0, -1) if count % tp == 0 and _divides(model, tp, 1)]
    yield from (Plan(tp=tp, pp=count // tp) for tp in widths if count // tp <= most_stages(model))
    experts = [weight.experts for block in model.blocks for weight in block.weights if weight.experts]
    if count > 1 and experts and count <= min(experts):
        yield from (Plan(tp=tp, dp=count // tp, ep=count) for tp in reversed(widths) if tp < count)


def usual(model: ModelSpec, count: int, per_node: int | None = None) -> Plan:
    """The plan taken where none is given and nothing is said of memory: the first of `plans`.

    Raises:
        PlanError: no such plan uses exactly `count` devices.
    """
    for plan in plans(model, count, per_node):
        return plan
    raise PlanError(f"{model.id} does not divide over {count:,} devices by layers and heads", "give --tp, --pp, --ep, --dp")


def asked(count: int | None, tp: int | None, pp: int | None, ep: int | None, dp: int | None) -> tuple[int, Plan | None]:
    """Devices and plan from what was asked: no plan where nothing was said; the plan's own devices where no count was named."""
    if (tp, pp, ep, dp) == (None,) * 4:
        return 1 if count is None else count, None
    plan = Plan(*(1 if size is None else size for size in (tp, pp, ep, dp)))
    return (plan.devices if count is None else count), plan
