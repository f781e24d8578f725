"""The tensors of a file held against a spec: which tensor of the file is which of the spec's, and in what format each layer stores it.

A file and a spec cut a layer in different ways: what a spec calls `up_proj` are two tensors of a file, a file's `attn_qkv` is three of
the spec's. So tensors and weights of one layer make pairs where their sizes are the same, and what is left makes groups, whose sizes
must be the same.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import gcd, prod
from typing import Any, NamedTuple

from kvcalc.errors import SpecError
from kvcalc.importers.config import LISTED, Known, listed
from kvcalc.importers.model import Imported, validated
from kvcalc.ledger import ledger, total
from kvcalc.scenario import Scenario
from kvcalc.spec import ModelSpec

Place = int | None
"""A layer; None outside the layers."""


class Tensor(NamedTuple):
    """A tensor of a file. `shape`: the last dimension runs through memory; `bytes`: as stored."""

    name: str
    format: str
    shape: tuple[int, ...]
    bytes: int

    @property
    def elements(self) -> int:
        return prod(self.shape)


class Named(NamedTuple):
    """A tensor of a file and what its name says.

    Args:
        place: the layer that it stands in.
        keys: the weights of a spec that it may hold, as `piece.weight`, the likeliest first.
        aside: what it is, where it is nothing that a spec counts: a table that an engine could calculate, a layer that drafts.
    """

    tensor: Tensor
    place: Place
    keys: tuple[str, ...] = ()
    aside: str | None = None


@dataclass
class Match:
    """What came of holding a file against a spec.

    Args:
        stored: by weight and layer: elements in each format.
        unknown: tensors for which the spec has no weight.
        missing: weights for which the file has no tensor, with their layer.
        unequal: groups of tensors and weights whose sizes differ, in words.
    """

    stored: dict[str, dict[Place, dict[str, Fraction]]] = field(default_factory=dict)
    unknown: list[Tensor] = field(default_factory=list)
    missing: list[tuple[str, Place]] = field(default_factory=list)
    unequal: list[str] = field(default_factory=list)

    @property
    def differences(self) -> list[str]:
        """What differs, in words."""
        found = self.unequal[:LISTED]
        if len(self.unequal) > LISTED:
            found.append(f"{len(self.unequal) - LISTED:,} more of such")
        if self.missing:
            found.append(f"the file lacks {listed([_at(key, place) for key, place in self.missing])}")
        if self.unknown:
            size = sum(tensor.bytes for tensor in self.unknown)
            found.append(f"the spec has no weight for {listed([tensor.name for tensor in self.unknown])} ({size:,} bytes)")
        return found


# -- the whole ----------------------------------------------------------------------------------------------------------------------


def held_against(imported: Imported, name: str, tensors: Sequence[Named], *, strict: bool) -> Imported:
    """A spec with the formats in which a file stores its weights, after the two were compared.

    Args:
        name: the file.
        strict: refuse a file that lacks weights of the spec or has them in other sizes; else all that differs becomes a caveat.

    Raises:
        SpecError: what differs, where that is refused.
    """
    match = matched(imported.model, [tensor for tensor in tensors if tensor.aside is None])
    if strict and (match.unequal or match.missing):
        raise SpecError(f"{name}: metadata and tensors differ: {match.differences[0]}")
    caveats = [f"The file and the config differ: {'; '.join(match.differences)}."] if match.differences else []
    for what in dict.fromkeys(tensor.aside for tensor in tensors if tensor.aside is not None):
        aside = [tensor.tensor for tensor in tensors if tensor.aside == what]
        size = sum(tensor.bytes for tensor in aside)
        caveats.append(f"Not counted are {what}: {size:,} bytes of the file, {listed([tensor.name for tensor in aside])}.")
    stored = imported.data.get("storage", {}) | {"weights": storage(imported.model, match)}
    result = with_caveats(imported, name, caveats, storage=stored)
    return Imported(result.model, result.data, (*result.notes, *_agreement(result.model, name, tensors, match)))


def with_caveats(imported: Imported, name: str, caveats: Sequence[str], *, notes: Sequence[str] = (), **fields: Any) -> Imported:
    """A spec with more caveats, which stand after its sources, and with other fields; and more to say to whoever imports."""
    data = imported.data
    head = {key: data[key] for key in ("id", "name", "family", "released", "sources") if key in data}
    said = [*data.get("caveats", []), *caveats]
    data = head | ({"caveats": said} if said else {}) | {key: data[key] for key in data if key not in head and key != "caveats"} | fields
    return Imported(validated(name, data), data, (*imported.notes, *notes))


def _agreement(model: ModelSpec, name: str, tensors: Sequence[Named], match: Match) -> list[str]:
    """What the comparison found, in words."""
    unknown = set(match.unknown)
    counted = [tensor.tensor for tensor in tensors if tensor.aside is None and tensor.tensor not in unknown]
    sums = total(ledger(model, Scenario(context=1)).entries)
    size = sum(tensor.bytes for tensor in counted)
    said = f"{len(counted):,} tensors of {name}: {sum(tensor.elements for tensor in counted):,} elements in {size:,} bytes"
    if sums.weight_bytes != size:
        return [f"{said}; the spec has {sums.weight_bytes:,} bytes"]
    return [said if match.differences else f"{said}, as the spec says"]


def reworded(value: Any, word: Callable[[str], str]) -> Any:
    """The fields of a spec with the origins of their numbers in other words."""
    if isinstance(value, Known):
        return Known(int(value), word(value.origin))
    if isinstance(value, dict):
        return {key: reworded(item, word) for key, item in value.items()}
    return [reworded(item, word) for item in value] if isinstance(value, list) else value


# -- matching -----------------------------------------------------------------------------------------------------------------------


def expected(model: ModelSpec) -> dict[Place, dict[str, int]]:
    """Elements of each weight that a model stores, by layer and `piece.weight`."""
    found: dict[Place, dict[str, int]] = {}
    for block in model.blocks:
        for weight in (weight for weight in block.weights if weight.stored):
            for place in block.places or (None,):
                layer = found.setdefault(place, {})
                key = f"{weight.piece}.{weight.name}"
                layer[key] = layer.get(key, 0) + weight.copies * prod(weight.shape)
    return found


def matched(model: ModelSpec, tensors: Iterable[Named]) -> Match:
    """Holds the tensors of a file against the weights of a spec."""
    result = Match()
    layers: dict[Place, list[Named]] = {}
    for named in tensors:
        layers.setdefault(named.place, []).append(named)
    wanted = expected(model)
    for place in sorted(wanted.keys() | layers.keys(), key=lambda place: -1 if place is None else place):
        _match_layer(result, place, wanted.get(place, {}), layers.get(place, []))
    return result


def _match_layer(result: Match, place: Place, wanted: Mapping[str, int], tensors: Sequence[Named]) -> None:
    left = dict(wanted)
    rest: list[tuple[Tensor, tuple[str, ...]]] = []
    meant = _meant(wanted)
    for tensor, _, keys, _ in tensors:
        known, first = tuple(weight for key in keys for weight in meant.get(key, ())), next((key for key in keys if key in wanted), None)
        if first is not None and left.get(first) == tensor.elements:
            del left[first]
            _store(result, place, {first: tensor.elements}, [tensor])
        elif known:
            rest.append((tensor, known))
        else:
            result.unknown.append(tensor)
    result.unknown += [tensor for tensor, known in rest if left.keys().isdisjoint(known)]
    rest = [entry for entry in rest if not left.keys().isdisjoint(entry[1])]
    while rest:
        group, held_by = [rest[0][0]], set(rest[0][1]) & left.keys()
        rest = rest[1:]
        while met := [entry for entry in rest if not held_by.isdisjoint(entry[1])]:
            rest = [entry for entry in rest if held_by.isdisjoint(entry[1])]
            group += [tensor for tensor, _ in met]
            held_by |= {key for _, others in met for key in others} & left.keys()
        sizes = {key: left.pop(key) for key in held_by}
        held = sum(tensor.elements for tensor in group)
        if held == sum(sizes.values()):
            _store(result, place, sizes, group)
        else:
            said = f"{listed(sorted(sizes))} of {sum(sizes.values()):,}"
            result.unequal.append(f"{listed([tensor.name for tensor in group])} of {held:,} elements, where the spec has {said}")
    result.missing += [(key, place) for key in left]


def _meant(wanted: Iterable[str]) -> dict[str, list[str]]:
    """The weights of a layer that a key stands for: itself, and with `piece.*` all of a piece."""
    found: dict[str, list[str]] = {}
    for key in wanted:
        found[key] = [key]
        found.setdefault(f"{key.partition('.')[0]}.*", []).append(key)
    return found


def _store(result: Match, place: Place, sizes: Mapping[str, int], tensors: Sequence[Tensor]) -> None:
    """Notes in which formats some tensors store some weights; of several weights in several tensors each gets the same part."""
    held = sum(sizes.values())
    for key, size in sizes.items():
        formats: dict[str, Fraction] = {}
        for tensor in tensors:
            formats[tensor.format] = formats.get(tensor.format, Fraction(0)) + Fraction(size * tensor.elements, held)
        result.stored.setdefault(key, {})[place] = formats


# -- formats ------------------------------------------------------------------------------------------------------------------------


def storage(model: ModelSpec, match: Match) -> dict[str, Any]:
    """The spec's `storage.weights` that says what a file stores: as few entries as say it all."""
    exact = {key: _formats(layers) for key, layers in match.stored.items()}
    one = {key: formats for key, formats in exact.items() if isinstance(formats, str)}
    sizes: dict[str, dict[str, int]] = {}
    vectors: dict[str, int] = {}
    for block in model.blocks:
        for weight in block.weights:
            stored = one.get(f"{weight.piece}.{weight.name}")
            if stored is None:
                continue
            if weight.use == "vector":
                vectors[stored] = vectors.get(stored, 0) + 1
            else:
                piece = sizes.setdefault(weight.piece, {})
                piece[stored] = piece.get(stored, 0) + block.layers * weight.copies * prod(weight.shape)
    usual: dict[str, Any] = {"default": _most(vectors) or _most(_added(sizes.values())) or "bf16"}
    usual |= {piece: most for piece, formats in sizes.items() if (most := _most(formats)) and most != usual["default"]}
    bare = model.model_copy(update={"storage": model.storage.model_copy(update={"weights": usual})})
    weights = {f"{weight.piece}.{weight.name}": weight for block in model.blocks for weight in block.weights}
    own = {key: stored for key, stored in exact.items() if stored != bare.weight_format(weights[key]).name}
    return usual | dict(sorted(own.items()))


def _formats(layers: Mapping[Place, Mapping[str, Fraction]]) -> str | list[str]:
    """The formats of a weight's layers: one where all are the same and whole, else the steps of a list."""
    mixes = [_mix(layers[place]) for place in sorted(layers, key=lambda place: -1 if place is None else place)]
    if len(set(mixes)) == 1 and "/" not in mixes[0]:
        return mixes[0]
    steps: list[tuple[int, str]] = []
    for mix in mixes:
        steps = [*steps[:-1], (steps[-1][0] + 1, mix)] if steps and steps[-1][1] == mix else [*steps, (1, mix)]
    return [mix if count == 1 else f"{count} {mix}" for count, mix in steps]


def _mix(formats: Mapping[str, Fraction]) -> str:
    """{'q8_0': 3/7, 'q4_k': 4/7} of something -> 'q8_0*3/q4_k*4'."""
    if len(formats) == 1:
        return next(iter(formats))
    whole = sum(formats.values())
    parts = {name: elements / whole for name, elements in sorted(formats.items())}
    scale = 1
    for part in parts.values():
        scale = scale * part.denominator // gcd(scale, part.denominator)
    counts = {name: int(part * scale) for name, part in parts.items()}
    return "/".join(name if set(counts.values()) == {1} else f"{name}*{count}" for name, count in counts.items())


def _most(amounts: Mapping[str, int]) -> str | None:
    return max(amounts, key=lambda name: amounts[name]) if amounts else None


def _added(many: Iterable[Mapping[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for amounts in many:
        for name, amount in amounts.items():
            found[name] = found.get(name, 0) + amount
    return found


def _at(key: str, place: Place) -> str:
    return key if place is None else f"{key} of layer {place}"
