"""What `diff` prints: two models side by side, what differs in which layers, and what that costs."""

from collections.abc import Iterator
from typing import Any

from kvcalc.difference import Difference, differences, ranges
from kvcalc.report.table import Cell, Column, Document, Passage, Table, text_column
from kvcalc.report.whatif import Rig, beside
from kvcalc.spec import ModelSpec
from kvcalc.units import tokens
from kvcalc.whatif import Change


def difference(change: Change, rig: Rig | None = None) -> Document:
    """The fields that differ, then the costs of both in sum and piece by piece."""
    one, other = change.before.model, change.after.model
    names = (one.id, other.id) if one.id != other.id else (f"{one.id} (1)", f"{other.id} (2)")
    fields = _fields(one, other, names)
    parts: tuple[Passage, ...] = (fields, *beside(change, rig, names))
    notes = [f"{book.model.id}: {note}" for book in (change.before, change.after) for note in book.notes]
    if isinstance(fields, Table):
        notes.append("layers: counted from 0; -: the model as a whole, or a field that one of the two has not")
    notes.append(f"by piece: {names[0]}, and what {names[1]} has more (+) or less (-)")
    return Document(f"{one.name} ({one.id}) against {other.name} ({other.id})", parts, tuple(dict.fromkeys(notes)))


def _fields(one: ModelSpec, other: ModelSpec, names: tuple[str, str]) -> Table | str:
    found = [*differences(one, other), *_beside(one, other)]
    if not found:
        return "No field of their layouts differs."
    most = max(len(one.plan), len(other.plan))
    rows: list[dict[str, Cell]] = [
        {
            "field": each.field,
            "one_text": _said(each.one, each.field),
            "other_text": _said(each.other, each.field),
            "one": _raw(each.one, each.field),
            "other": _raw(each.other, each.field),
            "layers": _where(each.layers, most),
        }
        for each in found
    ]
    columns = (
        text_column("field", "field"),
        Column("one_text", names[0], numeric=False, raw="one"),
        Column("other_text", names[1], numeric=False, raw="other"),
        text_column("layers", "layers"),
    )
    return Table(columns, tuple(rows))


def _beside(one: ModelSpec, other: ModelSpec) -> Iterator[Difference]:
    """Pieces outside the plain decode (drafts, towers) that hold another number of parameters."""
    for name in dict.fromkeys([*one.optional_pieces, *other.optional_pieces]):
        a, b = (_held(model, name) for model in (one, other))
        if a != b:
            yield Difference(f"--include {name}, parameters", a, b)


def _held(model: ModelSpec, name: str) -> int | None:
    """Parameters of a piece; None where the model has not got it."""
    if name not in model.optional_pieces:
        return None
    return sum(w.copies * w.shape[0] * w.shape[1] * b.layers for b in model.optional_blocks(name) for w in b.weights if not w.buffer)


def _where(layers: tuple[int, ...], most: int) -> str | None:
    """In which layers; None for what the whole model says once."""
    if not layers:
        return None
    return f"all {most:,}" if len(layers) == most else f"{len(layers):,}: {ranges(layers)}"


def _raw(value: Any, field: str) -> Cell:
    """A value of a spec for a program: a number as a number, several as text."""
    return value if isinstance(value, int | str | None) else _said(value, field)


def _said(value: Any, field: str) -> Cell:
    """A value of a spec as a person writes it; what is not there is a dash."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return tokens(value) if field in ("max_context",) or field.endswith(("window", "chunk_size")) else f"{value:,}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_said(item, key)}" for key, item in value.items() if item is not None) or "none"
    return ", ".join(str(_said(item, field)) for item in value) or "none"
