"""The same model with some of its spec changed: any field by its path, validated by the same rules as a file."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from kvcalc.errors import SpecError, UnitError, did_you_mean
from kvcalc.spec import ModelSpec
from kvcalc.units import parse_tokens

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
        message = first["msg"].removeprefix("Value error, ")
        raise SpecError(f"{name} with {what}: " + (f"{where}: " if where else "") + message) from None


def _put(model: ModelSpec, data: dict[str, Any], path: str, value: Any) -> None:
    node: Any = data
    place: Any = model
    steps = path.split(".")
    for number, step in enumerate(steps):
        last = number == len(steps) - 1
        fields = _fields(place, node)
        key: Any = int(step) if isinstance(node, list) and step.isdigit() else step
        free = last and isinstance(place, Mapping)
        if not free and (key not in fields or not isinstance(node, dict | list)):
            shown = [str(field) for field in fields][:20]
            raise SpecError(
                f"{model.id}: no field {path!r}: {'.'.join(steps[:number]) or 'the model'} has no {step!r}",
                did_you_mean(step, shown) or ("it has: " + ", ".join(shown) if shown else None),
            )
        if last:
            node[key] = value
            return
        node = node[key]
        place = place[key] if isinstance(place, Mapping | list | tuple) else getattr(place, step, None)


def _fields(place: Any, node: Any) -> Sequence[Any]:
    if isinstance(node, list):
        return range(len(node))
    if isinstance(place, BaseModel):
        return list(type(place).model_fields)
    return list(node) if isinstance(node, dict) else []
