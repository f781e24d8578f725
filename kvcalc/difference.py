"""Two models side by side, layer for layer: which fields differ, in which layers."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from kvcalc.spec import ModelSpec

WHOLE = ("hidden_size", "num_hidden_layers", "max_context", "embedding", "residual", "storage")
"""What a model says once."""


class Difference(NamedTuple):
    """One field that two models say differently. None: one of them has no such field, or no such layer.

    Args:
        layers: where; empty for what a model says once.
    """

    field: str
    one: Any
    other: Any
    layers: tuple[int, ...] = ()


def differences(one: ModelSpec, other: ModelSpec) -> list[Difference]:
    """Every field that differs: those of the whole model, then those of layers, each with the layers in which it is so."""
    a, b = one.model_dump(), other.model_dump()
    found = [found for key in WHOLE for found in _leaves(key, a[key], b[key])]
    by_field: dict[tuple[str, str, str], Difference] = {}
    for place, (was, now) in enumerate(zip(*_padded(_layers(one), _layers(other)), strict=True)):
        for single in _of_layer(was, now):
            key = (single.field, repr(single.one), repr(single.other))
            earlier = by_field.get(key, single)
            by_field[key] = single._replace(layers=(*earlier.layers, place))
    return found + list(by_field.values())


def _layers(model: ModelSpec) -> list[dict[str, Any]]:
    """What each layer is, as plain fields. Names of parts are left out: they are the spec's own."""
    return [
        {
            "attention": model.attention[layer.attention].model_dump(exclude_none=True),
            "feedforward": model.feedforward[layer.feedforward].model_dump(exclude_none=True),
            "reuses layer": layer.reuses,
            "replay": layer.replay,
        }
        for layer in model.plan
    ]


def _padded(one: list[Any], other: list[Any]) -> tuple[list[Any], list[Any]]:
    most = max(len(one), len(other))
    return one + [None] * (most - len(one)), other + [None] * (most - len(other))


def _of_layer(was: dict[str, Any] | None, now: dict[str, Any] | None) -> Iterator[Difference]:
    if was is None or now is None:
        yield Difference("layer", None if was is None else "there", None if now is None else "there")
        return
    for key in was:
        yield from _leaves(key, was[key], now[key])


def _leaves(where: str, one: Any, other: Any) -> Iterator[Difference]:
    """The fields below one that differ. Parts of another kind differ as a whole."""
    if one == other:
        return
    if not (isinstance(one, dict) and isinstance(other, dict)):
        yield Difference(where, one, other)
    elif one.get("kind") != other.get("kind"):
        yield Difference(where, one.get("kind"), other.get("kind"))
    else:
        for key in dict.fromkeys([*one, *other]):
            yield from _leaves(f"{where}.{key}", one.get(key), other.get(key))


SHOWN_RUNS = 3


def ranges(places: Sequence[int]) -> str:
    """0, 1, 2, 5 -> '0-2, 5'; what repeats itself evenly '3, 7 ... 39' or '0-2, 4-6 ... 60-62'."""
    runs: list[list[int]] = []
    for place in places:
        if runs and runs[-1][-1] == place - 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    said = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    steps = {(len(run), later[0] - run[0], len(later)) for run, later in pairwise(runs)}
    even = len(steps) == 1 and len(runs) > SHOWN_RUNS
    return f"{said[0]}, {said[1]} ... {said[-1]}" if even else ", ".join(said)
