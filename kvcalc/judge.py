"""Published figures against the formulas: sizes must come out to the printed digit, no speed may beat its bound, energy lies between
what devices draw at rest and at their TDP for the time that was measured. What cannot be judged says what is missing.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from pydantic import ValidationError

from kvcalc.change import changed
from kvcalc.errors import KvcalcError, SpecError, UnknownName
from kvcalc.evidence import ENERGIES, OTHER, SIZES, Figure
from kvcalc.formats import FORMATS
from kvcalc.hardware import Device
from kvcalc.ledger import Entry, Ledger, growth, ledger
from kvcalc.published import Check
from kvcalc.roofline import memory_seconds
from kvcalc.scenario import NATIVE, Scenario
from kvcalc.spec import ModelSpec
from kvcalc.units import GB, MAX_BATCH, significant
from kvcalc.verify import UNITS, LoadModel, evaluate

LoadDevice = Callable[[str], Device]
Word = Literal["agrees", "differs", "cannot judge"]

NAMEPLATE = Fraction(102, 56)
"""Most that a server draws over the TDP of its devices: DGX H100, 10.2 kW over 8 x 700 W. Source: NVIDIA DGX H100 data sheet."""
UNPUBLISHED_8_BIT = 5
"""So many times its 16-bit rate a device may have in 8 bits, where that is not published: no device of the catalogue has more."""
BF16 = "bf16"
WIDE = ("fp32", "tf32", "bf16", "fp16")
ONE_DEVICE_AT_A_TIME = ("llama.cpp", "ik_llama.cpp", "ollama", "llama-cpp-python")
"""Engines that give each device its own layers: at batch 1 one works at a time, and their devices do not add up."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One figure and what the formulas say. `ratio` is measured over bound speed, for speeds."""

    figure: Figure
    word: Word
    computed: str
    reason: str = ""
    ratio: float | None = None

    @property
    def as_said(self) -> bool:
        """The verdict is the one that the data expects."""
        return self.word == ("cannot judge" if self.figure.expect == "unjudged" else self.figure.expect)


def judge_all(figures: Iterable[Figure], load_model: LoadModel, load_device: LoadDevice) -> list[Judged]:
    """Judge every figure."""
    return [judge(figure, load_model, load_device) for figure in figures]


def judge(figure: Figure, load_model: LoadModel, load_device: LoadDevice) -> Judged:
    """Judge one figure. Raises SpecError for one whose fields cannot be evaluated: what merely lacks data is said by `_missing`."""
    try:
        missing = _missing(figure, load_model, load_device)
        if missing:
            known = figure.because if figure.expect == "unjudged" else None
            return Judged(figure, "cannot judge", "", known or missing)
        if figure.what == "bandwidth":
            return _bandwidth(figure, load_device(figure.device or ""))
        if figure.what in ENERGIES:
            return _energy(figure, load_device(figure.device or ""))
        model = load_model(figure.model or "")
        if figure.what in SIZES:
            return _size(figure, model, load_model)
        if figure.what == "memory_bytes":
            return _memory(figure, model)
        return _speed(figure, model, load_device(figure.device or ""))
    except (KvcalcError, ValidationError, ArithmeticError, AttributeError, KeyError) as error:
        reason = " ".join(str(getattr(error, "message", error)).split())[:200]
        raise SpecError(f"evidence {figure.id}: cannot be evaluated: {reason}") from None


def _missing(figure: Figure, load_model: LoadModel, load_device: LoadDevice) -> str:
    """What a figure lacks to be judged; empty where nothing is."""
    if figure.what == OTHER:
        return "no formula of kvcalc gives this figure"
    if figure.what not in (*ENERGIES, "bandwidth"):
        if figure.model is None:
            return f"no spec of {figure.model_name}"
        try:
            load_model(figure.model)
        except UnknownName:
            return f"no spec of {figure.model_name}"
    if figure.what in SIZES or figure.what == "memory_bytes":
        return ""
    if figure.device is None:
        return f"no device {figure.device_name!r}" if figure.device_name else "the device is not named"
    device = load_device(figure.device)
    if figure.what in ENERGIES:
        return _missing_energy(figure, device)
    if device.bandwidth is None:
        return f"the memory bandwidth of {device.id} is not published"
    if figure.what == "bandwidth":
        return ""
    if figure.weight_format is None:
        return "the format of the weights is not stated"
    if figure.what.startswith("throughput") and device.usable_bytes is None and device.memory_bytes is None:
        return f"the memory of {device.id} is not published"
    if figure.what == "prefill_tokens_per_second" and fastest(device, [BF16]) is None:
        return f"no matrix rate of {device.id} is published"
    return ""


# -- sizes --------------------------------------------------------------------------------------------------------------------------


def _size(figure: Figure, model: ModelSpec, load_model: LoadModel) -> Judged:
    """As the check of a spec: the computed value must round to the printed digits."""
    fields: dict[str, object] = {
        "what": figure.what,
        "equals": Decimal(figure.published),
        "unit": figure.unit,
        "source": figure.source,
        "convention": figure.rule or "",
    }
    if figure.what.startswith("state"):
        fields["format"] = None if figure.kv_format == NATIVE else figure.kv_format
        fields["context"] = figure.context
    if figure.what == "weight_bytes":
        fields["weight_format"] = figure.weight_format
    told = {key: Decimal(value) if key in ("times", "within") else value for key, value in figure.check.items()}
    verdict = evaluate(model, Check.model_validate(fields | told), load_model)
    digits = max(len(figure.published.replace(".", "").lstrip("0")), 3)
    computed = significant(verdict.computed, digits)
    if verdict.upto is not None:
        computed += f" to {significant(verdict.upto, digits)}"
    return Judged(figure, "agrees" if verdict.agrees else "differs", f"{computed} {figure.unit}", figure.because or "")


def _memory(figure: Figure, model: ModelSpec) -> Judged:
    """Memory that a running model took, or that is said to suffice: weights (the file that ran) and state at least."""
    scenario = scenario_of(figure)
    sums = ledger(changed(model, figure.check.get("set", {})), scenario).totals
    least = Fraction((figure.weight_bytes or sums.weight_bytes) + sums.state_bytes) / UNITS[figure.unit]
    word: Word = "agrees" if least <= Fraction(figure.published) else "differs"
    return Judged(figure, word, f">= {significant(least)} {figure.unit}", figure.because or "")


def _bandwidth(figure: Figure, device: Device) -> Judged:
    """A measured bandwidth [GB/s] lies below the peak."""
    ratio = memory_seconds(Fraction(figure.published) * GB, device)
    return _held(figure, ratio, f"<= {significant(float(figure.published) / ratio)} {figure.unit}")


# -- speeds -------------------------------------------------------------------------------------------------------------------------


def scenario_of(figure: Figure) -> Scenario:
    """The scenario in which a figure was measured."""
    prefill = figure.what == "prefill_tokens_per_second"
    return Scenario(
        "prefill" if prefill else "decode",
        figure.context or 1,
        figure.batch or 1,
        figure.kv_format,
        figure.weight_format or NATIVE,
        cached=(figure.prompt or 0) if prefill else 0,
    )


def devices_of(figure: Figure) -> int:
    alone = (figure.engine or "").startswith(ONE_DEVICE_AT_A_TIME)
    return 1 if alone else figure.devices or 1


def ledger_of(figure: Figure, model: ModelSpec, scenario: Scenario) -> Ledger:
    """The ledger of the step, its weights scaled to the size of the file that ran."""
    book = ledger(changed(model, figure.check.get("set", {})), scenario)
    if figure.weight_bytes is None:
        return book
    part = Fraction(figure.weight_bytes, book.totals.weight_bytes)

    def scaled(entry: Entry) -> Entry:
        if not entry.weight_bytes:
            return entry
        return entry._replace(weight_bytes=int(entry.weight_bytes * part), read_bytes=int(entry.read_bytes * part))

    return replace(book, entries=tuple(scaled(entry) for entry in book.entries))


def formats_of(book: Ledger) -> frozenset[str]:
    """Formats of everything that a product reads."""
    return frozenset(entry.format for entry in book.entries if entry.format in FORMATS)


def arithmetics(formats: Iterable[str]) -> frozenset[str]:
    """The arithmetic that operands of these formats may run in: of 16-bit ones 16 bits or wider, of 8-bit ones 8 bits too, of 4-bit
    floats 4; ggml multiplies its blocks in int8, 4-bit integers meet activations of 8 bits at the least."""
    allowed = set(WIDE)
    for name in formats:
        stored = FORMATS[name]
        if stored.packed:
            allowed.add("int8")
        if stored.math in ("fp8", "fp4") or name in ("int8", "int4"):
            allowed |= {"fp8", "int8"}
        if stored.math == "fp4":
            allowed.add("fp4")
    return frozenset(allowed)


def fastest(device: Device, formats: Iterable[str]) -> Fraction | None:
    """The highest dense rate of any arithmetic that operands of these formats may run in [OP/s]: whatever a kernel uses, it is no
    faster. None where the device's rates are not published."""
    allowed = arithmetics(formats)
    peaks = [
        (what.split(".")[1], rate) for what, rate in device.sizes.items() if what.startswith(("peak.", "peak_fp16_accumulate."))
    ]
    known = [rate for name, rate in peaks if name in allowed]
    halves = [rate for name, rate in peaks if name in ("bf16", "fp16")]
    narrower = [rate for name, rate in peaks if name not in WIDE]
    if not halves and not narrower:
        return None
    if not halves:  # what a device does in fewer bits is no slower
        known += narrower
    for name in ("fp8", "int8"):
        if name in allowed and name not in device.peak and name not in device.absent:
            known += [*narrower, *(UNPUBLISHED_8_BIT * rate for rate in halves)]
    return max(known, default=None)


def lower_bound(figure: Figure, book: Ledger, device: Device) -> float:
    """Least time of the step on these devices [s]: perfectly split, every product at the fastest rate that its formats allow, and every
    token of the batch at the same experts (how many distinct ones they touch is an expectation, no bound)."""
    count, rate = devices_of(figure), fastest(device, formats_of(book))
    one = ledger(book.model, replace(book.scenario, batch=1)).entries
    moved = sum(
        (min(mine.read_bytes, least.read_bytes) if mine.experts else mine.read_bytes) + mine.written_bytes
        for mine, least in zip(book.entries, one, strict=True)
    )
    memory = memory_seconds(moved, device, count)
    return memory if rate is None else max(memory, float(Fraction(book.totals.flops) / (rate * count)))


def request_seconds(figure: Figure, model: ModelSpec, device: Device) -> float:
    """Least time that one request keeps these devices busy [s]: the products of its prompt, whose last token yields the first of the
    answer, and of each further token, at the shortest context that it sees. Mean lengths will do: the work of a prompt grows faster
    than its length. Zero where the lengths or the rates are not known."""
    if figure.prompt is None or figure.output is None:
        return 0.0
    decode = replace(scenario_of(figure), context=min(figure.prompt + 1, scenario_of(figure).context))
    book = ledger_of(figure, model, decode)
    prompt = ledger_of(figure, model, replace(decode, phase="prefill", context=figure.prompt))
    rate = fastest(device, formats_of(book))
    flops = prompt.totals.flops + (figure.output - 1) * book.totals.flops
    return 0.0 if rate is None else float(Fraction(flops) / (rate * devices_of(figure)))


def _speed(figure: Figure, model: ModelSpec, device: Device) -> Judged:
    measured = float(figure.published)
    scenario = scenario_of(figure)
    if figure.what == "decode_seconds_per_context_token":
        least = 1000 * memory_seconds(growth(model, scenario), device)
        return _held(figure, least / measured, f">= {significant(least)} {figure.unit}")
    if figure.what.startswith("throughput"):
        return _throughput(figure, model, device)
    least = lower_bound(figure, ledger_of(figure, model, scenario), device)
    if figure.what == "inter_token_seconds":
        return _held(figure, 1000 * least / measured, f">= {significant(1000 * least)} ms")
    most = (scenario.tokens if scenario.phase == "prefill" else scenario.batch) / least
    return _held(figure, measured / most, f"<= {significant(most)} {figure.unit}")


def _throughput(figure: Figure, model: ModelSpec, device: Device) -> Judged:
    """Tokens of answers per second: no more than decode steps of the largest batch give, nor than the products of whole requests."""
    batch = _most(figure, model, device, scenario_of(figure))
    book = ledger_of(figure, model, replace(scenario_of(figure), batch=batch))
    least = max(lower_bound(figure, book, device) / batch, request_seconds(figure, model, device) / (figure.output or 1))
    most = 1 / least / (devices_of(figure) if figure.what.endswith("per_device") else 1)
    return _held(figure, float(figure.published) / most, f"<= {significant(most)} {figure.unit}")


def _most(figure: Figure, model: ModelSpec, device: Device, scenario: Scenario) -> int:
    """The largest batch that all devices together could hold: at maximum load no batch gives more."""
    one = ledger(model, scenario).totals
    memory = device.usable_bytes if device.usable_bytes is not None else device.memory_bytes
    free = (memory or 0) * devices_of(figure) - one.weight_bytes
    return min(max(free // max(one.state_bytes, 1), 1), MAX_BATCH)


def _held(figure: Figure, ratio: float, computed: str) -> Judged:
    """A measurement within its bound agrees."""
    word: Word = "agrees" if ratio <= 1 else "differs"
    reason = figure.because or ("" if ratio <= 1 else "above what the hardware allows")
    return Judged(figure, word, computed, reason, ratio)


# -- energy -------------------------------------------------------------------------------------------------------------------------


def _missing_energy(figure: Figure, device: Device) -> str:
    if figure.rate is None:
        return "the tokens per second that were measured with it are not known"
    if _ceiling_watts(figure, device) is None and device.idle_watts is None:
        return f"neither the power at rest nor a ceiling is known for {device.id}" + (
            " in a whole computer" if figure.what == "computer_joules_per_token" else ""
        )
    return ""


def _ceiling_watts(figure: Figure, device: Device) -> float | None:
    """Most that what was measured draws [W]: devices their TDP, a server NAMEPLATE times that; a whole computer what its data sheet says
    of the machine, where it does."""
    if device.power is None or device.watts is None:
        return None
    if figure.what == "computer_joules_per_token" and device.power.kind not in ("system", "supply"):
        return None
    part = NAMEPLATE if figure.what == "server_joules_per_token" else Fraction(1)
    return float(device.watts * part) * devices_of(figure)


def _energy(figure: Figure, device: Device) -> Judged:
    """Between the floor (devices at rest) and the ceiling (devices at TDP), both for the time of a token by the measured rate. A power
    that was measured with it must lie between the same two."""
    joules, seconds, ceiling = float(figure.published), 1 / float(figure.rate or 1), _ceiling_watts(figure, device)
    floor = None if device.idle_watts is None else float(device.idle_watts) * devices_of(figure)
    drawn = [joules / seconds] + ([] if figure.watts is None else [float(figure.watts)])
    inside = all((floor is None or floor <= watts) and (ceiling is None or watts <= ceiling) for watts in drawn)
    low, high = (None if watts is None else significant(watts * seconds) for watts in (floor, ceiling))
    computed = f"{low} to {high} J" if low and high else f">= {low} J" if low else f"<= {high} J"
    reason = figure.because or ("" if inside else f"{significant(max(drawn))} W against {significant(ceiling or floor or 0)} W")
    return Judged(figure, "agrees" if inside else "differs", computed, reason)
