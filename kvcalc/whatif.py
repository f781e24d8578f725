"""The same model without its tricks: one at a time, or all of them as a ladder from plain multi-head attention to the model as shipped.

A kind says itself how it looks without a trick (`Attention.without`); what is no matter of one layer stands here: sharing, head
budgets, linear layers, per-layer embeddings, hyper-connections, formats.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from kvcalc.change import validated
from kvcalc.errors import ScenarioError, did_you_mean
from kvcalc.hardware import Device
from kvcalc.kind import Site
from kvcalc.ledger import Ledger, Totals, ledger, total
from kvcalc.parallel import Plan
from kvcalc.roofline import answer
from kvcalc.scenario import NATIVE, Scenario
from kvcalc.slots import Fixed
from kvcalc.spec import ModelSpec

MEANINGS = {
    "gqa": "as many KV heads as query heads",
    "low-rank-projections": "full query and output matrices, instead of two narrow ones through a latent",
    "latent": "keys and values of every head, each as wide as it is computed, instead of one latent for all heads",
    "key-is-value": "a value of its own beside each key, instead of the key's",
    "window": "every token kept and read, instead of the last ones or those of a chunk",
    "compression": "attention of full width to the tokens themselves, instead of what was compressed of them; a window and an indexer "
    "beside compressed entries go with these",
    "linear-attention": "the model's own full attention in the layers that keep a state of fixed size",
    "indexer": "all entries read, instead of the few that an indexer chooses; no index keys",
    "kv-sharing": "every layer keeps its own keys and values, and a prompt runs through all layers",
    "head-budget": "as many query heads in every layer as in the one that has most",
    "per-layer-embeddings": "no table of embeddings for each layer",
    "hyper-connections": "one residual stream, instead of several that are mixed",
}
"""What the model looks like without each trick, in the order in which the ladder adds them."""
COSTS = ("indexer", "per-layer-embeddings", "hyper-connections")
"""Tricks that take bytes rather than save them: an indexer keeps index keys, the others buy quality."""
PLAIN_FORMAT = "bf16"


def tricks(model: ModelSpec) -> dict[str, str]:
    """The tricks that a model uses, each with what it looks like without, and in how many of its layers."""
    return {name: _words(model, name, undone) for name, undone in _undone(model)}


def without(model: ModelSpec, *names: str) -> ModelSpec:
    """The model without some of its tricks, undone in the ladder's order. Rows and tensors that the release has not are in bf16.

    Raises:
        ScenarioError: no such trick, or not one of this model's; it lists those it uses.
    """
    for name in names:
        if name not in MEANINGS:
            raise ScenarioError(f"unknown trick {name!r}", did_you_mean(name, MEANINGS) or f"known: {', '.join(MEANINGS)}")
    now = model
    for name in reversed(MEANINGS):
        if name in names:
            data = _UNDO[name](now)
            if data is None:
                raise ScenarioError(f"{model.id} does not use {name}", _hint(now, name))
            now = _rebuilt(now, data, f"without {name}")
    return now


def said(model: ModelSpec, names: Iterable[str]) -> list[str]:
    """Each trick that is undone, in the order in which it is, and what that means for this model."""
    meanings = MEANINGS | tricks(model)
    return [f"without {name}: {meanings[name]}" for name in reversed(MEANINGS) if name in names]


def _undone(model: ModelSpec) -> Iterable[tuple[str, ModelSpec]]:
    for name in MEANINGS:
        data = _UNDO[name](model)
        if data is not None:
            yield name, _rebuilt(model, data, f"without {name}")


def _words(model: ModelSpec, name: str, undone: ModelSpec) -> str:
    pairs = zip(model.plan, undone.plan, strict=True)
    touched = sum(
        model.attention[was.attention] != undone.attention[now.attention] or was.reuses != now.reuses for was, now in pairs
    )
    layers = model.num_hidden_layers
    return MEANINGS[name] + (f" (in {touched:,} of {layers:,} layers)" if 0 < touched < layers else "")


def _hint(model: ModelSpec, name: str) -> str:
    """Its tricks; or the one that must go first."""
    used = list(tricks(model))
    for first in reversed(used):
        if _UNDO[name](without(model, first)) is not None:
            return f"{name} can go only together with {first}: --without {first} --without {name}"
    return f"its tricks: {', '.join(used) or 'none that kvcalc can undo'}"


@dataclass(frozen=True)
class Change:
    """A model before and after: two ledgers, and what was changed in words."""

    before: Ledger
    after: Ledger
    words: tuple[str, ...] = ()

    @property
    def totals(self) -> tuple[Totals, Totals]:
        return self.before.totals, self.after.totals

    def by(self, key: str) -> dict[str, tuple[Totals, Totals]]:
        """Before and after by piece, kind, row, group, format or math; what one side has not counts as nothing there."""
        was, now = self.before.by(key), self.after.by(key)
        return {name: (total(was.get(name, ())), total(now.get(name, ()))) for name in dict.fromkeys([*was, *now])}


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
        if not any(trick in found for found in plain.values()):
            return None
        data = _data(model)
        for name, found in plain.items():
            if trick in found:
                data["attention"][name] = found[trick]
        if trick in ("compression", "latent"):
            _unshare(data)
        return data

    return undo


def _unshare(data: dict[str, Any]) -> None:
    """No layer reads another's rows. A prompt then runs through all layers: a replay for its last tokens rests on shared rows."""
    for group in data["layers"]:
        group["reuse"], group["replay"] = {}, None


def _without_sharing(model: ModelSpec) -> dict[str, Any] | None:
    if not any(layer.reuses is not None for layer in model.plan):
        return None
    data = _by_layer("kv-sharing")(model) or _data(model)
    _unshare(data)
    return data


def _without_head_budget(model: ModelSpec) -> dict[str, Any] | None:
    parts = {layer.attention: model.attention[layer.attention] for layer in model.plan}
    heads = {name: part.num_attention_heads for name, part in parts.items() if hasattr(part, "num_attention_heads")}
    if len(set(heads.values())) < 2:
        return None
    data, most = _data(model), max(heads.values())
    for name, count in heads.items():
        fields = data["attention"][name]
        fields["num_attention_heads"] = most
        if fields.get("num_key_value_heads") == count:  # a key and value for every head, and so for the new ones
            fields["num_key_value_heads"] = most
    return data


def _without_linear(model: ModelSpec) -> dict[str, Any] | None:
    laws = {layer.attention: [row.held for row in model.attention[layer.attention].rows(_site(model))] for layer in model.plan}
    fixed = {name for name, held in laws.items() if held and all(isinstance(law, Fixed) for law in held)}
    growing = [name for name, held in laws.items() if held and name not in fixed]
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
    data = _data(model) | {"residual": {"kind": "plain"}}
    for table in data["embedding"].values():
        if isinstance(table, dict) and "hc_mult" in table:
            table["hc_mult"] = 1
    return data


BY_LAYER = ("gqa", "low-rank-projections", "latent", "key-is-value", "window", "compression", "indexer")
_UNDO: dict[str, Callable[[ModelSpec], dict[str, Any] | None]] = {
    **{trick: _by_layer(trick) for trick in BY_LAYER},
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
    def model(self) -> ModelSpec:
        return self.ledger.model

    @property
    def scenario(self) -> Scenario:
        return self.ledger.scenario

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
    rungs: list[Rung] = []
    at = ledger(model, scenario)
    in_16_bits = ledger(model, replace(scenario, weight_format=PLAIN_FORMAT))
    if in_16_bits.totals != at.totals:  # else they stay as released: a device may run fp16 alone
        rungs.append(Rung("weight format", _instead_of_plain(scenario.weight_format), at))
        at = in_16_bits
    in_16_bits = ledger(model, replace(at.scenario, kv_format=PLAIN_FORMAT))
    if in_16_bits.totals != at.totals:
        rungs.append(Rung("state format", _instead_of_plain(scenario.kv_format), at))
    at = in_16_bits
    for trick in reversed(MEANINGS):
        undone = _UNDO[trick](at.model)
        if undone is None:
            continue
        plain = ledger(_rebuilt(at.model, undone, f"without {trick}"), at.scenario)
        if plain.totals != at.totals:
            rungs.append(Rung(trick, f"without it: {MEANINGS[trick]}", at))
        at = plain
    first = Rung("plain attention", f"every head its own keys and values for every token, in {PLAIN_FORMAT}", at)
    return [first, *reversed(rungs)]


def _instead_of_plain(name: str) -> str:
    return f"{'as released' if name == NATIVE else name}; without it: {PLAIN_FORMAT}"


def speeds(rungs: Sequence[Rung], device: Device, count: int, plan: Plan | None) -> list[float]:
    """Tokens per second at most, rung by rung, whether it fits or not."""
    return [answer(rung.ledger, device, count, plan).tokens_per_second for rung in rungs]


def factor(now: int, before: int) -> Fraction:
    """How many times one rung's figure is another's; 1 where both are nothing."""
    return Fraction(now, before) if before else Fraction(1)
