"""A model as a reader of a config sees it: named parts, one entry per layer. `spec_data` folds it into the data of a spec."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

from kvcalc.feedforward.moe import ROUTERS
from kvcalc.importers.config import Known
from kvcalc.kind import Record
from kvcalc.spec import ATTENTION, FEEDFORWARD, RESIDUAL

LONGEST_PERIOD = 64


class Layer(NamedTuple):
    """One layer, in order.

    Args:
        attention, feedforward: names of parts.
        reuses: the layer whose rows it reads.
        again: the layer whose weights it runs once more.
        replay: in a prefill, only the last so many tokens run it [tokens].
    """

    attention: str
    feedforward: str
    reuses: int | None = None
    again: int | None = None
    replay: int | None = None


@dataclass(frozen=True)
class Drafts:
    """Layers for multi-token prediction, which the main layers' parts make up; none where the config has none.

    Args:
        weights: tensors beside the layers, as a spec's `draft.weights` says them.
        residual: what carries the stream; None: what carries it in the main layers.
    """

    layers: Sequence[Layer] = ()
    weights: Sequence[dict[str, Any]] = ()
    residual: dict[str, Any] | None = None

    @property
    def attention(self) -> list[str]:
        """The attention names of the layers."""
        return [layer.attention for layer in self.layers]

    @property
    def feedforward(self) -> list[str]:
        """The names of their feed-forward blocks."""
        return [layer.feedforward for layer in self.layers]


@dataclass
class Layout:
    """What a family's reader gives back. Parts are the fields of a spec; their whole numbers are Known, with the config field behind.

    Args:
        vocab_size: None where the config does not say it: parameters are then unknown.
        tables: what stands beside the token embedding, by the spec's key.
        weights: storage formats by piece or `piece.weight`, where the config says them.
        draft: layers that are no part of a plain decode.
        state: storage formats by row name, where the config says them.
    """

    hidden_size: Known
    vocab_size: Known | None
    tied: bool
    max_context: Known
    attention: dict[str, dict[str, Any]]
    feedforward: dict[str, dict[str, Any]]
    layers: list[Layer]
    residual: dict[str, Any] = field(default_factory=lambda: {"kind": "plain"})
    tables: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, str] = field(default_factory=dict)
    state: dict[str, str] = field(default_factory=dict)
    towers: dict[str, dict[str, Any]] = field(default_factory=dict)
    math: dict[str, str] = field(default_factory=dict)
    draft: Drafts = field(default_factory=Drafts)
    head_bias: bool = False
    extra_rows: int | None = None
    dtype: str = "bf16"
    """Format of the release where the config names none."""
    depth: str = "num_hidden_layers"
    """Where the number of layers comes from."""


def spec_data(layout: Layout) -> dict[str, Any]:
    """The fields of a spec from `max_context` on, in the order in which a person reads them."""
    used = {layer.attention for layer in (*layout.layers, *layout.draft.layers)}
    blocks = {layer.feedforward for layer in (*layout.layers, *layout.draft.layers)}
    data: dict[str, Any] = {
        "max_context": layout.max_context,
        "hidden_size": layout.hidden_size,
        "num_hidden_layers": Known(sum(layer.again is None for layer in layout.layers), layout.depth),
        "embedding": {
            "vocab_size": layout.vocab_size,
            "tied": layout.tied,
            **({"head_bias": True} if layout.head_bias else {}),
            **({"extra_rows": layout.extra_rows} if layout.extra_rows else {}),
            **layout.tables,
        },
        "attention": {name: _said(part, ATTENTION) for name, part in layout.attention.items() if name in used},
        "feedforward": {name: _said(part, FEEDFORWARD) for name, part in layout.feedforward.items() if name in blocks},
        "residual": _said(layout.residual, RESIDUAL),
        "layers": folded(layout.layers),
    }
    storage = {key: found for key in ("weights", "state", "math") if (found := getattr(layout, key))}
    if storage:
        data["storage"] = storage
    if layout.towers:
        data["towers"] = layout.towers
    if layout.draft.layers:
        data["draft"] = {"layers": folded(layout.draft.layers), "weights": list(layout.draft.weights)}
        if layout.draft.residual is not None:
            data["draft"]["residual"] = _said(layout.draft.residual, RESIDUAL)
    return data


def _said(part: Mapping[str, Any], kinds: Mapping[str, type[Record]]) -> dict[str, Any]:
    """A part without what it does not say: None, and flags that are what they are by default in its kind."""
    known = kinds[part["kind"]].model_fields if part.get("kind") in kinds else {}
    return {
        key: _said(value, ROUTERS if key == "router" else kinds) if isinstance(value, Mapping) else value
        for key, value in part.items()
        if value is not None and not (isinstance(value, bool) and key in known and value is known[key].default)
    }


# -- folding ------------------------------------------------------------------------------------------------------------------------


def folded(layers: Sequence[Layer]) -> list[dict[str, Any]]:
    """Layers as few groups of a spec: what repeats is said once. The shortest text by the number of groups and steps."""
    groups: list[dict[str, Any]] = []
    start = 0
    for end in range(1, len(layers) + 1):
        if end == len(layers) or not _goes_on(layers[end - 1], layers[end]):
            groups += _segment(layers[start:end])
            start = end
    return groups


def _goes_on(one: Layer, other: Layer) -> bool:
    """Whether two neighbours may stand in one group: both stored, or both passes of one loop, and run by as many tokens."""
    return one.replay == other.replay and (other.again is None if one.again is None else other.again == one.again + 1)


def _segment(layers: Sequence[Layer]) -> list[dict[str, Any]]:
    keys = [layer[:3] for layer in layers]
    count = len(keys)
    steps = _Steps(layers)
    run = {p: [0] * (count + 1) for p in range(1, min(LONGEST_PERIOD, count) + 1)}
    for p, along in run.items():  # along[i]: how far the layers from i on equal those p further on
        for i in range(count - p - 1, -1, -1):
            along[i] = along[i + 1] + 1 if keys[i] == keys[i + p] else 0
    best: list[tuple[int, int, int]] = [(0, 0, 0)] * (count + 1)  # cost from i on, period, repeats
    for i in range(count - 1, -1, -1):
        choices = []
        source: dict[str, int | None] = {}
        for p in range(1, min(LONGEST_PERIOD, count - i) + 1):
            last = layers[i + p - 1]
            if source.setdefault(last.attention, last.reuses) != last.reuses:
                break  # a group names one layer to reuse for each attention name
            price = steps.price(i, i + p - 1)
            for repeats in {1, 1 + run[p][i] // p}:
                choices.append((price + best[i + p * repeats][0], p, repeats))
        best[i] = min(choices)
    groups, i = [], 0
    while i < count:
        _, p, repeats = best[i]
        groups.append(_group(layers[i : i + p], repeats))
        i += p * repeats
    return groups


class _Steps:
    """How many steps any run of the layers takes to say: one more than there are changes within it."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        pairs = list(pairwise(layers))
        self.attention = [0, *accumulate(one.attention != other.attention for one, other in pairs)]
        self.feedforward = [0, *accumulate(one.feedforward != other.feedforward for one, other in pairs)]

    def price(self, first: int, last: int) -> int:
        """The length of the text of a group: itself, its steps, and those of its blocks where there are several."""
        attention = 1 + self.attention[last] - self.attention[first]
        feedforward = 1 + self.feedforward[last] - self.feedforward[first]
        return 2 + attention + (feedforward if feedforward > 1 else 0)


def _steps(names: Sequence[str]) -> list[str]:
    """local local global -> '2 local', 'global'."""
    steps: list[tuple[int, str]] = []
    for name in names:
        if steps and steps[-1][1] == name:
            steps[-1] = (steps[-1][0] + 1, name)
        else:
            steps.append((1, name))
    return [name if count == 1 else f"{count} {name}" for count, name in steps]


def _group(layers: Sequence[Layer], repeat: int) -> dict[str, Any]:
    blocks = _steps([layer.feedforward for layer in layers])
    group: dict[str, Any] = {} if repeat == 1 or len(layers) == 1 else {"repeat": repeat}
    names = [layer.attention for layer in layers] * (repeat if len(layers) == 1 else 1)
    group |= {"of": _steps(names), "feedforward": blocks if len(blocks) > 1 else layers[0].feedforward}
    reuse = {layer.attention: layer.reuses for layer in layers if layer.reuses is not None}
    if reuse:
        group["reuse"] = reuse
    if layers[0].replay is not None:
        group["replay"] = layers[0].replay
    if layers[0].again is not None:
        group["weights_of"] = layers[0].again
    return group
