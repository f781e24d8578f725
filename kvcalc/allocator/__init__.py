"""What an engine reserves, where the ledger says what a model needs. One file is one engine; its fields are the engine's own settings.

An allocator takes the state rows of a model in a scenario and answers how many slots of each the engine sets aside, and in how many
bytes. It changes the ledger, never a formula: `applied` puts the reserved slots and bytes in the place of the needed ones, and adds a
line for what belongs to no row (padding of pages and groups, second copies).

Every engine's docstring has the headings Reserves, Formula, Worked, Omits, Assumes, Source.
"""

import importlib
import pkgutil
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NamedTuple

from pydantic import ValidationError

from kvcalc.errors import ScenarioError, UnknownName, did_you_mean
from kvcalc.formats import Format
from kvcalc.kind import Record, Row
from kvcalc.ledger import Entry, Ledger, added, all_blocks
from kvcalc.scenario import Scenario
from kvcalc.spec import Block, ModelSpec
from kvcalc.units import parse_tokens

IDEAL: Final = "ideal"
ALLOCATION = "allocation"
"""The piece of a ledger that pays for what belongs to no row."""


class NotModelled(ScenarioError):
    """An engine's way with a model that no rule here reproduces. Refused, so that no wrong number comes out."""


class Reserved(NamedTuple):
    """What is set aside for one row of one group of equal layers, or for something that is no row of the model.

    Args:
        elements: numbers in one slot of one layer, on one device.
        slots: slots of one layer and copy.
        copies: how many such arrays stand side by side: sequences, or 1 where all sequences share one.
        bytes: for all layers and copies, on one device.
    """

    group: str
    kind: str
    row: str
    role: str
    piece: str
    layers: int
    elements: int
    slots: int
    copies: int
    format: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """What an engine sets aside for the state of a scenario, on one device.

    `rows` has one line for each row that the model owns, in the ledger's order; `extra` is what belongs to none of them.
    """

    engine: str
    rows: tuple[Reserved, ...]
    extra: tuple[Reserved, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def entries(self) -> tuple[Reserved, ...]:
        return self.rows + self.extra

    @property
    def total_bytes(self) -> int:
        return sum(entry.bytes for entry in self.entries)

    def bytes_of(self, rows: Collection[str] = (), roles: Collection[str] = (), groups: Collection[str] = ()) -> int:
        """Bytes of the named rows, roles and groups: an engine's log often prints one of its buffers. Nothing named: all."""
        return sum(
            entry.bytes
            for entry in self.entries
            if (not rows or entry.row in rows) and (not roles or entry.role in roles) and (not groups or entry.group in groups)
        )


class Allocator(Record):
    """An engine. Its fields are its settings; all have a default."""

    about: ClassVar[str]
    """The engine by name and version."""
    devices_setting: ClassVar[str] = ""
    """The setting that says over how many devices each layer is cut; empty: the engine gives a device whole layers."""

    def cut(self, tp: int) -> "Allocator":
        """The same engine with each layer over tp devices. Raises ScenarioError if it does not cut layers."""
        if tp == 1:
            return self
        if not self.devices_setting:
            raise ScenarioError(f"{self.about} does not cut a layer over {tp} devices")
        return self.model_copy(update={self.devices_setting: tp})

    def reserve(self, model: ModelSpec, scenario: Scenario) -> Reservation:
        """What the engine sets aside.

        Raises:
            NotModelled: a model that the engine lays out in a way that is not known here, or that it does not run at all.
            ScenarioError: settings, format and scenario that do not go together.
        """
        raise NotImplementedError


# -- engines by name ----------------------------------------------------------------------------------------------------------------


def names() -> tuple[str, ...]:
    """Every allocator: a file of this package, its name with dashes."""
    return tuple(info.name.replace("_", "-") for info in pkgutil.iter_modules(__path__))


def engine(name: str) -> type[Allocator]:
    """The allocator of that name; llama.cpp and llama-cpp are the same. Raises UnknownName."""
    key = name.lower().replace(".", "-").replace("_", "-")
    if key not in names():
        raise UnknownName(f"unknown allocator {name!r}", did_you_mean(key, names()) or f"known: {', '.join(names())}")
    module = importlib.import_module(f"{__name__}.{key.replace('-', '_')}")
    return next(
        item
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, Allocator) and item.__module__ == module.__name__
    )


def allocator(name: str, settings: Mapping[str, Any] | None = None) -> Allocator:
    """An engine with some of its settings given, as values or as text. Raises UnknownName or ScenarioError."""
    cls = engine(name)
    try:
        return cls.model_validate(dict(settings or {}), strict=False)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "settings"
        if first["type"] == "extra_forbidden":
            known = ", ".join(cls.model_fields) or "none"
            hint = did_you_mean(field, cls.model_fields) or f"its settings: {known}"
            raise ScenarioError(f"allocator {name} has no setting {field!r}", hint) from None
        raise ScenarioError(f"allocator {name}: {field}: {first['msg'].removeprefix('Value error, ')}") from None


def asked(text: str) -> Allocator:
    """An engine from one line, as on a command line: `vllm`, `llama-cpp:parallel=4,ubatch=2K`, `vllm:moment=start`."""
    name, _, listed = text.partition(":")
    chosen: dict[str, str | int] = {}
    for part in filter(None, listed.split(",")):
        key, given, value = part.partition("=")
        if not given:
            raise ScenarioError(f"allocator {name}: cannot read {part!r}", "write NAME:SETTING=VALUE,SETTING=VALUE")
        value = value.strip()
        chosen[key.strip().replace("-", "_")] = parse_tokens(value) if value[:1].isdigit() and value[-1] in "KMkm" else value
    made = allocator(name.strip(), chosen)
    if made.devices_setting in chosen:
        raise ScenarioError(f"allocator {name}: {made.devices_setting} follows from the plan", "say it as --on 8xh100-sxm --tp 8")
    return made


def documentation(cls: type[Allocator]) -> str:
    """The docstring of the file that defines an engine."""
    return sys.modules[cls.__module__].__doc__ or ""


def summary(cls: type[Allocator]) -> str:
    """Its first line."""
    return documentation(cls).split("\n")[0]


def settings(cls: type[Allocator]) -> dict[str, tuple[Any, str]]:
    """Every setting: its default and what it means."""
    return {name: (field.default, field.description or "") for name, field in cls.model_fields.items()}


# -- what engines share -------------------------------------------------------------------------------------------------------------


def owned(model: ModelSpec, scenario: Scenario) -> list[tuple[Block, Row]]:
    """The rows that a model keeps, each with its layers, in the ledger's order."""
    return [(block, row) for block in all_blocks(model, scenario) for row in block.rows if row.owned]


def with_field(model: ModelSpec, names: Mapping[str, str]) -> Iterator[str]:
    """What a field stands for that some attention of the model has set: it tells a family from its relatives of one kind."""
    return (what for name, what in names.items() if any(getattr(part, name, None) for part in model.attention.values()))


def reserved(block: Block, row: Row, stored: Format, slots: int, copies: int = 1, elements: int | None = None) -> Reserved:
    """A line for a row: so many slots in each of its layers and copies; `elements` where a device keeps only a part of a slot."""
    width = row.elements if elements is None else elements
    one = slots * stored.bytes(1, width, f"{block.label}.{row.name}") if slots else 0
    return Reserved(
        block.label,
        block.kind,
        row.name,
        row.role,
        row.piece,
        block.layers,
        width,
        slots,
        copies,
        stored.name,
        block.layers * copies * one,
    )


def beside(row: str, size: int, group: str = "", kind: str = "") -> Reserved:
    """A line for bytes that belong to no row of the model."""
    return Reserved(group, kind, row, "padding", ALLOCATION, 1, 0, 0, 1, "", size)


def rounded_up(count: int, unit: int) -> int:
    """The smallest multiple of `unit` that is not below `count`."""
    return -(-count // unit) * unit


# -- the ledger with what is reserved -----------------------------------------------------------------------------------------------


def applied(ledger: Ledger, reservation: Reservation) -> Ledger:
    """The same ledger, holding what the engine reserves in the place of what the model needs. Traffic and FLOPs stay."""
    passes = tuple(tuple(_with(entries, reservation)) for entries in ledger.passes)
    return Ledger(ledger.model, ledger.scenario, added(passes), (*ledger.notes, *reservation.notes), passes)


def _with(entries: Iterable[Entry], reservation: Reservation) -> Iterable[Entry]:
    lines = iter(reservation.rows)
    for entry in entries:
        if not (entry.role and entry.elements):
            yield entry
            continue
        line = next(lines)
        assert (entry.group, entry.name) == (line.group, line.row)
        yield entry._replace(elements=line.elements, slots=line.slots, state_bytes=line.bytes, format=line.format)
    for extra in reservation.extra:
        yield Entry(
            extra.piece,
            extra.group,
            extra.kind,
            extra.row,
            extra.layers,
            extra.format,
            role=extra.role,
            elements=extra.elements,
            slots=extra.slots,
            state_bytes=extra.bytes,
        )
