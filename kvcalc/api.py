"""What Python programs and notebooks call: `estimate`, `compare` and `sweep`, with ids or objects, and text such as "128K".

The answers are those of the commands of the same names: `to_dict()` is their data, `records()` rows for a data frame, and `str()` and a
notebook show their table. Everything that is refused is a KvcalcError.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from os import PathLike
from typing import Any, Literal

from kvcalc import allocator as allocators
from kvcalc.errors import PlanError, ScenarioError
from kvcalc.grid import (
    Devices,
    Grid,
    Models,
    Names,
    Row,
    Several,
    read_context,
    read_contexts,
    read_devices,
    read_grid,
    read_model,
    read_models,
    read_names,
    read_rigs,
    read_whole,
    sizes,
    speeds,
)
from kvcalc.hardware import Device
from kvcalc.ledger import Ledger, Totals, ledger, not_known, total, what_is_known
from kvcalc.parallel import Plan
from kvcalc.report import tables
from kvcalc.report.table import Document, Table
from kvcalc.report.writers import WRITERS
from kvcalc.roofline import Answer, answer
from kvcalc.scenario import Phase, Scenario
from kvcalc.spec import ModelSpec

By = Literal["piece", "kind", "row", "group", "format"]
USUAL_CONTEXT = "128K"
STATE = ("state_bytes", "state_bytes_per_token")
"""What is known of every model."""

__all__ = ["Comparison", "Estimate", "compare", "estimate", "sweep"]


# -- one model ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Estimate:
    """What one model eats in one scenario; with devices, what they say to it. Bytes, FLOPs and seconds of one step of the whole batch.

    Args:
        ledger: every entry: rows, tensors and products.
        answer: what the devices say; None where none was named.
    """

    ledger: Ledger
    answer: Answer | None = None

    @property
    def model(self) -> ModelSpec:
        return self.ledger.model

    @property
    def scenario(self) -> Scenario:
        return self.ledger.scenario

    @cached_property
    def totals(self) -> Totals:
        """All sums: parameters, active_parameters, weight_bytes, state_bytes, read_bytes, written_bytes, flops, attention_flops.

        Raises ScenarioError, as every sum but the state's does, where the model's config does not say what its weights need.
        """
        self._need_weights()
        return self.ledger.totals

    def _need_weights(self) -> None:
        if self.model.unknown:
            raise ScenarioError(f"{self.model.id}: {not_known(self.model)}", "state_bytes and state_bytes_per_token are known")

    def _known(self, sums: Row) -> Row:
        """Sums in a row; None where they are not known."""
        return {name: None if self.model.unknown and name not in STATE else value for name, value in sums.items()}

    @property
    def parameters(self) -> int:
        return self.totals.parameters

    @property
    def active_parameters(self) -> int:
        """Those that one token uses."""
        return self.totals.active_parameters

    @property
    def weight_bytes(self) -> int:
        return self.totals.weight_bytes

    @property
    def state_bytes(self) -> int:
        """KV cache and every other state, of all sequences. Known of every model."""
        return self.ledger.totals.state_bytes

    @property
    def state_bytes_per_sequence(self) -> int:
        return self.state_bytes // self.scenario.batch

    @property
    def state_bytes_per_token(self) -> int:
        """Growth of one sequence's state, averaged over the last 4,096 tokens."""
        return self.ledger.state_bytes_per_token

    @property
    def read_bytes(self) -> int:
        return self.totals.read_bytes

    @property
    def written_bytes(self) -> int:
        return self.totals.written_bytes

    @property
    def flops(self) -> int:
        """A multiply-add counts 2."""
        return self.totals.flops

    @property
    def attention_flops(self) -> int:
        """Of them scores, value mixes and indexers, without projections."""
        return self.totals.attention_flops

    @cached_property
    def pieces(self) -> dict[str, Totals]:
        """The same sums piece by piece: attention, norms, dense_mlp ... They add up to `totals`, exactly."""
        self._need_weights()
        return {name: total(entries) for name, entries in self.ledger.by("piece").items()}

    @property
    def notes(self) -> tuple[str, ...]:
        """What must be said beside the numbers."""
        return self.ledger.notes + (self.answer.notes if self.answer else ())

    # -- on devices: None where none was named, or where it is not known --

    @property
    def device(self) -> Device | None:
        return None if self.answer is None else self.answer.device

    @property
    def count(self) -> int | None:
        """Devices."""
        return None if self.answer is None else self.answer.count

    @property
    def plan(self) -> Plan | None:
        """How the model stands on them: the plan that was asked for, or the one that was taken."""
        return None if self.answer is None else self.answer.plan

    @property
    def fits(self) -> bool | None:
        return None if self.answer is None else self.answer.fits

    @property
    def needed_bytes(self) -> int | None:
        """On all devices, each taken as full as the fullest."""
        return None if self.answer is None else self.answer.needed_bytes

    @property
    def usable_bytes(self) -> int | None:
        """What programs may use of all devices."""
        return None if self.answer is None else self.answer.usable_bytes

    @property
    def headroom_bytes(self) -> int | None:
        """Usable less needed; negative where it does not fit."""
        return None if self.answer is None else self.answer.headroom_bytes

    @property
    def seconds_lower(self) -> float | None:
        """No step is shorter: perfect overlap at peak rates [s]."""
        return None if self.answer is None or self.answer.edge is None else self.answer.edge.lower

    @property
    def seconds_upper(self) -> float | None:
        """The same without any overlap [s]."""
        return None if self.answer is None or self.answer.edge is None else self.answer.edge.upper

    @property
    def tokens_per_second(self) -> float | None:
        """At most, for the whole batch; in a prefill, prompt tokens."""
        return None if self.answer is None or self.answer.edge is None else self.answer.tokens_per_second

    @property
    def bound_by(self) -> str | None:
        """memory, compute or link."""
        return None if self.answer is None or self.answer.edge is None else self.answer.edge.bound_by

    @property
    def joules_per_token(self) -> float | None:
        """At the power of the data sheet for the lower bound's time [J]."""
        return None if self.answer is None else self.answer.joules_per_token

    @property
    def usd_per_million_tokens(self) -> float | None:
        """At the price list's rent for the lower bound's time [USD]."""
        return None if self.answer is None else self.answer.usd_per_million_tokens

    # -- as data and as text --

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `kvcalc estimate --format json`: raw integers in base units, stable keys."""
        data: dict[str, Any] = json.loads(json.dumps(tables.estimate_json(self.ledger, self.answer)))
        return data

    def record(self) -> Row:
        """The whole as one flat row, with the keys of a sweep's rows."""
        scenario = self.scenario
        row: Row = {
            "model": self.model.id,
            "phase": scenario.phase,
            "context": scenario.context,
            "batch": scenario.batch,
            "kv_format": scenario.kv_format,
            "weight_format": scenario.weight_format,
            "math": scenario.math,
        }
        if self.answer is not None:
            row |= {"device": self.answer.device.id, "count": self.answer.count}
            plan = self.answer.plan
            row |= {"tp": plan.tp, "pp": plan.pp, "ep": plan.ep, "dp": plan.dp}
        row |= self._known(sizes(self.ledger, self.state_bytes_per_token))
        return row if self.answer is None else row | speeds(self.answer)

    def records(self, by: By = "piece") -> list[Row]:
        """A flat row for each piece (or kind, row, group, format), for pandas.DataFrame or polars.DataFrame."""
        known = ("piece", "kind", "row", "group", "format")
        if by not in known:
            raise ScenarioError(f"unknown part {by!r}", "by: " + ", ".join(known))
        ids: Row = {"model": self.model.id, "context": self.scenario.context, "batch": self.scenario.batch}
        return [ids | {by: name, **self._known(total(entries)._asdict())} for name, entries in self.ledger.by(by).items()]

    def _document(self) -> Document:
        return tables.estimate(self.ledger, self.answer)

    def __str__(self) -> str:
        return WRITERS["text"](self._document()).rstrip("\n")

    def _repr_html_(self) -> str:
        return WRITERS["html"](self._document())

    def __repr__(self) -> str:
        on = "" if self.answer is None else f" on {self.answer.count}x{self.answer.device.id}"
        return f"<Estimate {self.model.id}{on}: {self.scenario.line}>"


def estimate(
    model: str | PathLike[str] | ModelSpec,
    scenario: Scenario | None = None,
    device: str | PathLike[str] | Device | None = None,
    count: int | None = None,
    plan: Plan | Mapping[str, int] | None = None,
    *,
    context: int | str | None = None,
    batch: int | str | None = None,
    phase: Phase | None = None,
    kv_format: str | None = None,
    weight_format: str | None = None,
    math: str | None = None,
    include: str | Iterable[str] | None = None,
    cached: int | str | None = None,
    chunk: int | str | None = None,
    allocator: str | None = None,
    usable: str | None = None,
) -> Estimate:
    """The ledger of one model, as `kvcalc estimate`; with a device, fit, time, energy and money.

    Args:
        model: an id ("gemma-4-e2b"), a prefix that fits one only, a path to a spec or to what a model ships (config.json, .gguf,
            .safetensors, a folder), "hf:org/name", or a ModelSpec.
        scenario: the question; what is given by keyword stands in the place of its parts. Default: a decode at 128K tokens, or at the
            model's maximum if less.
        device: an id, with a count if more ("8xh100-sxm"), a path, or a Device.
        count: devices. Default: the count in `device`, else as many as the plan needs, else 1.
        plan: how the model stands on them: Plan(tp=8), or {"tp": 8}. Default: one that fits.
        context: tokens: 131072 or "128K".
        kv_format, weight_format, math: "native", or a format (see `kvcalc list formats`) and an arithmetic.
        include: pieces to count as held beside: "draft", "vision_tower" ...
        cached, chunk: of a prefill, tokens that are there already, and tokens that run at a time.
        allocator: who sets the state aside: "ideal", "llama-cpp", "vllm:moment=start" ...
        usable: memory of one device that may be used: "8GiB".

    Raises:
        KvcalcError: an unknown name, a quantity that cannot be read, a question that cannot be answered.
    """
    spec = read_model(model)
    asked = _scenario(
        spec,
        scenario,
        context=None if context is None else read_context(context),
        batch=None if batch is None else read_whole("batch", batch),
        phase=phase,
        kv_format=kv_format,
        weight_format=weight_format,
        math=math,
        include=None if include is None else tuple(dict.fromkeys(read_names("include", include))),
        cached=None if cached is None else 0 if cached in (0, "0") else read_context(cached, "cached"),
        chunk=None if chunk is None else read_context(chunk, "chunk"),
        allocator=allocator,
    )
    rig = _rig(device, count, plan, usable)
    book = what_is_known(spec, asked) if rig is None else ledger(spec, asked)
    if asked.allocator != allocators.IDEAL:
        book = allocators.applied(book, allocators.asked(asked.allocator).reserve(spec, asked))
    return Estimate(book, None if rig is None else answer(book, *rig))


def _scenario(spec: ModelSpec, scenario: Scenario | None, **given: Any) -> Scenario:
    """The scenario with what was given by keyword; its numbers are Python's own, whichever library made them."""
    changes = {name: value for name, value in given.items() if value is not None}
    for name in ("phase", "kv_format", "weight_format", "math", "allocator"):
        read_names(name, changes.get(name, ""))
    if scenario is None:
        start = Scenario()
        return replace(start, **{"context": min(start.context, spec.max_context), **changes})
    if not isinstance(scenario, Scenario):
        raise ScenarioError(f"{scenario!r} is no scenario", "give kvcalc.Scenario(context=...), or context= and batch= alone")
    own = {"context": read_context(scenario.context), "batch": read_whole("batch", scenario.batch)}
    return replace(scenario, **{**own, **changes})


def _rig(device: Any, count: Any, plan: Any, usable: str | None) -> tuple[Device, int, Plan | None] | None:
    """The device, how many, and the plan. Raises KvcalcError where they do not go together."""
    if device is None:
        if (count, plan, usable) != (None,) * 3:
            raise ScenarioError("count, plan and usable need a device", "add device=, e.g. device='8xh100-sxm'")
        return None
    named, found = read_devices(device)
    wanted = None if count is None else read_whole("count", count)
    if named is not None and wanted not in (None, named):
        raise ScenarioError(f"{device!r} with count={wanted:,}: which?", "give the count once")
    chosen = _plan(plan)
    number = wanted or named or (1 if chosen is None else chosen.devices)
    return found if usable is None else found.with_usable(usable), number, chosen


def _plan(plan: Any) -> Plan | None:
    if plan is None or isinstance(plan, Plan):
        return plan
    if not isinstance(plan, Mapping) or not set(plan) <= {"tp", "pp", "ep", "dp"}:
        raise PlanError(f"{plan!r} is no plan", "give kvcalc.Plan(tp=8), or a mapping of tp, pp, ep, dp")
    return Plan(**{name: read_whole(name, size) for name, size in plan.items()})


# -- several ------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Comparison:
    """Models side by side, context by context, on no, one or several devices."""

    models: tuple[ModelSpec, ...]
    scenarios: tuple[Scenario, ...]
    devices: tuple[tuple[int, Device], ...] = ()

    @cached_property
    def estimates(self) -> tuple[Estimate, ...]:
        """One for each context, model and device, in this order."""
        found = []
        for scenario in self.scenarios:
            for model in self.models:
                book = ledger(model, scenario) if self.devices else what_is_known(model, scenario)
                found += [Estimate(book, answer(book, device, count)) for count, device in self.devices] or [Estimate(book)]
        return tuple(found)

    @cached_property
    def _table(self) -> Table:
        return tables.compare(self.models, self.scenarios, self.devices)

    def __iter__(self) -> Iterator[Estimate]:
        return iter(self.estimates)

    def __len__(self) -> int:
        return len(self.scenarios) * len(self.models) * max(len(self.devices), 1)

    def records(self) -> list[Row]:
        """A flat row for each estimate, for a data frame: the keys of a sweep's rows, and `relative`: the state against the smallest
        at that context."""
        least: dict[int, int] = {}
        for each in self:
            if each.state_bytes:
                context = each.scenario.context
                least[context] = min(least.get(context, each.state_bytes), each.state_bytes)
        return [
            each.record() | {"relative": float(Fraction(each.state_bytes, least.get(each.scenario.context, 1)))} for each in self
        ]

    def to_dict(self) -> dict[str, Any]:
        """The table of `kvcalc compare` as data: title, rows, notes."""
        data: dict[str, Any] = json.loads(WRITERS["json"](self._table))
        return data

    def __str__(self) -> str:
        return WRITERS["text"](self._table).rstrip("\n")

    def _repr_html_(self) -> str:
        return WRITERS["html"](self._table)

    def __repr__(self) -> str:
        return f"<Comparison of {', '.join(model.id for model in self.models)}: {len(self)} estimates>"


def compare(
    models: Models,
    contexts: Several = USUAL_CONTEXT,
    devices: Devices = (),
    *,
    batch: int | str = 1,
    phase: Phase = "decode",
    kv_format: str = "native",
    weight_format: str = "native",
    math: str = "native",
    usable: str | None = None,
) -> Comparison:
    """Models side by side, as `kvcalc compare`.

    Args:
        models: ids, paths or ModelSpecs.
        contexts: tokens: "4K,128K", "4K..1M*2", or a list of numbers and such texts.
        devices: ids, each with a count if more: "rtx-4090,8xh100-sxm", or a list of ids and Devices.
        usable: memory of one device that may be used: "8GiB".

    Raises:
        KvcalcError: an unknown name, a quantity that cannot be read, a question that cannot be answered.
    """
    for name, text in (("phase", phase), ("kv_format", kv_format), ("weight_format", weight_format), ("math", math)):
        read_names(name, text)
    asked = Scenario(phase, batch=read_whole("batch", batch), kv_format=kv_format, weight_format=weight_format, math=math)
    listed: Sequence[int] = read_contexts(USUAL_CONTEXT if contexts is None else contexts)
    rigs = tuple((count or 1, device) for count, device in read_rigs(devices, usable))
    specs = read_models(models)
    if not specs or not listed:
        raise ScenarioError("there is nothing to compare", "name at least one model and one context")
    return Comparison(specs, tuple(replace(asked, context=tokens) for tokens in listed), rigs)


def sweep(
    models: Models,
    contexts: Several = None,
    batches: Several = 1,
    devices: Devices = (),
    *,
    phases: Names = "decode",
    kv_formats: Names = "native",
    weight_formats: Names = "native",
    maths: Names = "native",
    settings: Mapping[str, Any] | None = None,
    tp: Several = None,
    pp: Several = None,
    ep: Several = None,
    dp: Several = None,
    usable: str | None = None,
    limit: int | None = None,
) -> Grid:
    """A grid of scenarios, as `kvcalc sweep`: iterate over it for rows, one after the other, or take all with `records()`.

    Args:
        models: ids, paths or ModelSpecs.
        contexts: tokens: "4K..1M*2", range(1024, 65536, 1024), [4096, "128K"]. Default: as `estimate`.
        batches: sequences: "1..64*2", [1, 8, 64].
        devices: ids, each with a count if more: "rtx-4090,8xh100-sxm", or a list of ids and Devices.
        settings: fields of the spec and their values: {"attention.local.window": [512, 1024]}, or text as "512..8K*2".
        tp, pp, ep, dp: sizes of the plan: [1, 2, 4, 8].
        limit: rows at most.

    Raises:
        KvcalcError: nonsense in the grid itself, at once. A point that cannot be is a row that says why in `error`.
    """
    return read_grid(
        models,
        settings=settings,
        phases=phases,
        contexts=contexts,
        batches=batches,
        kv_formats=kv_formats,
        weight_formats=weight_formats,
        maths=maths,
        devices=devices,
        tp=tp,
        pp=pp,
        ep=ep,
        dp=dp,
        usable=usable,
        limit=limit,
    )
