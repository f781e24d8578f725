"""Published figures against the formulas: what a source says, what comes out under its convention, and whether the two agree.

A figure agrees when the computed value rounds to the printed digits (or lies within the tolerance that the check states).
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from pydantic import ValidationError

from kvcalc.allocator import allocator
from kvcalc.change import changed
from kvcalc.errors import SpecError
from kvcalc.kind import Row
from kvcalc.ledger import ledger, row_format, state_terms, total
from kvcalc.published import Check, Versus
from kvcalc.scenario import NATIVE, Scenario
from kvcalc.slots import EVERY, Chunk, Window
from kvcalc.spec import Block, ModelSpec
from kvcalc.units import BILLION, GB, GIB, KIB, MIB, MILLION

UNITS: dict[str, Fraction] = {
    "": Fraction(1),
    "x": Fraction(1),
    "%": Fraction(1, 100),
    "B": Fraction(1),
    "KB": Fraction(GB, MILLION),
    "KiB": Fraction(KIB),
    "MB": Fraction(MILLION),
    "MiB": Fraction(MIB),
    "GB": Fraction(GB),
    "GiB": Fraction(GIB),
    "M": Fraction(MILLION),
    "billion": Fraction(BILLION),
    "T": Fraction(BILLION * 1000),
}
FP8_COST = {
    "bf16": Fraction(2),
    "tf32": Fraction(2),
    "fp16": Fraction(2),
    "fp8": Fraction(1),
    "int8": Fraction(1),
    "fp4": Fraction(1, 2),
}
"""Cost of one FLOP in FP8-equivalents: 16-bit products at half the FP8 rate, FP4 at twice it. Source: arXiv:2606.19348, section 2.5."""

LoadModel = Callable[[str], ModelSpec]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One check, its computed value in the check's unit (up to `upto`, where it is a range), and whether that is the published one."""

    check: Check
    computed: Fraction
    agrees: bool
    upto: Fraction | None = None

    @property
    def as_said(self) -> bool:
        """The verdict is the one that the spec declares."""
        return self.agrees == self.check.agrees


def verify(model: ModelSpec, load: LoadModel) -> list[Verdict]:
    """Evaluate every check of a model; `load` finds the model that a ratio refers to."""
    verdicts = []
    for place, check in enumerate(model.checks):
        try:
            verdicts.append(evaluate(model, check, load))
        except (ValidationError, ArithmeticError, AttributeError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise SpecError(f"{model.id}: checks.{place} ({check.what}): cannot be evaluated: {reason}") from None
    return verdicts


def evaluate(model: ModelSpec, check: Check, load: LoadModel) -> Verdict:
    """Evaluate one check under its own convention."""
    if check.upto is not None:
        return _between(model, check, load)
    value = _quantity(changed(model, check.set), check)
    value = value * Fraction(check.times) + check.plus
    if check.versus is not None:
        value /= _other_side(check, check.versus, load)
        value = 1 / value if check.versus.inverse else value
    computed = value / UNITS[check.unit]
    return Verdict(check, computed, _same(computed, check))


def _between(model: ModelSpec, check: Check, load: LoadModel) -> Verdict:
    """Of a file of mixed widths, the sizes in its narrowest and its widest format; the printed figure must lie between."""
    ends = [
        evaluate(model, check.model_copy(update={"weight_format": name, "upto": None}), load).computed
        for name in (check.weight_format, check.upto)
    ]
    inside = min(ends) - _half_a_digit(check) <= Fraction(check.equals) <= max(ends) + _half_a_digit(check)
    return Verdict(check, min(ends), inside, max(ends))


def _other_side(check: Check, versus: Versus, load: LoadModel) -> Fraction:
    if versus.model is None:
        return Fraction(versus.value or 1)
    own = {name: getattr(versus, name) for name in ("context", "format", "rows") if getattr(versus, name) is not None}
    return _quantity(changed(load(versus.model), versus.set), check.model_copy(update={**own, "ignore": []}))


def _same(computed: Fraction, check: Check) -> bool:
    published = Fraction(check.equals)
    if check.within is not None:
        return abs(computed - published) <= Fraction(check.within) * abs(published)
    return abs(computed - published) <= _half_a_digit(check)


def _half_a_digit(check: Check) -> Fraction:
    """Half a unit of the last digit that is printed."""
    exponent = check.equals.as_tuple().exponent if isinstance(check.equals, Decimal) else 0
    return Fraction(1, 2) * (Fraction(1, 10**-exponent) if isinstance(exponent, int) else 1)


def _quantity(model: ModelSpec, check: Check) -> Fraction:
    kv_format, rows = check.format or NATIVE, check.rows
    scenario = Scenario(
        context=check.context or model.max_context,
        batch=check.batch,
        kv_format=kv_format,
        weight_format=check.weight_format or NATIVE,
        include=tuple(check.include),
    )
    match check.what:
        case "state_bytes" if check.engine is not None:
            reservation = allocator(check.engine, check.settings).reserve(model, scenario)
            return Fraction(reservation.bytes_of(rows or (), groups=check.groups or ()))
        case "state_bytes":
            return Fraction(check.batch * _state(model, check, kv_format, rows, scenario.context))
        case "state_bytes_per_token":
            return _growth(model, check, kv_format, rows)
        case "sharing_saves_bytes":
            unshared = check.model_copy(update={"ignore": [*check.ignore, "sharing"]})
            saved = _state(model, unshared, kv_format, rows, scenario.context) - _state(
                model, check, kv_format, rows, scenario.context
            )
            return Fraction(check.batch * saved)
        case "heads_per_kv_head":
            part: Any = model.attention[(check.groups or list(model.attention))[0]]
            return Fraction(part.num_attention_heads, part.num_key_value_heads)
        case "prefill_active_parameters":
            return _prefill_active(model)
        case "fp8_equivalent_flops":
            return sum(
                (FP8_COST[entry.math] * entry.flops for entry in ledger(model, scenario).entries if entry.flops), Fraction(0)
            )
    return Fraction(getattr(total(ledger(model, scenario).entries), check.what))


def _terms(model: ModelSpec, check: Check, kv_format: str, rows: list[str] | None) -> list[tuple[Any, int]]:
    """(law, bytes per slot) of the rows that the source counts, with the tricks that it ignores undone."""
    if not check.ignore and not check.formats:
        return [
            (term.law, term.bytes_per_slot)
            for term in state_terms(model, kv_format, lambda block, row: _wanted(check, rows, block, row))
        ]
    out = []
    for block in model.blocks:
        for row in block.rows:
            if not _wanted(check, rows, block, row) or not (row.owned or "sharing" in check.ignore):
                continue
            law = EVERY if "window" in check.ignore and isinstance(row.held, Window | Chunk) else row.held
            stored = row_format(model, Scenario(kv_format=check.formats.get(row.name, kv_format)), row)
            out.append((law, block.layers * stored.bytes(1, row.elements)))
    return out


def _wanted(check: Check, rows: list[str] | None, block: Block, row: Row) -> bool:
    return (rows is None or row.name in rows) and (check.groups is None or block.label.split(" ")[0] in check.groups)


def _state(model: ModelSpec, check: Check, kv_format: str, rows: list[str] | None, t: int) -> int:
    return sum(size * law.count(t) for law, size in _terms(model, check, kv_format, rows))


GROWTH_SPAN = 1 << 20


def _growth(model: ModelSpec, check: Check, kv_format: str, rows: list[str] | None) -> Fraction:
    """Bytes per further token far beyond every window: an average over 2^20 tokens, so that each compressor closes whole blocks."""
    t = GROWTH_SPAN * 2
    return Fraction(
        _state(model, check, kv_format, rows, t) - _state(model, check, kv_format, rows, t - GROWTH_SPAN), GROWTH_SPAN
    )


def _prefill_active(model: ModelSpec) -> Fraction:
    """Matrix parameters that every prompt token runs: no replayed layers, no head, no tables."""
    active = 0
    for block in model.blocks:
        for weight in block.weights:
            if weight.use == "matmul" and weight.last is None and (block.replay is None or weight.every_token):
                chosen = weight.copies if weight.chosen is None else weight.chosen
                active += block.layers * chosen * weight.shape[0] * weight.shape[1]
    return Fraction(active)
