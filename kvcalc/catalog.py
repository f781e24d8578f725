"""Finds and loads specs and device files; the only importer of yaml. Every error is `file:line:col: what`, with a hint where one helps.

The loader builds plain data from YAML events: YAML 1.2 scalars only, no anchors, no tags, no duplicate keys, bounded size and depth.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from kvcalc.assumptions import Assumptions
from kvcalc.errors import AmbiguousName, SpecError, UnknownName, did_you_mean, worded
from kvcalc.hardware import Device
from kvcalc.importers import is_source
from kvcalc.kind import Record
from kvcalc.spec import ModelSpec

CONFIG_ONLY = {"model_type", "architectures"}
"""Fields by which a config.json is known."""
MAX_FILE_BYTES = 1_000_000
MAX_DEPTH = 20
SHOWN_FIELDS = 12
_ARTICLE: dict[type[BaseModel], str] = {ModelSpec: "a model", Device: "a device", Assumptions: "assumptions"}
SEARCH_PATH = "KVCALC_PATH"
PATHS = {"specs": "a spec, a config.json, its folder, a .gguf or a .safetensors file", "hardware": "a YAML file"}

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\.[0-9]+(?:[eE][-+]?[0-9]{1,2})?|[-+]?(?:0|[1-9][0-9]*)[eE][-+]?[0-9]{1,2}")
_CONSTANTS = {"true": True, "false": False, "null": None, "~": None, "": None}
_MAX_DIGITS = 40

_T = TypeVar("_T", ModelSpec, Device, Assumptions)
Path_ = tuple[str | int, ...]


# -- finding ------------------------------------------------------------------------------------------------------------------------


def data_folder(name: str) -> Path:
    """Where the package keeps `specs` or `hardware`: inside the wheel, or beside the package in a clone."""
    packed = Path(__file__).parent / "_data" / name
    return packed if packed.is_dir() else Path(__file__).parent.parent / name


def _folders(name: str) -> list[Path]:
    extra = [Path(part) for part in os.environ.get(SEARCH_PATH, "").split(os.pathsep) if part]
    return [folder for folder in [*extra, data_folder(name)] if folder.is_dir()]


def _ids(folder: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for place in _folders(folder):
        for file in sorted(place.glob("*.yaml")):
            found.setdefault(file.name.removesuffix(".yaml"), file)
    return found


def model_ids() -> list[str]:
    """Ids of every model that can be found, sorted."""
    return sorted(_ids("specs"))


def device_ids() -> list[str]:
    """Ids of every device that can be found, sorted."""
    return sorted(_ids("hardware"))


def _resolve(name: str, folder: str, what: str) -> Path:
    if (
        "/" in name
        or os.sep in name
        or name.endswith((".yaml", ".yml", ".json"))
        or (name not in _ids(folder) and _is_there(name))
    ):
        return Path(name)
    known = _ids(folder)
    if name in known:
        return known[name]
    fitting = [key for key in known if key.startswith(name)] if name else []
    if len(fitting) == 1:
        return known[fitting[0]]
    if fitting:
        raise AmbiguousName(f"{what} {name!r} fits several: {', '.join(fitting)}")
    listing = {"specs": "models", "hardware": "hardware"}[folder]
    shown = name if len(name) <= 80 else name[:77] + "..."
    raise UnknownName(
        f"unknown {what} {shown!r}", did_you_mean(name, known) or f"see `kvcalc list {listing}`, or give a path to {PATHS[folder]}"
    )


def _is_there(name: str) -> bool:
    try:
        return bool(name) and Path(name).exists()
    except (OSError, ValueError):
        return False


def load_model(name: str | os.PathLike[str]) -> ModelSpec:
    """Load a model by id, by a prefix that fits one id only, by path, or from what it ships (config.json, .gguf, .safetensors, a folder).

    Raises UnknownName or SpecError (file:line:col, or the field of a config).
    """
    name = os.fspath(name)
    if name not in _ids("specs") and is_source(name):
        return _import_model(name)
    return _load_model(str(_resolve(name, "specs", "model")))


@cache
def _load_model(path: str) -> ModelSpec:
    return _validated(Path(path), ModelSpec)


@cache
def _import_model(source: str) -> ModelSpec:
    from kvcalc.importers.sources import import_source  # a config's readers, only where one is read

    return import_source(source).model


def load_device(name: str) -> Device:
    """Load a device by id, by a prefix that fits one id only, or by path."""
    return _load_device(str(_resolve(name, "hardware", "device")))


@cache
def _load_device(path: str) -> Device:
    return _validated(Path(path), Device)


def load_devices(text: str) -> tuple[int | None, Device]:
    """Read `h100-sxm` or `8xh100-sxm`: how many (None if it is not said), and which."""
    match = re.fullmatch(r"([0-9]{1,6})x(.+)", text)
    if match is None:
        return None, load_device(text)
    if int(match[1]) < 1:
        raise UnknownName(f"{text!r}: the count must be at least 1")
    return int(match[1]), load_device(match[2])


def load_assumptions(path: str | None = None) -> Assumptions:
    """The assumptions that kvcalc ships, with those of a file in their place. Raises SpecError (file:line:col)."""
    shipped = read_yaml(data_folder("assumptions") / "default.yaml")
    if path is None:
        return _validate(shipped, Assumptions)
    own = read_yaml(Path(path))
    if not isinstance(own.data, dict):
        raise SpecError(f"{path}: assumptions are a mapping: name: value", "e.g. pue: 1.1")
    return _validate(replace(own, data=shipped.data | own.data), Assumptions)


def check_file(path: str) -> ModelSpec | Device | Assumptions:
    """Load a spec, a device or a file of assumptions, whichever its keys say; import what a model ships. Raises SpecError."""
    if is_source(path):
        return load_model(path)
    document = read_yaml(Path(path))
    keys = set(document.data) if isinstance(document.data, dict) else set()
    if {"bandwidth", "memory", "vendor"} & keys:
        return _validate(document, Device)
    if keys and "attention" not in keys and keys & set(Assumptions.model_fields):
        return load_assumptions(path)
    return _validate(document, ModelSpec)


def _validated(file: Path, cls: type[_T]) -> _T:
    return _validate(read_yaml(file), cls)


# -- loading ------------------------------------------------------------------------------------------------------------------------


@dataclass
class Document:
    """Plain data, and where each part of it stands: path to (line, column), both from 1."""

    file: Path
    data: Any
    places: dict[Path_, tuple[int, int]] = field(default_factory=dict)

    def place(self, path: Path_) -> tuple[int, int]:
        """The position of a path, or of its nearest ancestor."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, (1, 1))

    def error(self, path: Path_, message: str, hint: str | None = None) -> SpecError:
        line, column = self.place(path)
        return SpecError(f"{self.file}:{line}:{column}: {message}", hint)


def read_text(file: Path) -> str:
    """The text of a small regular file. Raises SpecError for a folder, a device, too much, or what is not UTF-8 text."""
    try:
        if not file.exists():
            raise SpecError(f"{file}: no such file", did_you_mean(file.name, (p.name for p in file.parent.glob("*.yaml"))))
        if file.is_dir():
            raise SpecError(f"{file}: is a folder, not a file")
        if not file.is_file():
            raise SpecError(f"{file}: is not a regular file")
        if file.stat().st_size > MAX_FILE_BYTES:
            raise SpecError(f"{file}: {file.stat().st_size:,} bytes is more than the {MAX_FILE_BYTES:,} that a spec may have")
        return file.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise SpecError(f"{file}: is not text (byte {error.start:,} is not UTF-8)") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SpecError(f"{file}: cannot be read: {reason}") from None


def read_yaml(file: Path) -> Document:
    """Read one YAML document strictly."""
    return _read(Document(file, None), read_text(file))


def read_value(text: str, what: str = "value") -> Any:
    """Read one value as strictly as a spec: `[4 local, global]`, `{local: 13}`, `"128K"`. `what` stands for the file in errors."""
    return _read(Document(Path(what), None), text).data


def _read(document: Document, text: str) -> Document:
    try:
        document.data = _Builder(document).build(yaml.parse(text, Loader=_Loader))
    except yaml.YAMLError as error:
        mark: Any = getattr(error, "problem_mark", None)
        where = f"{document.file}:{mark.line + 1}:{mark.column + 1}" if mark is not None else f"{document.file}"
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read"
        raise SpecError(f"{where}: not valid YAML: {problem}") from None
    return document


class _Builder:
    """Plain data from YAML events, without recursion."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.stack: list[tuple[dict[Any, Any] | list[Any], Path_]] = []
        self.keys: list[str | None] = []
        self.result: Any = None
        self.documents = 0

    def build(self, events: Iterator[Any]) -> Any:
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                self.documents += 1
                if self.documents > 1:
                    raise self._refuse(event, "a second document in the file: a spec is one document")
            elif isinstance(event, yaml.AliasEvent):
                raise self._refuse(event, "aliases (*name) are not allowed in a spec: write the value out")
            elif isinstance(event, yaml.NodeEvent):
                self._node(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                self.stack.pop()
                self.keys.pop()
        if self.documents == 0 or self.result is None:
            raise SpecError(f"{self.document.file}: is empty")
        return self.result

    def _refuse(self, event: Any, message: str) -> SpecError:
        mark = event.start_mark
        return SpecError(f"{self.document.file}:{mark.line + 1}:{mark.column + 1}: {message}")

    def _node(self, event: Any) -> None:
        if event.anchor is not None:
            raise self._refuse(event, "anchors (&name) are not allowed in a spec: write the value out")
        if event.tag is not None:
            raise self._refuse(event, f"tags ({event.tag}) are not allowed in a spec")
        if len(self.stack) > MAX_DEPTH:
            raise self._refuse(event, f"nested deeper than {MAX_DEPTH} levels")
        parent, path = self.stack[-1] if self.stack else (None, ())
        if isinstance(parent, dict) and self.keys[-1] is None:
            self._key(event, parent, path)
            return
        step: Path_ = () if parent is None else ((self.keys[-1] or "") if isinstance(parent, dict) else len(parent),)
        self.document.places.setdefault(path + step, (event.start_mark.line + 1, event.start_mark.column + 1))
        value: Any
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event)
        else:
            value = {} if isinstance(event, yaml.MappingStartEvent) else []
        if isinstance(parent, dict):
            parent[self.keys[-1]] = value
            self.keys[-1] = None
        elif isinstance(parent, list):
            parent.append(value)
        else:
            self.result = value
        if not isinstance(event, yaml.ScalarEvent):
            self.stack.append((value, path + step))
            self.keys.append(None)

    def _key(self, event: Any, parent: dict[Any, Any], path: Path_) -> None:
        if not hasattr(event, "value"):
            raise self._refuse(event, "a key must be a word")
        if event.value in parent:
            line = self.document.places[(*path, event.value)][0]
            raise self._refuse(event, f"duplicate key {event.value!r}, first on line {line}")
        self.keys[-1] = str(event.value)
        self.document.places[(*path, event.value)] = (event.start_mark.line + 1, event.start_mark.column + 1)

    def _scalar(self, event: Any) -> Any:
        text = event.value
        if not event.implicit[0]:  # quoted or block text
            return text
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if len(text) <= _MAX_DIGITS:
            if _INTEGER.fullmatch(text):
                return int(text)
            if _DECIMAL.fullmatch(text):
                return Decimal(text)
        elif text.isdecimal():
            raise self._refuse(event, f"a number of {len(text)} digits is absurd")
        return text


# -- validating ---------------------------------------------------------------------------------------------------------------------


def _validate(document: Document, cls: type[_T]) -> _T:
    if not isinstance(document.data, dict):
        raise document.error((), "a spec is a mapping of keys to values")
    if cls is ModelSpec and CONFIG_ONLY & set(document.data):
        raise document.error((), "is a config.json, not a spec", f"give it a name that ends in .json, or: kvcalc import {document.file}")
    try:
        part = cls.model_validate(document.data)
    except ValidationError as error:
        raise _first_error(document, error, cls) from None
    return part


def _first_error(document: Document, error: ValidationError, cls: type[BaseModel]) -> SpecError:
    problems = error.errors(include_url=False)
    first = min(
        problems, key=lambda problem: (problem["type"] != "extra_forbidden", document.place(_location(document, problem["loc"])))
    )
    path = _location(document, first["loc"])
    where = ".".join(str(step) for step in path)
    kind, context = first["type"], first.get("ctx", {})
    known_fields = cls.model_fields if len(path) == 1 else _field_names()
    hint = did_you_mean(str(path[-1]), set(known_fields) - {str(path[-1])}) if kind == "extra_forbidden" else None
    if kind == "extra_forbidden" and len(path) == 1 and hint is None:
        hint = f"fields of {_ARTICLE[cls]}: {', '.join(list(cls.model_fields)[:SHOWN_FIELDS])} ..."
    if kind == "union_tag_invalid":
        message = f"unknown kind {context['tag']!r}"
        known = list(context["known"])
        hint = did_you_mean(str(context["tag"]), known) or f"known: {', '.join(known)}"
    elif kind == "value_error":
        message = str(context["error"])
        if not path:  # a check across fields: it begins with the field it speaks of
            return document.error(tuple(message.partition(": ")[0].split(".")), message)
    else:
        message = worded(first) or first["msg"].removeprefix("Value error, ")
    return document.error(path, f"{where}: {message}" if where else message, hint)


def _location(document: Document, loc: tuple[int | str, ...]) -> Path_:
    """pydantic's location without the union tags that it inserts."""
    path: Path_ = ()
    node: Any = document.data
    for place, step in enumerate(loc):
        inside = (isinstance(node, dict) and step in node) or (
            isinstance(node, list) and isinstance(step, int) and step < len(node)
        )
        last = place == len(loc) - 1
        if inside:
            node = node[step]
            path = (*path, step)
        elif last and isinstance(node, dict) and step != "[key]":
            path = (*path, step)
    return path


@cache
def _field_names() -> tuple[str, ...]:
    names: set[str] = set()
    todo: list[type[Record]] = [Record]
    while todo:
        for cls in todo.pop().__subclasses__():
            names.update(cls.model_fields)
            todo.append(cls)
    return tuple(sorted(names))
