"""The same model with some of its spec changed: any field by its path, validated by the same rules as a file."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

import kvcalc.router
from kvcalc.errors import SpecError, UnitError, did_you_mean, worded
from kvcalc.kind import Kinds, Part, Router
from kvcalc.spec import ATTENTION, FEEDFORWARD, RESIDUAL, ModelSpec, Storage
from kvcalc.units import parse_tokens

SHOWN = 40
KINDS: tuple[Kinds[Any], ...] = (ATTENTION, FEEDFORWARD, RESIDUAL, Kinds(kvcalc.router, Router))
"""Parts that are told apart by their `kind`."""
_WORDS = {"true": True, "false": False, "null": None, "none": None}
_FLOW = ("[", "{", '"', "'")

Reader = Callable[[str, str], Any]
"""Reads a list, a mapping or a quoted text as YAML would: the text, and what it is called in an error."""


def read_setting(text: str, read: Reader) -> tuple[str, Any]:
    """Read `attention.local.window=1K`: a path, and a value as YAML would read it (128K = 131,072; null unsets; [5 local] is a list).

    Raises SpecError where there is no `=`, or a value that cannot be read.
    """
    path, sign, value = text.partition("=")
    path, value = path.strip(), value.strip()
    if not sign or not path or not value:
        raise SpecError(f"cannot read {text!r}", "write path=value, e.g. --set attention.local.window=1024")
    if value.lower() in _WORDS:
        return path, _WORDS[value.lower()]
    if value.startswith(_FLOW):
        return path, read(value, path)
    if re.fullmatch(r"-[0-9]{1,18}", value):
        return path, int(value)
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?[KkMm]?", value):
        try:
            return path, parse_tokens(value, path) if value != "0" else 0
        except UnitError as error:
            raise SpecError(error.message, error.hint) from None
    return path, value


def read_settings(texts: Iterable[str], read: Reader) -> dict[str, Any]:
    """Read several settings. Raises SpecError for a path that is set twice."""
    settings: dict[str, Any] = {}
    for text in texts:
        path, value = read_setting(text, read)
        if path in settings:
            raise SpecError(f"{path} is set twice", "set it once")
        settings[path] = value
    return settings


def changed(model: ModelSpec, changes: Mapping[str, Any]) -> ModelSpec:
    """The same model with some fields set: {"attention.global.head_dim": 256, "layers.0.repeat": 8}. None unsets.

    Raises:
        SpecError: a field that is not there, or a model that no longer holds together. One line.
    """
    return applied(model, changes)[0]


def applied(model: ModelSpec, changes: Mapping[str, Any]) -> tuple[ModelSpec, tuple[str, ...]]:
    """The changed model, and in words what had to go with the change. Raises SpecError like `changed`."""
    if not changes:
        return model, ()
    data = model.model_dump()
    words: list[str] = []
    for path in sorted(changes, key=lambda path: not path.endswith(".kind")):  # a kind first: it decides which fields there are
        words += _put(model, data, path, changes[path])
    after, gone = settled(model, data, ", ".join(changes), tuple(changes))
    if gone:
        words.append(f"no longer there, so its format is dropped: {', '.join(gone)}")
    return after, tuple(words)


def settled(model: ModelSpec, data: dict[str, Any], what: str, asked: Sequence[str] = ()) -> tuple[ModelSpec, list[str]]:
    """The changed model without what no longer applies: its checks, and the formats of released rows and tensors that are gone.

    What was `asked` for by its path stays, and is an error where it does not apply. Raises SpecError.
    """
    if not any(path.startswith("checks") for path in asked):
        data["checks"] = []
    storage = data.get("storage")
    if not isinstance(storage, dict):
        return validated(model.id, data, what), []
    bare = validated(model.id, data | {"storage": {}}, what)
    pieces = {weight.piece for block in bare.blocks for weight in block.weights}
    names = {f"{weight.piece}.{weight.name}" for block in bare.blocks for weight in block.weights}
    rows = {row.name for block in bare.blocks for row in block.rows}
    known = {"weights": pieces | names | {"default"}, "state": rows, "math": pieces}
    gone = [
        (section, name)
        for section in known
        for name in getattr(model.storage, section)
        if name in (storage.get(section) or ()) and name not in known[section] and f"storage.{section}.{name}" not in asked
    ]
    for section, name in gone:
        del storage[section][name]
    named = [f"storage.{section}.{name}" for section, name in gone]
    if not any(path.startswith("storage") for path in asked):  # as released, without what is gone: there is nothing to check
        return bare.model_copy(update={"storage": Storage.model_validate(storage)}), named
    return validated(model.id, data, what), named


def validated(name: str, data: dict[str, Any], what: str) -> ModelSpec:
    """A model from plain data; its first error as one line."""
    try:
        return ModelSpec.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        message = worded(first) or first["msg"].removeprefix("Value error, ")
        known = first.get("ctx", {}).get("known")
        hint = f"known: {', '.join(known)}" if known else None
        raise SpecError(f"{name} with {what}: " + (f"{where}: " if where not in ("", what) else "") + message, hint) from None


def _put(model: ModelSpec, data: dict[str, Any], path: str, value: Any) -> list[str]:
    """Set one field in the plain data; in words what had to go with it."""
    node: Any = data
    place: Any = model
    rest, gone = path, ""
    while True:
        step, rest = _step(place, node, rest)
        fields = _fields(place, node)
        key: Any = int(step) if isinstance(node, list) and step.isdecimal() else step
        free = not rest and isinstance(place, Mapping) and value is not None
        if not free and (key not in fields or not isinstance(node, dict | list)):
            raise _no_field(model, path, gone, step, None if node is None else [str(field) for field in fields])
        if not rest:
            return _set(path, place, node, key, value)
        node = node.get(key) if isinstance(node, dict) else node[key]
        place = _inside(place, key)
        gone = f"{gone}.{step}" if gone else step


def _inside(place: Any, key: Any) -> Any:
    """What stands there in the unchanged model; None if nothing does."""
    if isinstance(place, Mapping | list):
        return place[key] if key in _fields(place, place) else None
    return getattr(place, str(key), None)


def _set(path: str, place: Any, node: Any, key: Any, value: Any) -> list[str]:
    """Set or, with None, unset: a key of a mapping goes, a field that has a default takes it."""
    cls = _class(place, node)
    if value is None and isinstance(node, list):
        raise SpecError(f"{path}: one element of a list cannot be unset", "set the whole list: layers.0.of=[4 local, global]")
    if value is None and (cls is None or not cls.model_fields[key].is_required()):
        node.pop(key, None)
        return []
    other = next((kinds.get(value) for kinds in KINDS if isinstance(place, kinds.base)), None) if key == "kind" else None
    node[key] = value
    return [] if other is None or cls is None or other is cls else _drop(path, value, node, cls, other)


def _drop(path: str, kind: str, node: dict[str, Any], old: type[BaseModel], new: type[Part]) -> list[str]:
    """Leave of a part's fields those that its new kind has and that were set; in words what is dropped."""
    unset = {name for name, field in old.model_fields.items() if node.get(name) == field.get_default(call_default_factory=True)}
    lacking = [name for name in node if name not in new.model_fields]
    for name in {*unset, *lacking} & node.keys():
        del node[name]
    dropped = [name for name in lacking if name not in unset]
    return [f"dropped from {path.removesuffix('.kind')}, as {kind} has no such fields: {', '.join(dropped)}"] if dropped else []


def _step(place: Any, node: Any, path: str) -> tuple[str, str]:
    """The first key of a path, and the rest. Keys of a mapping may have dots: storage.weights.attention.sinks."""
    if isinstance(place, Mapping) and isinstance(node, dict):
        fitting = [key for key in node if path == key or (path.startswith(f"{key}.") and isinstance(node[key], dict | list))]
        if fitting:
            key = max(fitting, key=len)
            return key, path[len(key) + 1 :]
        if not any(isinstance(value, dict) for value in node.values()):
            return path, ""
    step, _, rest = path.partition(".")
    return step, rest


def _no_field(model: ModelSpec, path: str, gone: str, step: str, fields: list[str] | None) -> SpecError:
    here = gone or "the model"
    lacks = f"{here} is not set" if fields is None else f"{here} has no {step!r}"
    known = fields or []
    near = did_you_mean(step, known)
    has = f"it has: {', '.join(known[:SHOWN])}" if known else None
    return SpecError(f"{model.id}: no field {path!r}: {lacks}", " ".join(text for text in (near, has) if text) or None)


def _class(place: Any, node: Any) -> type[BaseModel] | None:
    """The record that describes a mapping: for a part that of the kind that it now has. None for a mapping of names."""
    if isinstance(place, Part) and isinstance(node, dict):
        kinds = next((kinds for kinds in KINDS if isinstance(place, kinds.base)), None)
        found: type[BaseModel] | None = None if kinds is None else kinds.get(node.get("kind", ""))
        return found or type(place)
    return type(place) if isinstance(place, BaseModel) else None


def _fields(place: Any, node: Any) -> Sequence[Any]:
    if isinstance(node, list):
        return range(len(node))
    cls = _class(place, node)
    if cls is not None:
        return list(cls.model_fields)
    return list(node) if isinstance(node, dict) else []
