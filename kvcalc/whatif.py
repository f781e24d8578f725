"""The same model without its tricks: one at a time, or all of them as a ladder from plain multi-head attention to the model as shipped.

A kind says itself how it looks without a trick (`Attention.without`); what is no matter of one layer stands here: sharing, head
budgets, per-layer embeddings, hyper-connections, linear layers, formats.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from kvcalc.change import validated
from kvcalc.errors import ScenarioError, did_you_mean
from kvcalc.hardware import Device
from kvcalc.kind import Site
from kvcalc.ledger import Ledger, ledger
from kvcalc.parallel import Plan
from kvcalc.roofline import answer
from kvcalc.scenario import NATIVE, Scenario
from kvcalc.slots import Fixed
from kvcalc.spec import ModelSpec

MEANINGS = {
    "gqa": "as many KV heads as query heads",
    "latent": "keys and values of every head, instead of one latent for all",
    "key-is-value": "the value stored beside the key it equals",
    "window": "every token kept and read, instead of the last ones",
    "compression": "attention of full width that keeps and reads every token, instead of compressed keys and values",
    "linear-attention": "the model's own full attention in the layers that keep a state of fixed size",
    "indexer": "all entries read, instead of the few that an indexer chooses; no index keys",
    "kv-sharing": "every layer keeps its own keys and values",
    "head-budget": "as many query heads in every layer as in the one that has most",
    "per-layer-embeddings": "no table of embeddings for each layer",
    "hyper-connections": "one residual stream, instead of several that are mixed",
}
"""What the model looks like without each trick, in the order in which the ladder adds them."""
PLAIN_FORMAT = "bf16"


def tricks(model: ModelSpec) -> dict[str, str]:
    """The tricks that a model uses, each with what it looks like without."""
    return {name: meaning for name, meaning in MEANINGS.items() if _UNDO[name](model) is not None}


def without(model: ModelSpec, trick: str) -> ModelSpec:
    """The model without one of its tricks. Rows and tensors that the release does not have are stored in bf16.

    Raises:
        ScenarioError: no such trick, or not one of this model's; it lists those it uses.
    """
    used = tricks(model)
    if trick not in used:
        words = ", ".join(used) or "none of those that kvcalc can undo"
        known = trick in MEANINGS
        raise ScenarioError(
            f"{model.id} does not use {trick}" if known else f"unknown trick {trick!r}",
            (did_you_mean(trick, MEANINGS) if not known else None) or f"its tricks: {words}",
        )
    data = _UNDO[trick](model)
    assert data is not None  # it is used
    return _rebuilt(model, data, f"without {trick}")


def _data(model: ModelSpec) -> dict[str, Any]:
    return model.model_dump()


def _rebuilt(model: ModelSpec, data: dict[str, Any], what: str) -> ModelSpec:
    """The changed model without what no longer applies: checks, storage of tensors and rows that are gone, attention that none uses."""
    used = {step.split(" ")[-1] for group in data["layers"] + (data["draft"] or {"layers": []})["layers"] for step in group["of"]}
    data["attention"] = {name: part for name, part in data["attention"].items() if name in used}
    data["checks"] = []
    storage, data["storage"] = data["storage"], {}
    bare = validated(model.id, data, what)
    pieces = {weight.piece for block in bare.blocks for weight in block.weights}
    names = {f"{weight.piece}.{weight.name}" for block in bare.blocks for weight in block.weights}
    rows = {row.name for block in bare.blocks for row in block.rows}
    keep = {"weights": pieces | names | {"default"}, "state": rows, "math": pieces}
    data["storage"] = {key: {name: value for name, value in storage[key].items() if name in keep[key]} for key in keep}
    return validated(model.id, data, what)


# -- one trick undone: the model's data without it, or None if it does not use it ----------------------------------------------------


def _site(model: ModelSpec) -> Site:
    return Site(model.hidden_size, model.embedding.vocab_size, model.num_hidden_layers)


def _by_layer(trick: str) -> Callable[[ModelSpec], dict[str, Any] | None]:
    """A trick that each attention of the model says itself."""

    def undo(model: ModelSpec) -> dict[str, Any] | None:
        plain = {name: part.without(_site(model)) for name, part in model.attention.items()}
        shared = trick == "indexer" and any(layer.reuses is not None for layer in model.plan)
        if shared or not any(trick in found for found in plain.values()):
            return None  # an indexer whose choice other layers reuse can only go once they do not
        data = _data(model)
        for name, found in plain.items():
            if trick in found:
                data["attention"][name] = found[trick]
        if trick in ("compression", "latent"):
            _unshared(data)
        return data

    return undo


def _unshared(data: dict[str, Any]) -> None:
    for group in data["layers"]:
        group["reuse"] = {}


def _without_sharing(model: ModelSpec) -> dict[str, Any] | None:
    if not any(layer.reuses is not None for layer in model.plan):
        return None
    data = _by_layer("kv-sharing")(model) or _data(model)
    _unshared(data)
    return data


def _without_head_budget(model: ModelSpec) -> dict[str, Any] | None:
    heads = {name: getattr(part, "num_attention_heads", None) for name, part in model.attention.items()}
    counts = {count for count in heads.values() if count is not None}
    if len(counts) < 2:
        return None
    data = _data(model)
    for name, count in heads.items():
        if count is not None:
            data["attention"][name]["num_attention_heads"] = max(counts)
    return data


def _without_linear(model: ModelSpec) -> dict[str, Any] | None:
    site = _site(model)
    fixed = {name for name, part in model.attention.items() if all(isinstance(row.held, Fixed) for row in part.rows(site))}
    growing = [name for name in model.attention if name not in fixed]
    if not fixed or not growing:
        return None
    data = _data(model)
    for group in data["layers"]:
        group["of"] = [_renamed(step, fixed, growing[0]) for step in group["of"]]
    return data


def _renamed(step: str, names: set[str], other: str) -> str:
    count, _, name = step.rpartition(" ")
    return f"{count} {other}".strip() if name in names else step


def _without_per_layer(model: ModelSpec) -> dict[str, Any] | None:
    data = _data(model)
    if data["embedding"].get("per_layer") is None:
        return None
    data["embedding"]["per_layer"] = None
    return data


def _without_streams(model: ModelSpec) -> dict[str, Any] | None:
    if model.residual.streams_kept == 1:
        return None
    return _data(model) | {"residual": {"kind": "plain"}}


_UNDO: dict[str, Callable[[ModelSpec], dict[str, Any] | None]] = {
    **{trick: _by_layer(trick) for trick in ("gqa", "latent", "key-is-value", "window", "compression", "indexer")},
    "linear-attention": _without_linear,
    "kv-sharing": _without_sharing,
    "head-budget": _without_head_budget,
    "per-layer-embeddings": _without_per_layer,
    "hyper-connections": _without_streams,
}


# -- the ladder ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rung:
    """One step of the ladder: the model with this trick and all those above it."""

    name: str
    meaning: str
    ledger: Ledger

    @property
    def state_bytes(self) -> int:
        return self.ledger.totals.state_bytes

    @property
    def traffic_bytes(self) -> int:
        return self.ledger.totals.read_bytes + self.ledger.totals.written_bytes

    @property
    def flops(self) -> int:
        return self.ledger.totals.flops


def ladder(model: ModelSpec, scenario: Scenario) -> list[Rung]:
    """From plain multi-head attention in bf16 down to the model as shipped, one trick at a time.

    The first rung is the model with every trick undone; the last is the model itself in the scenario's formats. Each factor between
    rungs is exact, so that they multiply to the whole.
    """
    formats = [("format of the state", {"kv_format": PLAIN_FORMAT}), ("format of the weights", {"weight_format": PLAIN_FORMAT})]
    rungs: list[tuple[str, str, ModelSpec, Scenario]] = []
    now, asked = model, scenario
    for name, plain in reversed(formats):
        wide = replace(asked, **plain)  # type: ignore[arg-type]
        was = asked.kv_format if "kv_format" in plain else asked.weight_format
        if was != PLAIN_FORMAT and ledger(now, wide).totals != ledger(now, asked).totals:
            words = "as released" if was == NATIVE else was
            rungs.append((name, f"{words}, instead of {PLAIN_FORMAT}", now, asked))
        asked = wide
    for trick in reversed(MEANINGS):
        undone = _UNDO[trick](now)
        if undone is None:
            continue
        plain_model = _rebuilt(now, undone, f"without {trick}")
        if ledger(now, asked).totals != ledger(plain_model, asked).totals:
            rungs.append((trick, f"without it: {MEANINGS[trick]}", now, asked))
        now = plain_model
    rungs.append(("plain attention", f"every head its own keys and values for every token, in {PLAIN_FORMAT}", now, asked))
    return [Rung(name, meaning, ledger(at, within)) for name, meaning, at, within in reversed(rungs)]


def speeds(rungs: list[Rung], device: Device, count: int, plan: Plan | None) -> list[float]:
    """Tokens per second at most, rung by rung, whether it fits or not."""
    return [answer(rung.ledger, device, count, plan).tokens_per_second for rung in rungs]


def factor(now: int, before: int) -> Fraction:
    """How many times one rung's figure is another's; 1 where both are nothing."""
    return Fraction(now, before) if before else Fraction(1)
