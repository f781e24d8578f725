"""A grid of scenarios as flat rows, one after the other: models, changed fields, contexts, batches, formats and devices.

Rows come from a generator and nothing is kept, so that a million of them need no more memory than ten. What points share is worked out
once: tensors that no context changes, the state of a context, a changed model. A row's integers are those of `kvcalc.ledger.ledger`.
"""

import csv
import io
import json
import operator
import re
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from math import prod
from os import PathLike
from typing import Any, Literal, NamedTuple

from kvcalc.catalog import load_devices, load_model, read_value
from kvcalc.change import changed, read_setting
from kvcalc.errors import KvcalcError, ScenarioError, SpecError, UnitError
from kvcalc.hardware import Device
from kvcalc.ledger import Entry, Ledger, Totals, blocks_of, growth, of_blocks
from kvcalc.parallel import Plan, asked
from kvcalc.roofline import Answer, answer
from kvcalc.scenario import Phase, Scenario
from kvcalc.slots import EVERY, Law
from kvcalc.spec import Block, ModelSpec
from kvcalc.units import parse_contexts, round_half_up

MOST_POINTS = 100_000_000
"""Points that a grid may have: more is a slip of a range."""
MOST_JOBS = 256
CHUNK = 64
"""Points that a process works out at a time."""
AHEAD = 4
"""Chunks that each process may be ahead of the reader: what bounds the memory."""

Row = dict[str, Any]
Form = Literal["csv", "tsv", "jsonl"]

WHICH = ("phase", "context", "batch", "kv_format", "weight_format", "math")
WHERE = ("device", "count", "tp", "pp", "ep", "dp")
SIZES = (
    "parameters",
    "active_parameters",
    "weight_bytes",
    "state_bytes",
    "state_bytes_per_token",
    "read_bytes",
    "written_bytes",
    "flops",
    "attention_flops",
)
SPEEDS = (
    "fits",
    "needed_bytes",
    "usable_bytes",
    "seconds_lower",
    "seconds_upper",
    "tokens_per_second",
    "bound_by",
    "joules_per_token",
    "usd_per_million_tokens",
)


def sizes(book: Ledger, per_token: int) -> Row:
    """What a ledger says, flat: parameters, bytes and FLOPs. `per_token`: growth of one sequence's state [bytes]."""
    sums = book.totals._asdict()
    return {name: per_token if name == "state_bytes_per_token" else sums[name] for name in SIZES}


def speeds(verdict: Answer) -> Row:
    """What devices say to a ledger, flat: plan, fit, time [s], energy [J] and money [USD]."""
    edge, plan = verdict.edge, verdict.plan
    return {
        **{name: getattr(plan, name) for name in ("tp", "pp", "ep", "dp")},
        "fits": verdict.fits,
        "needed_bytes": verdict.needed_bytes,
        "usable_bytes": verdict.usable_bytes,
        "seconds_lower": None if edge is None else edge.lower,
        "seconds_upper": None if edge is None else edge.upper,
        "tokens_per_second": None if edge is None else verdict.tokens_per_second,
        "bound_by": None if edge is None else edge.bound_by,
        "joules_per_token": verdict.joules_per_token,
        "usd_per_million_tokens": verdict.usd_per_million_tokens,
    }


# -- the grid -----------------------------------------------------------------------------------------------------------------------


class Point(NamedTuple):
    """One point by its values; its model, changed fields and device by their places. `context` None: the model's default."""

    model: int
    fields: tuple[int, ...]
    phase: Phase
    context: int | None
    batch: int
    kv_format: str
    weight_format: str
    math: str
    device: int | None
    tp: int | None
    pp: int | None
    ep: int | None
    dp: int | None


@dataclass(frozen=True)
class Grid:
    """Every combination of some models, fields, scenarios, devices and plans. Rows come in the order of the columns, the last fastest.

    Args:
        settings: fields of the spec by their path, each with the values that it takes.
        contexts: tokens; None: 128K, or a model's maximum where that is less.
        devices: how many (None: as many as the plan needs) of which.
        tp, pp, ep, dp: sizes of the plan; None: not asked. All None: the plan that `estimate` takes.
        limit: rows at most; None: all.
    """

    models: tuple[ModelSpec, ...]
    settings: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    phases: tuple[Phase, ...] = ("decode",)
    contexts: tuple[int, ...] | None = None
    batches: tuple[int, ...] = (1,)
    kv_formats: tuple[str, ...] = ("native",)
    weight_formats: tuple[str, ...] = ("native",)
    maths: tuple[str, ...] = ("native",)
    devices: tuple[tuple[int | None, Device], ...] = ()
    tp: tuple[int | None, ...] = (None,)
    pp: tuple[int | None, ...] = (None,)
    ep: tuple[int | None, ...] = (None,)
    dp: tuple[int | None, ...] = (None,)
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ScenarioError(f"limit {self.limit:,} must be at least 1")
        for name, axis in zip(("models", *WHICH, *WHERE), self._axes_as_named, strict=True):
            if not axis:
                raise ScenarioError(f"a grid needs at least one value of {name}")
        if self.limit is None and self.points > MOST_POINTS:
            raise ScenarioError(
                f"the grid has {self.points:,} points, more than {MOST_POINTS:,}",
                "take larger steps, or --limit N for the first N",
            )
        if not self.devices and any(axis != (None,) for axis in (self.tp, self.pp, self.ep, self.dp)):
            raise ScenarioError("--tp, --pp, --ep and --dp need a device", "add --on, e.g. --on h100-sxm")
        taken = {"model", *WHICH, *WHERE, *SIZES, *SPEEDS, "error"} & self.settings.keys()
        if taken:
            raise SpecError(f"{min(taken)} is a column of the grid, not a field of a spec")
        self._refuse_nonsense()

    @property
    def _axes_as_named(self) -> tuple[tuple[Any, ...], ...]:
        contexts = (None,) if self.contexts is None else self.contexts
        scenario = (self.phases, contexts, self.batches, self.kv_formats, self.weight_formats, self.maths)
        return (self.models, *scenario, self.devices or (None,), (None,), self.tp, self.pp, self.ep, self.dp)

    @cached_property
    def axes(self) -> tuple[tuple[Any, ...], ...]:
        """The values of every axis, in the order of a point; models, changed values and devices by their places."""
        contexts = (None,) if self.contexts is None else self.contexts
        return (
            tuple(range(len(self.models))),
            *(tuple(range(len(values))) for values in self.settings.values()),
            *(self.phases, contexts, self.batches, self.kv_formats, self.weight_formats, self.maths),
            tuple(range(len(self.devices))) if self.devices else (None,),
            *(self.tp, self.pp, self.ep, self.dp),
        )

    @property
    def points(self) -> int:
        """Combinations, before any limit."""
        return prod(map(len, self.axes))

    def __len__(self) -> int:
        return self.points if self.limit is None else min(self.limit, self.points)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Keys of every row, in order."""
        on = bool(self.devices)
        return ("model", *self.settings, *WHICH, *(WHERE if on else ()), *SIZES, *(SPEEDS if on else ()), "error")

    def point(self, place: int) -> Point:
        """The point at a place, from 0."""
        chosen: list[Any] = []
        for axis in reversed(self.axes):
            place, at = divmod(place, len(axis)) if len(axis) > 1 else (place, 0)
            chosen.append(axis[at])
        chosen.reverse()
        fields = len(self.settings)
        return Point(chosen[0], tuple(chosen[1 : 1 + fields]), *chosen[1 + fields :])

    def __iter__(self) -> Iterator[Row]:
        """Rows, worked out as they are asked for."""
        bench = _Bench(self)
        return (bench.row(place) for place in range(len(self)))

    def records(self) -> list[Row]:
        """All rows at once, for a data frame."""
        return list(self)

    @property
    def notes(self) -> list[str]:
        """What must be said of the whole grid."""
        most = max(self.contexts or (0,))
        beyond = [model for model in self.models if most > model.max_context]
        return [f"{model.id}: contexts beyond its maximum of {model.max_context:,} are arithmetic only" for model in beyond]

    # -- what is refused before the first row --

    def _refuse_nonsense(self) -> None:
        """Raises KvcalcError for what no point of the grid could be: a field that no model has, a value that fits none."""
        usual = {path: values[0] for path, values in self.settings.items() if values}
        for path, values in self.settings.items():
            if not values:
                raise ScenarioError(f"a grid needs at least one value of {path}")
            for place, value in enumerate(values):
                if place and isinstance(value, int | None):  # numbers that do not hold together are points with an error
                    continue
                self._refuse_value(path, value, usual, only_missing=isinstance(value, int | None))

    def _refuse_value(self, path: str, value: Any, usual: Mapping[str, Any], *, only_missing: bool) -> None:
        first: SpecError | None = None
        for model in self.models:
            for changes in ({path: value}, {**usual, path: value}):
                try:
                    changed(model, changes)
                    return
                except SpecError as error:
                    if only_missing and not error.message.startswith(f"{model.id}: no field {path!r}"):
                        return
                    first = first or error
        assert first is not None
        raise first


# -- reading a grid -----------------------------------------------------------------------------------------------------------------

Whole = int | str
Several = Whole | Iterable[Whole] | None
"""One number or several, or text: `4096..1048576*2`, `1,8,64`."""
Names = str | Iterable[str]
Models = str | PathLike[str] | ModelSpec | Iterable[str | PathLike[str] | ModelSpec]
Devices = str | Device | tuple[int, Device] | Iterable[str | Device | tuple[int, Device]]


def read_grid(
    models: Models,
    *,
    settings: Mapping[str, Any] | None = None,
    phases: Names = "decode",
    contexts: Several = None,
    batches: Several = 1,
    kv_formats: Names = "native",
    weight_formats: Names = "native",
    maths: Names = "native",
    devices: Devices = (),
    tp: Several = None,
    pp: Several = None,
    ep: Several = None,
    dp: Several = None,
    usable: str | None = None,
    limit: int | None = None,
) -> Grid:
    """A grid from what a person writes: ids, `4K..1M*2`, `bf16,fp8`, `8xh100-sxm`, {"attention.local.window": "512,1K"}.

    Raises KvcalcError for whatever cannot be read, or could be no point.
    """
    return Grid(
        models=read_models(models),
        settings={path: read_values(path, values) for path, values in (settings or {}).items()},
        phases=_formats("phase", phases),
        contexts=None if contexts is None else read_contexts(contexts),
        batches=tuple(Scenario(batch=batch).batch for batch in read_wholes("batch", batches)),
        kv_formats=_formats("kv_format", kv_formats),
        weight_formats=_formats("weight_format", weight_formats),
        maths=_formats("math", maths),
        devices=read_rigs(devices, usable),
        tp=_plan_sizes("tp", tp),
        pp=_plan_sizes("pp", pp),
        ep=_plan_sizes("ep", ep),
        dp=_plan_sizes("dp", dp),
        limit=limit,
    )


def _several(values: Any) -> list[Any]:
    """One thing or several as a list; text is one or several separated by commas."""
    if isinstance(values, str):
        return [part.strip() for part in values.split(",")]
    single = isinstance(values, PathLike | ModelSpec | Device) or not isinstance(values, Iterable)
    pair = isinstance(values, tuple) and len(values) == 2 and isinstance(values[1], Device) and isinstance(values[0], int)
    if single or pair:
        return [values]
    return [part for value in values for part in (_several(value) if isinstance(value, str) else [value])]


def _once(values: Iterable[Any]) -> tuple[Any, ...]:
    """Each thing once, in order; models are the same only if they are one object."""
    return tuple({id(value) if isinstance(value, ModelSpec) else (type(value), value): value for value in values}.values())


def read_model(model: Any) -> ModelSpec:
    """A model from an id, a path or itself. Raises KvcalcError."""
    if isinstance(model, ModelSpec):
        return model
    if isinstance(model, str | PathLike):
        return load_model(str(model))
    raise ScenarioError(f"{model!r} is no model", "give an id, a path to a spec, or what load_model returned")


def read_models(models: Any) -> tuple[ModelSpec, ...]:
    """Several models, each once. Raises KvcalcError."""
    return _once(map(read_model, _several(models)))


def read_rigs(devices: Any, usable: str | None = None) -> tuple[tuple[int | None, Device], ...]:
    """Several devices and how many of each (None: not said), of which `usable` may be used: "8GiB". Raises KvcalcError."""
    rigs = [read_devices(device) for device in _several(devices)]
    if usable is not None and not rigs:
        raise ScenarioError("--usable needs a device", "add --on, e.g. --on rtx-4090")
    return tuple((count, device if usable is None else device.with_usable(usable)) for count, device in rigs)


def read_devices(device: Any) -> tuple[int | None, Device]:
    """How many of which, from `8xh100-sxm`, a Device, or (8, Device). Raises KvcalcError."""
    if isinstance(device, str | PathLike):
        return load_devices(str(device))
    if isinstance(device, Device):
        return None, device
    if isinstance(device, tuple) and len(device) == 2 and isinstance(device[1], Device):
        return read_whole("count", device[0]), device[1]
    raise ScenarioError(f"{device!r} is no device", "give an id such as '8xh100-sxm', a path, or what load_device returned")


def read_whole(what: str, value: Any) -> int:
    """One whole number, from 1, exactly: a count, a batch. Raises UnitError."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value.strip()):
        value = int(value)
    try:
        number = operator.index(value)
    except TypeError:
        raise UnitError(f"{what}: cannot read {value!r} as a whole number", "write e.g. 8; several: 1,8,64 or 1..64*2") from None
    if isinstance(value, bool) or number < 1:
        raise UnitError(f"{what}: {value!r} must be a whole number of at least 1")
    return number


def read_wholes(what: str, values: Any) -> tuple[int, ...]:
    """Several whole numbers: `1,8,64`, `1..64*2`, [1, 8, 64]. Raises UnitError."""
    found: list[int] = []
    for value in _several(values):
        if isinstance(value, str) and ".." in value:
            found += parse_contexts(value, what)
        else:
            found.append(read_whole(what, value))
    return _once(found)


def read_context(value: Any, what: str = "context") -> int:
    """One number of tokens: 131072 or "128K". Raises UnitError."""
    if not isinstance(value, str):
        return read_whole(what, value)
    found = parse_contexts(value, what)
    if len(found) > 1:
        raise UnitError(f"{what}: {value!r} is several", "give one, e.g. 128K")
    return found[0]


def read_contexts(values: Any) -> tuple[int, ...]:
    """Several contexts: "4K,128K", "4K..1M*4", [4096, "128K"] [tokens]. Raises UnitError, or ScenarioError beyond 2^40."""
    if isinstance(values, str):
        return parse_contexts(values)
    found: list[int] = []
    for value in _several(values):
        found += parse_contexts(value) if isinstance(value, str) else [Scenario(context=read_whole("context", value)).context]
    return _once(found)


def read_names(what: str, names: Any) -> list[str]:
    """One name or several, separated by commas. Raises ScenarioError for what is no text."""
    listed = _several(names)
    for name in listed:
        if not isinstance(name, str):
            raise ScenarioError(f"{what}: {name!r} is no name", "give text, e.g. 'bf16'" if "format" in what else None)
    return listed


def _formats(what: str, names: Names) -> tuple[Any, ...]:
    """Names as a scenario has them. Raises KvcalcError for one that there is not."""
    asked: list[dict[str, Any]] = [{what: name} for name in read_names(what, names)]
    return _once(getattr(Scenario(**one), what) for one in asked)


def _plan_sizes(what: str, values: Several) -> tuple[int | None, ...]:
    sizes: tuple[int | None, ...] = (None,) if values is None else read_wholes(what, values)
    for size in sizes:
        if size is not None:
            Plan(**({what: size} if what != "ep" else {"tp": size, "ep": size}))  # refuses what is beyond any plan
    return sizes


def read_settings(texts: Iterable[str]) -> dict[str, tuple[Any, ...]]:
    """Fields and their values from `attention.local.window=512,1K` or `...=512..8K*2`. Raises SpecError."""
    settings: dict[str, tuple[Any, ...]] = {}
    for text in texts:
        path, sign, values = (part.strip() for part in text.partition("="))
        if not sign or not path or not values:
            raise SpecError(f"cannot read {text!r}", "write path=values, e.g. --set attention.local.window=512,1K")
        if path in settings:
            raise SpecError(f"{path} is set twice", f"give all its values at once: --set {path}=512,1K")
        settings[path] = read_values(path, values)
    return settings


def read_values(path: str, values: Any) -> tuple[Any, ...]:
    """The values of a field: text as in `--set`, or a list of plain values. Raises SpecError or UnitError."""
    if not isinstance(values, str):
        listed = list(values) if isinstance(values, Iterable) and not isinstance(values, Mapping) else [values]
        return tuple(read_setting(f"{path}={v}", read_value)[1] if isinstance(v, str) else _plain(v) for v in listed)
    found: list[Any] = []
    for part in _parts(values):
        if re.fullmatch(r"[0-9.]+[KkMm]?\.\.[^,]+", part):
            found += parse_contexts(part, path)
        else:
            found.append(read_setting(f"{path}={part}", read_value)[1])
    return tuple(value for place, value in enumerate(found) if value not in found[:place] or isinstance(value, bool))


def _plain(value: Any) -> Any:
    """A number of any library as Python's own: nothing here overflows."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        return value
    return operator.index(value)


def _parts(text: str) -> list[str]:
    """Parts between commas, but not those inside brackets or quotes."""
    parts, depth, quote = [""], 0, ""
    for character in text:
        if character == "," and not depth and not quote:
            parts.append("")
            continue
        if character in "'\"" and quote in ("", character):
            quote = "" if quote else character
        depth += 0 if quote else (character in "[{") - (character in "]}")
        parts[-1] += character
    return [part.strip() for part in parts]


# -- working it out -----------------------------------------------------------------------------------------------------------------


class _Bench:
    """Works out rows of a grid, and keeps what the next rows will need: a few changed models, and of each some sums."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.paths = tuple(grid.settings)
        self.empty: Row = dict.fromkeys(grid.columns)
        self.subject = lru_cache(maxsize=4)(self._subject)
        self.plan = lru_cache(maxsize=256)(asked)

    def row(self, place: int) -> Row:
        """The row at a place. What cannot be worked out stays None, and `error` says why."""
        grid, at = self.grid, self.grid.point(place)
        model = grid.models[at.model]
        values = [grid.settings[path][chosen] for path, chosen in zip(self.paths, at.fields, strict=True)]
        row = self.empty | {"model": model.id} | dict(zip(self.paths, values, strict=True))
        row["context"] = at.context
        for name in ("phase", "batch", "kv_format", "weight_format", "math"):
            row[name] = getattr(at, name)
        rig = None
        if at.device is not None:
            rig = grid.devices[at.device]
            row.update(device=rig[1].id, count=rig[0], tp=at.tp, pp=at.pp, ep=at.ep, dp=at.dp)
        try:
            subject = self.subject(at.model, at.fields)
            if isinstance(subject, str):
                return row | {"error": subject}
            if at.context is None:
                row["context"] = min(Scenario().context, subject.model.max_context)
            context = row["context"]
            scenario = Scenario(at.phase, context, at.batch, at.kv_format, at.weight_format, math=at.math)
            book = subject.book(scenario)
            row.update(sizes(book, subject.growth(context, at.kv_format)))
            if rig is not None:
                count, plan = self.plan(rig[0], at.tp, at.pp, at.ep, at.dp)
                row["count"] = count
                verdict = answer(book, rig[1], count, Plan() if plan is None and count == 1 else plan)
                row.update(speeds(verdict))
        except KvcalcError as error:
            row["error"] = error.message
        return row

    def _subject(self, model: int, fields: tuple[int, ...]) -> "_Subject | str":
        """A changed model; or why it cannot be."""
        changes = {path: self.grid.settings[path][at] for path, at in zip(self.paths, fields, strict=True)}
        try:
            return _Subject(changed(self.grid.models[model], changes))
        except KvcalcError as error:
            return error.message


Sums = dict[str, tuple[int, ...]]
"""Totals of some entries for each arithmetic of their products: all that a row and its time bounds ask for."""
_FIRST = Entry._fields.index(Totals._fields[0])
_COUNTED = slice(_FIRST, _FIRST + len(Totals._fields))
"""Where an entry has what totals count."""


class _Subject:
    """A model and the sums of its ledger that several points share.

    Entries of a ledger stand alone, so that tensors, and rows with their products and streams, may be summed apart. In a decode the
    tensors that every token runs do not see the context; rows see no weight format, and each sequence of a batch has its own.
    """

    def __init__(self, model: ModelSpec) -> None:
        self.model = model
        blocks = blocks_of(model, Scenario())
        self.parts = {
            "always": _only(blocks, lambda runs: runs == EVERY),
            "closing": _only(blocks, lambda runs: runs != EVERY),
            "all": _only(blocks, lambda runs: True),
            "rows": tuple(block._replace(weights=()) for block in blocks),
        }
        self.tensors = lru_cache(maxsize=512)(self._tensors)
        self.rows = lru_cache(maxsize=64)(self._rows)
        self.growth = lru_cache(maxsize=64)(self._growth)

    def book(self, scenario: Scenario) -> Ledger:
        """The ledger of a scenario, its entries summed by arithmetic. Raises ScenarioError for a format that a row cannot have."""
        phase, context, batch = scenario.phase, scenario.context, scenario.batch
        formats = (scenario.weight_format, scenario.math)
        sums = {
            math: tuple([batch * one for one in ones]) for math, ones in self.rows(phase, context, scenario.kv_format).items()
        }
        if phase == "prefill":
            _add(sums, self.tensors("all", phase, context, batch, *formats))
        else:
            _add(sums, self.tensors("always", phase, None, batch, *formats))
            if self.parts["closing"]:
                _add(sums, self.tensors("closing", phase, context, batch, *formats))
        entries = tuple([_entry(math, some) for math, some in sums.items()])
        return Ledger(self.model, scenario, entries, (), (entries,))

    def _tensors(self, which: str, phase: Phase, context: int | None, batch: int, weight_format: str, math: str) -> Sums:
        scenario = Scenario(phase, batch=batch, weight_format=weight_format, math=math)
        return self._sums(which, scenario if context is None else replace(scenario, context=context))

    def _rows(self, phase: Phase, context: int, kv_format: str) -> Sums:
        return self._sums("rows", Scenario(phase, context, 1, kv_format))

    def _sums(self, which: str, scenario: Scenario) -> Sums:
        sums: Sums = {}
        for entry in of_blocks(self.model, scenario, self.parts[which]).entries:
            counted: tuple[Any, ...] = tuple(entry)[_COUNTED]
            _add(sums, {entry.math: counted})
        return sums

    def _growth(self, context: int, kv_format: str) -> int:
        return round_half_up(growth(self.model, Scenario(context=context, kv_format=kv_format)))


def _entry(math: str, some: Sequence[int]) -> Entry:
    values: dict[str, Any] = dict(zip(Totals._fields, some, strict=True))
    return Entry("", "", "", "", 0, "", math, **values)


def _add(sums: Sums, more: Mapping[str, tuple[int, ...]]) -> None:
    for math, some in more.items():
        known = sums.get(math)
        sums[math] = some if known is None else tuple(map(operator.add, known, some))


def _only(blocks: Iterable[Block], wanted: Callable[[Law], bool]) -> tuple[Block, ...]:
    """The tensors that run so often, in their blocks, without rows, products and streams."""
    some = (
        block._replace(rows=(), work=(), streams=(), weights=tuple(w for w in block.weights if wanted(w.runs)))
        for block in blocks
    )
    return tuple(block for block in some if block.weights)


# -- as text, in one process or several ---------------------------------------------------------------------------------------------


class Chunk(NamedTuple):
    """Some rows as text: how many, and how many of them carry an error."""

    rows: int
    errors: int
    text: str


def header(grid: Grid, form: Form) -> str:
    """The line above the rows; none for JSON lines."""
    return "" if form == "jsonl" else _separated([list(grid.columns)], form)


def chunks(grid: Grid, form: Form, jobs: int = 1) -> Iterator[Chunk]:
    """The rows of a grid as text, chunk after chunk, in order, whatever the number of processes.

    Raises ScenarioError for more processes than are sensible, KvcalcError where one of them ends.
    """
    if not 1 <= jobs <= MOST_JOBS:
        raise ScenarioError(f"jobs {jobs:,} must be between 1 and {MOST_JOBS}")
    spans = ((start, min(start + CHUNK, len(grid))) for start in range(0, len(grid), CHUNK))
    jobs = min(jobs, -(-len(grid) // CHUNK))
    if jobs == 1:
        bench = _Bench(grid)
        return (_chunk(bench, form, span) for span in spans)
    return _in_processes(grid, form, jobs, spans)


def _in_processes(grid: Grid, form: Form, jobs: int, spans: Iterable[tuple[int, int]]) -> Iterator[Chunk]:
    pending: deque[Future[Chunk]] = deque()
    pool = ProcessPoolExecutor(jobs, initializer=_begin, initargs=(grid, form))
    try:
        for span in spans:
            pending.append(pool.submit(_chunk_here, span))
            if len(pending) >= jobs * AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool:
        raise KvcalcError("a process of the sweep ended before its work was done", "run it again with fewer --jobs") from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_here: list[tuple[_Bench, Form]] = []
"""What a process of its own works with."""


def _begin(grid: Grid, form: Form) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started it ends it
    _here[:] = [(_Bench(grid), form)]


def _chunk_here(span: tuple[int, int]) -> Chunk:
    bench, form = _here[0]
    return _chunk(bench, form, span)


def _chunk(bench: _Bench, form: Form, span: tuple[int, int]) -> Chunk:
    rows = [bench.row(place) for place in range(*span)]
    errors = sum(row["error"] is not None for row in rows)
    if form == "jsonl":
        text = "".join(json.dumps(row, ensure_ascii=False, default=float) + "\n" for row in rows)
    else:
        text = _separated([[_cell(value) for value in row.values()] for row in rows], form)
    return Chunk(len(rows), errors, text)


def _cell(value: Any) -> Any:
    """A value as data tools read it: true and false, nothing for what is not known, lists as JSON; floats to the last digit."""
    if isinstance(value, bool | list | dict):
        return json.dumps(value, ensure_ascii=False, default=float)
    return value


def _separated(rows: list[list[Any]], form: Form) -> str:
    out = io.StringIO()
    csv.writer(out, delimiter="\t" if form == "tsv" else ",", lineterminator="\n").writerows(rows)
    return out.getvalue()
