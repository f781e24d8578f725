"""The same model with some of its spec changed: any field by its path, validated by the same rules as a file."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from kvcalc.errors import SpecError, UnitError, did_you_mean, worded
from kvcalc.spec import ModelSpec
from kvcalc.units import parse_tokens

SHOWN = 40
_WORDS = {"true": True, "false": False, "null": None, "none": None}


def read_setting(text: str) -> tuple[str, Any]:
    """Read `attention.local.window=1K`: a path, and a value as YAML would read it (128K = 131,072; null unsets).

    Raises SpecError where there is no `=`.
    """
    path, sign, value = text.partition("=")
    if not sign or not path.strip():
        raise SpecError(f"cannot read {text!r}", "write path=value, e.g. --set attention.local.window=1024")
    value = value.strip()
    if value.lower() in _WORDS:
        return path.strip(), _WORDS[value.lower()]
    if re.fullmatch(r"-[0-9]{1,18}", value):
        return path.strip(), int(value)
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?[KkMm]?", value):
        try:
            return path.strip(), parse_tokens(value, path.strip()) if value != "0" else 0
        except UnitError as error:
            raise SpecError(error.message, error.hint) from None
    return path.strip(), value


def changed(model: ModelSpec, changes: Mapping[str, Any]) -> ModelSpec:
    """The same model with some fields set: {"attention.global.head_dim": 256, "layers.0.repeat": 8}.

    Raises:
        SpecError: a field that is not there, or a model that no longer holds together. One line.
    """
    if not changes:
        return model
    data = model.model_dump()
    for path, value in changes.items():
        _put(model, data, path, value)
    return validated(model.id, data, ", ".join(changes))


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


def _put(model: ModelSpec, data: dict[str, Any], path: str, value: Any) -> None:
    node: Any = data
    place: Any = model
    rest, gone = path, ""
    while True:
        step, rest = _step(place, node, rest)
        fields = _fields(place, node)
        key: Any = int(step) if isinstance(node, list) and step.isdecimal() else step
        free = not rest and isinstance(place, Mapping)
        if not free and (key not in fields or not isinstance(node, dict | list)):
            raise _no_field(model, path, gone, step, None if node is None else [str(field) for field in fields])
        if not rest:
            node[key] = value
            return
        node = node[key]
        place = place[key] if isinstance(place, Mapping | list | tuple) else getattr(place, step, None)
        gone = f"{gone}.{step}" if gone else step


def _step(place: Any, node: Any, path: str) -> tuple[str, str]:
    """The first key of a path, and the rest. Keys of a mapping may have dots: storage.weights.attention.sinks."""
    if isinstance(place, Mapping):
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


def _fields(place: Any, node: Any) -> Sequence[Any]:
    if isinstance(node, list):
        return range(len(node))
    if isinstance(place, BaseModel):
        return list(type(place).model_fields)
    return list(node) if isinstance(node, dict) else []
