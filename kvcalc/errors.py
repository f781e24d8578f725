"""Errors that a person can act on: one line, and at most one hint.

Each leaf is a kind of refusal. The command line prints `error: {message}` and, if there is one, `hint: {hint}`, and exits 2.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from difflib import get_close_matches
from typing import Any

_WANTED = {
    "int_type": "a whole number",
    "string_type": "text",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "list_type": "a list",
}
_LIMITS = {
    "greater_than": "more than",
    "greater_than_equal": "at least",
    "less_than": "less than",
    "less_than_equal": "at most",
}


class KvcalcError(Exception):
    """Root of everything that kvcalc refuses."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UnitError(KvcalcError):
    """A quantity that cannot be read: no unit, an unknown unit, not a whole number."""


class UnknownName(KvcalcError):
    """A model, device, format or key that does not exist."""


class AmbiguousName(UnknownName):
    """The beginning of several names."""


class SpecError(KvcalcError):
    """A file that is not a valid spec, with file:line:col."""


class ScenarioError(KvcalcError):
    """A question that cannot be answered as asked."""


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """The nearest known name as a hint, or None if nothing is near."""
    near = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else None


def worded(problem: Mapping[str, Any]) -> str | None:
    """What pydantic found wrong with a value, in plain words; None for what is better said otherwise."""
    kind = problem["type"]
    if kind in _WANTED:
        return f"{_shown(problem['input'])} is not {_WANTED[kind]}"
    if kind in _LIMITS:
        return f"{_shown(problem['input'])} must be {_LIMITS[kind]} {next(iter(problem['ctx'].values())):,}"
    if kind == "union_tag_invalid":
        return f"unknown kind {problem['ctx']['tag']!r}"
    return {"extra_forbidden": "no such field", "missing": "missing", "union_tag_not_found": "missing: kind"}.get(kind)


def _shown(value: object) -> str:
    text = "null" if value is None else str(value) if isinstance(value, Decimal) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


class Unmet(ScenarioError):
    """A question that was understood, and whose answer is no: nothing fits, or meets the target. The command line exits 1."""


class PlanError(KvcalcError):
    """A parallel plan that the model or the devices do not allow."""
