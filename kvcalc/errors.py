"""Errors that a person can act on: one line, and at most one hint.

Each leaf is a kind of refusal. The command line prints `error: {message}` and, if there is one, `hint: {hint}`, and exits 2.
"""

from collections.abc import Iterable
from difflib import get_close_matches


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


class PlanError(KvcalcError):
    """A parallel plan that the model or the devices do not allow."""
