"""The only place where layers, rows and scenario are multiplied. Flat entries; totals are sums of them.

Decode of a token at context t reads every weight once for the whole batch (of the experts, those that the batch is expected to
touch), reads read.count(t) slots of each row and writes written(t) - written(t - 1). Prefill of t tokens reads every weight once,
writes each slot that survives once and reads it once; its FLOPs are the exact causal sums.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from math import expm1, log1p
from typing import NamedTuple

from kvcalc.errors import ScenarioError, did_you_mean
from kvcalc.formats import FORMATS, Format, fitting, get_format
from kvcalc.kind import Row, Stream, Uneven, Weight, Work
from kvcalc.scenario import NATIVE, Scenario
from kvcalc.slots import EVERY, Law, mean_read, mean_written, read_between, written_between
from kvcalc.spec import MATRIX_USES, Block, ModelSpec
from kvcalc.units import round_half_up

ACTIVATION_FORMAT = "bf16"
CORE_MATH = "bf16"
"""Scores and value mixes run in 16 bits, whatever the cache is stored in."""
PRODUCT_USES = ("matmul", "conv")
PER_PASS = ("read_bytes", "written_bytes", "flops", "attention_flops")
GROWTH_TOKENS = 4096
CERTAIN_TOUCH = 64
"""Beyond this many expected touches per expert, (1 - k/E)^B is below 1e-27: every expert is read, to the byte."""
EXACT_POWER = 4096
"""Up to this many tokens the expectation is an exact fraction; beyond, its float is closer than a byte in 10^15."""


class Entry(NamedTuple):
    """One line of the ledger: one row, tensor or product of one group of equal layers."""

    piece: str
    group: str
    kind: str
    name: str
    layers: int
    format: str
    math: str = ""
    role: str = ""
    elements: int = 0
    slots: int = 0
    parameters: int = 0
    active_parameters: int = 0
    weight_bytes: int = 0
    state_bytes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    flops: int = 0
    attention_flops: int = 0
    split: int = 1
    uneven: Uneven = "repeat"
    experts: int = 0


class Totals(NamedTuple):
    """Sums over entries. Bytes and FLOPs per step, for all sequences of the batch."""

    parameters: int
    active_parameters: int
    weight_bytes: int
    state_bytes: int
    read_bytes: int
    written_bytes: int
    flops: int
    attention_flops: int


@dataclass(frozen=True)
class Ledger:
    """Every entry of one model in one scenario, and what must be said beside the numbers."""

    model: ModelSpec
    scenario: Scenario
    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = field(default=())
    passes: tuple[tuple[Entry, ...], ...] = field(default=(), repr=False)
    """The same, pass by pass: several for a prefill in chunks, whose traffic and FLOPs add up to the entries'."""

    @cached_property
    def totals(self) -> Totals:
        return total(self.entries)

    def by(self, key: str) -> dict[str, tuple[Entry, ...]]:
        """Entries grouped by piece, kind, row (name), group, format or math, in order of appearance."""
        return grouped(self.entries, key)

    @property
    def state(self) -> tuple[Entry, ...]:
        """The state rows that layers own."""
        return tuple(entry for entry in self.entries if entry.role and entry.elements)

    @property
    def state_bytes_per_token(self) -> int:
        """Growth of one sequence's state from t-1 to t, averaged over the last 4,096 tokens, rounded half up [bytes]."""
        return round_half_up(growth(self.model, self.scenario))


def grouped(entries: Iterable[Entry], key: str) -> dict[str, tuple[Entry, ...]]:
    """Entries by piece, kind, row (name), group, format or math, in order of appearance."""
    attribute = {"row": "name"}.get(key, key)
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(str(getattr(entry, attribute)), []).append(entry)
    return {name: tuple(listed) for name, listed in groups.items()}


def total(entries: Iterable[Entry]) -> Totals:
    """Add entries up."""
    sums = [0] * len(Totals._fields)
    for entry in entries:
        for place, name in enumerate(Totals._fields):
            sums[place] += getattr(entry, name)
    return Totals(*sums)


def ledger(model: ModelSpec, scenario: Scenario) -> Ledger:
    """The ledger of one step.

    Raises:
        ScenarioError: a format that a row or matrix cannot be stored in, or a piece to include that the model has not.
    """
    blocks = blocks_of(model, scenario)
    return of_blocks(model, scenario, blocks, (*_beyond(model, scenario), *_stored_otherwise(scenario, blocks)))


def _beyond(model: ModelSpec, scenario: Scenario) -> Iterator[str]:
    if scenario.context > model.max_context:
        yield f"context {scenario.context:,} is beyond the model's maximum of {model.max_context:,}: arithmetic only"


def of_blocks(model: ModelSpec, scenario: Scenario, blocks: Iterable[Block], notes: tuple[str, ...] = ()) -> Ledger:
    """The ledger of some blocks of a model: all of them, or those that stand on one device."""
    blocks = tuple(blocks)
    passes = tuple(
        tuple(entry for block in blocks for entry in _entries(model, scenario, block, span)) for span in scenario.spans
    )
    return Ledger(model, scenario, added(passes), notes, passes)


def added(passes: tuple[tuple[Entry, ...], ...]) -> tuple[Entry, ...]:
    """The entries of several passes as those of one step: traffic and FLOPs add up, what is held is held at the end."""
    if len(passes) == 1:
        return passes[0]
    return tuple(
        lines[-1]._replace(**{name: sum(getattr(line, name) for line in lines) for name in PER_PASS})
        for lines in zip(*passes, strict=True)
    )


def what_is_known(model: ModelSpec, scenario: Scenario) -> Ledger:
    """The ledger of one step; of a model whose weights are not known, its state alone, and a note that says what is missing."""
    if not model.unknown:
        return ledger(model, scenario)
    rows = (block._replace(weights=(), work=(), streams=()) for block in all_blocks(model, scenario))
    return of_blocks(model, scenario, rows, (not_known(model), *_beyond(model, scenario)))


def not_known(model: ModelSpec) -> str:
    """What a model's config leaves out, and what follows from it, in a sentence."""
    fields = " and ".join(model.unknown)
    return f"no {fields}: parameters, weights, traffic and FLOPs are not known; state is complete"


def blocks_of(model: ModelSpec, scenario: Scenario) -> tuple[Block, ...]:
    """The blocks that a scenario counts: the model's own, and what it includes beside.

    Raises:
        ScenarioError: the model's weights are not known, or it has no such piece to include.
    """
    if model.unknown:
        raise ScenarioError(f"{model.id}: {not_known(model)}", "kvcalc estimate and compare say its state")
    return all_blocks(model, scenario)


def all_blocks(model: ModelSpec, scenario: Scenario) -> tuple[Block, ...]:
    """The same, also of a model whose weights are not known: for whoever asks for rows alone.

    Raises:
        ScenarioError: the model has no such piece to include.
    """
    blocks = model.blocks
    for name in scenario.include:
        if name not in model.optional_pieces:
            known = model.optional_pieces
            hint = did_you_mean(name, known) or (
                f"it has: {', '.join(known)}" if known else "everything it has is counted already"
            )
            raise ScenarioError(f"{model.id} has no piece {name!r} to include", hint)
        blocks += model.optional_blocks(name)
    return blocks


Span = tuple[int, int]
"""One pass: tokens before it, tokens after it."""


def _entries(model: ModelSpec, scenario: Scenario, block: Block, span: Span) -> Iterator[Entry]:
    for weight in block.weights:
        yield from _weight_entries(model, scenario, block, weight, span)
    for row in block.rows:
        yield _row_entry(model, scenario, block, row, span)
    if block.held_only:
        return
    for work in block.work:
        yield _work_entry(model, scenario, block, work, span)
    for stream in block.streams:
        yield _stream_entry(scenario, block, stream, span)


def _start(scenario: Scenario, span: Span, last: int | None) -> int:
    """Where a pass begins for what only the last so many tokens of a prompt run."""
    if scenario.phase == "decode" or last is None:
        return span[0]
    return min(max(span[0], scenario.context - last), span[1])


# -- weights ------------------------------------------------------------------------------------------------------------------------


def weight_format(model: ModelSpec, scenario: Scenario, weight: Weight) -> Format:
    """The format of a tensor in this scenario: `--weight-format` sets every matrix whose rows are whole blocks of it."""
    return _asked(scenario, weight) or model.weight_format(weight)


def _asked(scenario: Scenario, weight: Weight) -> Format | None:
    """The format that `--weight-format` gives a tensor; None where it keeps its own."""
    if scenario.weight_format == NATIVE or weight.use not in MATRIX_USES:
        return None
    return fitting(get_format(scenario.weight_format), weight.shape[1])


def _stored_otherwise(scenario: Scenario, blocks: Iterable[Block]) -> Iterator[str]:
    """Tensors whose rows are no whole blocks of the format asked for, and what they are stored in."""
    names: dict[str, dict[str, None]] = {}
    for weight in (weight for block in blocks for weight in block.weights if weight.use in MATRIX_USES):
        stored = _asked(scenario, weight)
        if scenario.weight_format != NATIVE and (stored is None or stored.name != scenario.weight_format):
            how = "kept native" if stored is None else f"in {stored.name}, as llama.cpp stores them"
            names.setdefault(how, {})[weight.name] = None
    for how, listed in names.items():
        yield f"not whole blocks of {scenario.weight_format}, so {how}: {', '.join(sorted(listed))}"


def _weight_entries(model: ModelSpec, scenario: Scenario, block: Block, weight: Weight, span: Span) -> Iterator[Entry]:
    """One entry for each format in which the layers of a block store a tensor: nearly always one."""
    asked = _asked(scenario, weight)
    stored = model.stored(block, weight) if asked is None else ((asked, block.layers),)
    for format, layers in stored:
        yield _weight_entry(model, scenario, block, weight, span, format, layers)


def _weight_entry(
    model: ModelSpec, scenario: Scenario, block: Block, weight: Weight, span: Span, stored: Format, layers: int | Fraction
) -> Entry:
    """A tensor of `layers` layers; part of one where a layer stores it in several formats."""
    rows, columns = weight.shape
    one = stored.bytes(rows, columns, f"{block.label}.{weight.name}")
    copies = layers * weight.copies
    parameters = 0 if weight.use == "table" or weight.buffer or not weight.stored else whole(copies * rows * columns)
    tokens = scenario.batch * _tokens_run(scenario, block, weight, span)  # in the mean, where blocks close at different steps
    held_only = block.held_only or tokens == 0
    active = layers * active_elements(weight)
    return Entry(
        piece=weight.piece,
        group=block.label,
        kind=block.kind,
        name=weight.name,
        layers=block.layers,
        format=stored.name,
        math=weight_math(model, scenario, weight, stored),
        parameters=parameters,
        active_parameters=0 if parameters == 0 or block.held_only else whole(active),
        weight_bytes=whole(copies * one) if weight.stored else 0,
        read_bytes=0 if held_only else _weight_read(layers, weight, one, stored, tokens, scenario.batch * (span[1] - span[0])),
        flops=0 if held_only or weight.use not in PRODUCT_USES else whole(2 * tokens * active),
        split=weight.split,
        uneven=weight.uneven,
        experts=weight.experts,
    )


def _tokens_run(scenario: Scenario, block: Block, weight: Weight, span: Span) -> int | Fraction:
    """Times that one sequence's pass applies the tensor: tokens, or closed blocks where it runs once per block."""
    if scenario.steady and weight.runs != EVERY:
        return (span[1] - span[0]) * mean_written(weight.runs, span[1])
    last = weight.last if weight.last is not None else None if weight.every_token else block.replay
    return written_between(weight.runs, _start(scenario, span, last), span[1])


def active_elements(weight: Weight) -> int:
    """Elements of one layer that one token uses."""
    rows, columns = weight.shape
    if weight.use in ("lookup", "table"):
        return (weight.chosen or 1) * columns
    return (weight.copies if weight.chosen is None else weight.chosen) * rows * columns


def _weight_read(
    layers: int | Fraction, weight: Weight, one: int, stored: Format, tokens: int | Fraction, step: int
) -> int:
    """Bytes read of a tensor that is applied `tokens` times in a step of `step` tokens."""
    if weight.use in ("lookup", "table"):
        rows = min((weight.chosen or 1) * whole(tokens), weight.shape[0])
        return whole(layers * rows * stored.bytes(1, weight.shape[1], weight.name))
    if weight.chosen is None:
        every = layers * weight.copies * one
        return whole(every if isinstance(tokens, int) or tokens >= step else every * (1 - (1 - tokens / step) ** step))
    return round_half_up(layers * one * expected_distinct(weight.copies, weight.chosen, whole(tokens)))


def expected_distinct(experts: int, chosen: int, tokens: int) -> Fraction:
    """Expected number of distinct experts that `tokens` tokens touch under uniform routing: E (1 - (1 - k/E)^B)."""
    if chosen * tokens > CERTAIN_TOUCH * experts:
        return Fraction(experts)
    if tokens > EXACT_POWER:
        return Fraction(-experts * expm1(tokens * log1p(-chosen / experts)))
    return experts * (1 - (1 - Fraction(chosen, experts)) ** tokens)


def weight_math(model: ModelSpec, scenario: Scenario, weight: Weight, stored: Format) -> str:
    """The arithmetic of a tensor's products; empty for what has none."""
    if weight.use not in PRODUCT_USES:
        return ""
    if scenario.math != NATIVE:
        return scenario.math
    if scenario.weight_format == NATIVE and weight.piece in model.storage.math:
        return model.storage.math[weight.piece]
    return stored.math


# -- state --------------------------------------------------------------------------------------------------------------------------


def whole(amount: int | Fraction) -> int:
    """A mean to the nearest whole number; exact amounts as they are."""
    return amount if isinstance(amount, int) else round_half_up(amount)


def row_format(model: ModelSpec, scenario: Scenario, row: Row) -> Format:
    """The format of a row in this scenario: `--kv-format` sets kv and index rows, the others keep theirs."""
    if scenario.kv_format == NATIVE or row.role not in ("kv", "index"):
        return model.row_format(row)
    return get_format(scenario.kv_format)


def _row_entry(model: ModelSpec, scenario: Scenario, block: Block, row: Row, span: Span) -> Entry:
    (start, t), stored = span, row_format(model, scenario, row)
    slot = stored.bytes(1, row.elements, f"{block.label}.{row.name}")
    copies = block.layers * scenario.batch
    held = row.held.count(t)
    read: int | Fraction
    written: int | Fraction
    if block.held_only:
        read = written = 0
    elif scenario.steady:
        read, written = mean_read(row.read, t), (t - start) * mean_written(row.held, t)
    elif scenario.phase == "decode":
        read, written = row.read.count(t), written_between(row.held, start, t)
    else:
        read = min(held, read_between(row.read, start, t))
        written = min(held, written_between(row.held, start, t)) if start else held
    return Entry(
        piece=row.piece,
        group=block.label,
        kind=block.kind,
        name=row.name,
        layers=block.layers,
        format=stored.name,
        role=row.role,
        elements=row.elements if row.owned else 0,
        slots=held if row.owned else 0,
        state_bytes=copies * held * slot if row.owned else 0,
        read_bytes=whole(copies * read * slot),
        written_bytes=whole(copies * written * slot) if row.owned else 0,
        split=row.split,
    )


class StateTerm(NamedTuple):
    """One addend of a model's state: bytes_per_slot x law(t), for one sequence and all layers."""

    law: Law
    bytes_per_slot: int


def state_terms(
    model: ModelSpec,
    kv_format: str = NATIVE,
    wanted: Callable[[Block, Row], bool] = lambda block, row: True,
    include: tuple[str, ...] = (),
) -> tuple[StateTerm, ...]:
    """The state of one sequence as a sum of laws of t, equal laws merged: the closed form that `explain` prints."""
    scenario = Scenario(kv_format=kv_format, include=include)
    terms: dict[Law, int] = {}
    for block in all_blocks(model, scenario):
        for row in block.rows:
            if row.owned and wanted(block, row):
                slot = row_format(model, scenario, row).bytes(1, row.elements, f"{block.label}.{row.name}")
                terms[row.held] = terms.get(row.held, 0) + block.layers * slot
    return tuple(StateTerm(law, size) for law, size in terms.items())


def state_bytes(terms: Iterable[StateTerm], t: int) -> int:
    """Bytes of one sequence's state after t tokens."""
    return sum(term.bytes_per_slot * term.law.count(t) for term in terms)


def growth(model: ModelSpec, scenario: Scenario) -> Fraction:
    """Bytes that one more token adds to one sequence, averaged over the last 4,096 tokens."""
    terms = state_terms(model, scenario.kv_format, include=scenario.include)
    span = min(GROWTH_TOKENS, scenario.context)
    return Fraction(state_bytes(terms, scenario.context) - state_bytes(terms, scenario.context - span), span)


# -- products and streams -----------------------------------------------------------------------------------------------------------


def _work_entry(model: ModelSpec, scenario: Scenario, block: Block, work: Work, span: Span) -> Entry:
    expanded = scenario.phase == "prefill" and work.prefill_flops is not None
    per_slot = work.prefill_flops if expanded and work.prefill_flops is not None else work.flops
    slots = (
        (span[1] - span[0]) * mean_read(work.read, span[1])
        if scenario.steady
        else read_between(work.read, _start(scenario, span, block.replay), span[1])
    )
    flops = whole(per_slot * slots * block.layers * scenario.batch)
    math = CORE_MATH
    if work.operand is not None:
        math = next(row_format(model, scenario, row).math for row in block.rows if row.name == work.operand)
    return Entry(
        piece=work.piece,
        group=block.label,
        kind=block.kind,
        name=work.name,
        layers=block.layers,
        format="",
        math=math,
        flops=flops,
        attention_flops=0 if work.sort == "other" else flops,
        split=work.split,
    )


def _stream_entry(scenario: Scenario, block: Block, stream: Stream, span: Span) -> Entry:
    stored = FORMATS[ACTIVATION_FORMAT]
    tokens = block.layers * scenario.batch * (span[1] - _start(scenario, span, block.replay))
    return Entry(
        piece=stream.piece,
        group=block.label,
        kind=block.kind,
        name=stream.name,
        layers=block.layers,
        format=stored.name,
        read_bytes=tokens * stored.bytes(1, stream.read_elements),
        written_bytes=tokens * stored.bytes(1, stream.written_elements),
    )
