"""Published figures against the formulas: sizes must come out to the printed digit, no speed may beat its bound, energy lies between
what devices draw at rest and their TDP. What cannot be judged says what is missing.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from pydantic import ValidationError

from kvcalc.change import changed
from kvcalc.errors import KvcalcError, UnknownName
from kvcalc.evidence import ENERGIES, OTHER, SIZES, Figure
from kvcalc.hardware import Device
from kvcalc.ledger import Entry, Ledger, growth, ledger
from kvcalc.published import Check
from kvcalc.roofline import bound, memory_seconds
from kvcalc.scenario import NATIVE, Scenario
from kvcalc.spec import ModelSpec
from kvcalc.units import MAX_BATCH, significant
from kvcalc.verify import LoadModel, evaluate

LoadDevice = Callable[[str], Device]
Word = Literal["agrees", "differs", "cannot judge"]

NAMEPLATE = Fraction(102, 56)
"""Most that a server draws over the TDP of its devices: DGX H100, 10.2 kW over 8 x 700 W. Source: NVIDIA DGX H100 data sheet."""
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
        """The verdict is the one the data expects; what cannot be judged contradicts nothing."""
        return self.word in ("cannot judge", self.figure.expect)


def judge_all(figures: Iterable[Figure], load_model: LoadModel, load_device: LoadDevice) -> list[Judged]:
    """Judge every figure."""
    return [judge(figure, load_model, load_device) for figure in figures]


def judge(figure: Figure, load_model: LoadModel, load_device: LoadDevice) -> Judged:
    """Judge one figure."""
    try:
        missing = _missing(figure, load_model, load_device)
        if missing:
            return Judged(figure, "cannot judge", "", missing)
        model = load_model(figure.model or "")
        if figure.what in SIZES:
            return _size(figure, model, load_model)
        device = load_device(figure.device or "")
        if figure.what in ENERGIES:
            return _energy(figure, model, device)
        return _speed(figure, model, device)
    except (KvcalcError, ValidationError, ArithmeticError) as error:
        return Judged(figure, "cannot judge", "", str(getattr(error, "message", error)).split("\n")[0])


def _missing(figure: Figure, load_model: LoadModel, load_device: LoadDevice) -> str:
    if figure.what == OTHER:
        return "no formula of kvcalc gives this figure"
    if figure.model is None:
        return f"no spec of {figure.model_name}"
    try:
        load_model(figure.model)
    except UnknownName:
        return f"no spec of {figure.model_name}"
    if figure.what in SIZES:
        return ""
    if figure.device is None:
        return f"no device {figure.device_name!r}" if figure.device_name else "the device is not named"
    load_device(figure.device)
    if figure.weight_format is None:
        return "the format of the weights is not stated"
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
    computed = significant(verdict.computed, max(len(figure.published.replace(".", "").lstrip("0")), 3))
    return Judged(figure, "agrees" if verdict.agrees else "differs", f"{computed} {figure.unit}", figure.because or "")


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


def fastest(device: Device) -> Fraction | None:
    """The highest dense rate of any arithmetic that a device has [OP/s]: whatever a kernel uses, it is no faster."""
    return max((rate for what, rate in device.sizes.items() if what.startswith(("peak.", "peak_fp16_accumulate."))), default=None)


def lower_bound(figure: Figure, book: Ledger, device: Device) -> float:
    """Least time of the step on these devices [s]: perfectly split, every product at the fastest rate there is, and every token of the
    batch at the same experts (how many distinct ones they touch is an expectation, no bound)."""
    count, rate = devices_of(figure), fastest(device)
    one = ledger(book.model, replace(book.scenario, batch=1)).entries
    entries = [
        mine._replace(read_bytes=min(mine.read_bytes, least.read_bytes)) if mine.experts else mine
        for mine, least in zip(book.entries, one, strict=True)
    ]
    memory = bound(entries, device, count).memory_seconds
    return memory if rate is None else max(memory, float(Fraction(book.totals.flops) / (rate * count)))


def _speed(figure: Figure, model: ModelSpec, device: Device) -> Judged:
    measured = float(figure.published)
    scenario = scenario_of(figure)
    if figure.what == "decode_seconds_per_context_token":
        least = 1000 * memory_seconds(growth(model, scenario), device)
        return _held(figure, least / measured, f">= {significant(least)} {figure.unit}")
    if figure.what.startswith("throughput"):
        scenario = replace(scenario, batch=_most(figure, model, device, scenario))
    if scenario.phase == "prefill" and fastest(device) is None:
        return Judged(figure, "cannot judge", "", f"no matrix rate of {device.id} is published")
    least = lower_bound(figure, ledger_of(figure, model, scenario), device)
    if figure.what == "inter_token_seconds":
        return _held(figure, 1000 * least / measured, f">= {significant(1000 * least)} ms")
    tokens = scenario.tokens if scenario.phase == "prefill" else scenario.batch
    most = tokens / least / (devices_of(figure) if figure.what.endswith("per_device") else 1)
    return _held(figure, measured / most, f"<= {significant(most)} {figure.unit}")


def _most(figure: Figure, model: ModelSpec, device: Device, scenario: Scenario) -> int:
    """The largest batch that all devices together could hold: at maximum load no batch gives more."""
    if device.usable_bytes is None:
        raise UnknownName(f"what a program may use of {device.id} is not published")
    one = ledger(model, scenario).totals
    free = device.usable_bytes * devices_of(figure) - one.weight_bytes
    return min(max(free // max(one.state_bytes, 1), 1), MAX_BATCH)


def _held(figure: Figure, ratio: float, computed: str) -> Judged:
    """A measurement within its bound agrees."""
    word: Word = "agrees" if ratio <= 1 else "differs"
    reason = figure.because or ("" if ratio <= 1 else "above what the hardware allows")
    return Judged(figure, word, computed, reason, ratio)


# -- energy -------------------------------------------------------------------------------------------------------------------------


def _energy(figure: Figure, model: ModelSpec, device: Device) -> Judged:
    """Between the floor (devices at rest for the least time) and the ceiling (devices at TDP for the time that was measured).

    The measured time of a token is its energy over the power that was measured with it.
    """
    joules, count = float(figure.published), devices_of(figure)
    if figure.watts is None or device.watts is None:
        return Judged(figure, "cannot judge", "", "the power measured with it, or the TDP, is not known")
    seconds = joules / float(figure.watts)
    floor = 0.0
    if device.idle_watts is not None and figure.batch:
        least = lower_bound(figure, ledger_of(figure, model, scenario_of(figure)), device) / figure.batch
        floor = float(device.idle_watts) * count * least
    ceiling = float(device.watts) * count * seconds
    if figure.what == "server_joules_per_token":
        ceiling *= float(NAMEPLATE)
    if figure.what == "computer_joules_per_token":
        word: Word = "agrees" if joules >= floor else "differs"
        return Judged(figure, word, f">= {significant(floor)} J", figure.because or "a whole computer: no ceiling is known")
    word = "agrees" if floor <= joules <= ceiling else "differs"
    return Judged(figure, word, f"{significant(floor)} to {significant(ceiling)} J", figure.because or "")
