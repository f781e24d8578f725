"""The same model without its tricks: one at a time, or all of them as a ladder from plain multi-head attention to the model as shipped.

A kind says itself how it looks without a trick (`Attention.without`); what is no matter of one layer stands here: sharing, head
budgets, linear layers, per-layer embeddings, hyper-connections, formats.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, NamedTuple

from pydantic import ValidationError

from kvcalc.change import settled
from kvcalc.errors import PlanError, ScenarioError, SpecError, did_you_mean
from kvcalc.hardware import Device
from kvcalc.kind import Attention, Site
from kvcalc.ledger import Ledger, Totals, ledger, total
from kvcalc.parallel import Plan
from kvcalc.published import Check
from kvcalc.roofline import Answer, answer
from kvcalc.scenario import NATIVE, Scenario
from kvcalc.slots import EVERY, EveryNth, Fixed
from kvcalc.spec import ATTENTION, LayerPlan, ModelSpec

MEANINGS = {
    "gqa": "as many KV heads as query heads",
    "low-rank-projections": "full query matrices (and output matrices, where these are in two parts), instead of narrow ones through a "
    "latent",
    "latent": "keys and values of every head, each as wide as it is computed, instead of one latent for all heads",
    "key-is-value": "a value of its own beside each key, instead of the key's",
    "window": "every token kept and read, instead of the last ones or those of a chunk",
    "compression": "keys and values of every token, instead of entries compressed of several (CSA, HCA: a window and an indexer beside "
    "the entries go with them); or queries, keys and values as wide as the model, instead of narrower ones (CCA: this restores query "
    "heads too)",
    "linear-attention": "the model's own full attention in the layers that keep a state of fixed size",
    "indexer": "all entries read, instead of the few that an indexer chooses; no index keys",
    "index-sharing": "an indexer with index keys of its own in every layer, instead of an earlier layer's choice",
    "kv-sharing": "every layer makes and keeps its own keys and values; where a prompt ran the sharing layers for its last tokens only, "
    "it runs them whole",
    "head-budget": "as many query heads in every layer as in the one that has most; as many KV heads as before, or as these divide",
    "per-layer-embeddings": "no table of embeddings for each layer",
    "hyper-connections": "one residual stream, instead of several that are mixed",
}
"""What a model looks like without each trick, in the order in which the ladder adds them."""
COSTS = ("indexer", "per-layer-embeddings", "hyper-connections")
"""Tricks that take bytes rather than save them: an indexer keeps index keys, the others buy quality."""
PUBLISHED = {"sharing_saves_bytes": "kv-sharing"}
"""Which published figures say what a trick saves."""
PLAIN_FORMAT = "bf16"


class Step(NamedTuple):
    """One trick undone: what that means for this model, and the model without it."""

    name: str
    meaning: str
    model: ModelSpec


def tricks(model: ModelSpec) -> dict[str, str]:
    """The tricks that can be undone in a model as it is, each with what it looks like without, and in how many of its layers."""
    found = ((name, _undone(model, name)) for name in MEANINGS)
    return {name: _words(model, name, after) for name, after in found if after is not None}


def without(model: ModelSpec, *names: str) -> ModelSpec:
    """The model without some of its tricks, undone in the ladder's order. Raises ScenarioError like `steps`."""
    undone = steps(model, *names)
    return undone[-1].model if undone else model


def steps(model: ModelSpec, *names: str) -> list[Step]:
    """Some tricks of a model undone one after the other, in the ladder's order, each on what the ones before it left.

    Rows that the release has not are in bf16, tensors in the format of their piece.

    Raises:
        ScenarioError: no such trick, or not one of this model's: it lists those it uses, or what must go first.
        SpecError: the model cannot be without it.
    """
    for name in names:
        if name not in MEANINGS:
            raise ScenarioError(f"unknown trick {name!r}", did_you_mean(name, MEANINGS) or f"known: {', '.join(MEANINGS)}")
    now, out = model, list[Step]()
    for name in reversed(MEANINGS):
        if name not in names:
            continue
        after = _undo(now, name)
        if after is not None:
            out.append(Step(name, _words(now, name, after), after))
            now = after
        elif name in _present(model) - _present(now):
            taker = next(step.name for step in out if name not in _present(step.model))
            out.append(Step(name, f"gone together with {taker}", now))
        else:
            raise _refusal(model, now, name, names)
    return out


def checks(model: ModelSpec, names: Sequence[str]) -> list[Check]:
    """The published figures of a model that say what some of its tricks save."""
    return [check for check in model.checks if PUBLISHED.get(check.what, "") in names]


def _undo(model: ModelSpec, name: str) -> ModelSpec | None:
    """The model without one trick; None if it does not use it, or not before others are gone. Raises SpecError."""
    data = _UNDO[name](model)
    return None if data is None else _rebuilt(model, data, f"without {name}")


def _undone(model: ModelSpec, name: str) -> ModelSpec | None:
    """The same; None also where no valid model would be left."""
    try:
        return _undo(model, name)
    except SpecError:
        return None


def _rebuilt(model: ModelSpec, data: dict[str, Any], what: str) -> ModelSpec:
    """The changed model without what no longer applies: attention that no layer uses, formats of what is gone, checks."""
    used = {step.split(" ")[-1] for group in data["layers"] + (data["draft"] or {"layers": []})["layers"] for step in group["of"]}
    data["attention"] = {name: part for name, part in data["attention"].items() if name in used}
    return settled(model, data, what)[0]


# -- refusals -----------------------------------------------------------------------------------------------------------------------


def _refusal(model: ModelSpec, now: ModelSpec, name: str, asked: Sequence[str]) -> ScenarioError:
    """It does not use the trick; or the others that must go first, or with it."""
    first, how = _first(now, name), "after"
    if not first and name in _present(now):
        first, how = _goes_with(now, name), "together with"
    if not first:
        used = ", ".join(tricks(model)) or "none that kvcalc can undo"
        return ScenarioError(f"{model.id} does not use {name}", f"its tricks: {used}")
    wanted = " ".join(f"--without {other}" for other in reversed(MEANINGS) if other in {*asked, *first, name})
    return ScenarioError(f"{model.id}: {name} can go only {how} {', '.join(first)}", wanted)


def _first(model: ModelSpec, name: str) -> list[str]:
    """The tricks that must be undone before this one can be, in order: no more of them than it takes to reach all its layers. None of
    them if nothing helps."""
    gone, now = [], model
    for other in reversed(MEANINGS):
        if other == name:
            break
        after = _undone(now, other)
        if after is not None:
            gone.append(other)
            now = after
    most = _reached(now, (), name)
    if most == 0:
        return []
    for other in tuple(gone):
        fewer = [each for each in gone if each != other]
        if _reached(model, fewer, name) == most:
            gone = fewer
    return gone


def _reached(model: ModelSpec, first: Iterable[str], name: str) -> int:
    """In how many layers a trick can be undone, once some others are."""
    now = model
    for other in first:
        now = _undone(now, other) or now
    after = _undone(now, name)
    return 0 if after is None else len(_touched(now, after))


def _goes_with(model: ModelSpec, name: str) -> list[str]:
    """The trick whose undoing takes this one along."""
    return [other for other in MEANINGS if (after := _undone(model, other)) is not None and name not in _present(after)][:1]


def _present(model: ModelSpec) -> set[str]:
    """Of the tricks that may go along with another, those that some layer uses."""
    parts = {layer.attention: model.attention[layer.attention] for layer in model.plan}.values()
    found = {name for part in parts for name in ("window", "indexer") if _has(part, name, _site(model))}
    return found | ({"kv-sharing"} if any(layer.reuses is not None for layer in model.plan) else set())


def _has(part: Attention, name: str, site: Site) -> bool:
    """Whether a part uses a trick: it names it itself, or it has its fields and loses them with another."""
    fields = {"window": ("window", "attention_chunk_size"), "indexer": ("index_topk",)}[name]
    return name in part.without(site) or any(getattr(part, field, None) is not None for field in fields)


# -- words --------------------------------------------------------------------------------------------------------------------------


class _Pair(NamedTuple):
    """One layer that a change touches, before and after."""

    was: LayerPlan
    now: LayerPlan
    old: Attention
    new: Attention


def _touched(model: ModelSpec, after: ModelSpec) -> list[_Pair]:
    pairs = (
        _Pair(was, now, model.attention[was.attention], after.attention[now.attention])
        for was, now in zip(model.plan, after.plan, strict=True)
    )
    return [pair for pair in pairs if pair.old != pair.new or pair.was.reuses != pair.now.reuses]


def _words(model: ModelSpec, name: str, after: ModelSpec) -> str:
    """What undoing a trick means for this model: what comes instead, what goes with it, in how many layers."""
    touched, layers = _touched(model, after), model.num_hidden_layers
    where = f"in {len(touched):,} of {layers:,} layers" if 0 < len(touched) < layers else ""
    if name in _present(after) and (others := _goes_with(after, name)):
        where += f"; in the others it goes with {others[0]}"
    along = list(_along(name, touched, _site(model)))
    listed = f"{', '.join(along[:-1])} and {along[-1]}" if len(along) > 1 else "".join(along)
    runs = name != "kv-sharing" and _replay_ends(touched)
    return (
        _meaning(name, touched)
        + (f"; with it go{'' if len(along) > 1 else 'es'} {listed}" if along else "")
        + (ALL_LAYERS if runs else "")
        + (f" ({where})" if where else "")
    )


ALL_LAYERS = "; a prompt then runs through all layers"


def _replay_ends(touched: Sequence["_Pair"]) -> bool:
    """Some layers ran only a prompt's last tokens, and now run all of it."""
    return any(pair.was.replay is not None and pair.now.replay is None for pair in touched)


def _meaning(name: str, touched: Sequence[_Pair]) -> str:
    """What comes instead, in this model."""
    old = [pair.old for pair in touched]
    if name == "low-rank-projections":
        output = any(getattr(part, "o_groups", None) is not None for part in old)
        of = "query and output matrices, instead of two narrow ones" if output else "query matrices, instead of two narrow ones"
        return f"full {of} through a latent"
    if name == "compression" and any(isinstance(row.held, EveryNth) for part in old for row in part.rows(_ANYWHERE)):
        return "keys of every token, instead of entries compressed of them"
    if name == "compression":
        heads = sorted({(getattr(pair.old, _HEADS), getattr(pair.new, _HEADS)) for pair in touched})
        listed = ", ".join(f"{now} query heads instead of {was}" for was, now in heads)
        return f"queries, keys and values as wide as the model, instead of narrower ones: {listed}"
    if name == "kv-sharing":
        return "every layer makes and keeps its own keys and values" + (ALL_LAYERS if _replay_ends(touched) else "")
    if name == "head-budget":
        kv = sorted({(was, now) for pair in touched if (was := _kv_heads(pair.old)) != (now := _kv_heads(pair.new))})
        more = ", ".join(f"{now} KV heads instead of {was}" for was, now in kv)
        return "as many query heads in every layer as in the one that has most" + (
            f", and {more}, as they divide" if more else ""
        )
    return MEANINGS[name]


def _along(name: str, touched: Sequence[_Pair], site: Site) -> Iterator[str]:
    """Other tricks that the same layers lose with it."""
    for other, what in (("window", "the window"), ("indexer", "the indexer")):
        if other != name and any(_has(pair.old, other, site) and not _has(pair.new, other, site) for pair in touched):
            yield what
    if name != "kv-sharing" and any(pair.was.reuses is not None and pair.now.reuses is None for pair in touched):
        yield "the sharing between layers"


_HEADS = "num_attention_heads"
_ANYWHERE = Site(1, 1, 1)
"""For laws of rows, which depend on no width."""


def _kv_heads(part: Attention) -> int | None:
    return getattr(part, "num_key_value_heads", None)


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


# -- one trick undone: the model's data without it, or None if it does not use it ----------------------------------------------------


def _data(model: ModelSpec) -> dict[str, Any]:
    return model.model_dump()


def _site(model: ModelSpec, *, reuses: bool = False) -> Site:
    return Site(model.hidden_size, model.embedding.vocab_size or 0, model.num_hidden_layers, reuses)


def _by_layer(trick: str) -> Callable[[ModelSpec], dict[str, Any] | None]:
    """A trick that each attention of the model says itself."""

    def undo(model: ModelSpec) -> dict[str, Any] | None:
        plain = {name: part.without(_site(model)) for name, part in model.attention.items()}
        if not any(trick in plain[layer.attention] for layer in model.plan):
            return None
        data = _data(model)
        for name, found in plain.items():
            if trick in found:
                data["attention"][name] = found[trick]
        _unshare_what_is_gone(model, data)
        return data

    return undo


def _unshare_what_is_gone(model: ModelSpec, data: dict[str, Any]) -> None:
    """A layer keeps its own rows where it has none to share any more, or where the layer that it reads keeps no such rows."""
    if not any(layer.reuses is not None for layer in model.plan):
        return
    try:
        parts: dict[str, Attention] = {
            name: ATTENTION[fields["kind"]].model_validate(fields) for name, fields in data["attention"].items()
        }
    except ValidationError:  # said in full where the whole model is validated
        return
    place = 0
    for group, plain in zip(model.layers, data["layers"], strict=True):
        for layer in model.plan[place : place + group.size]:
            if layer.reuses is not None and not _sound(model, parts, layer):
                plain["reuse"].pop(layer.attention, None)
                plain["replay"] = None  # it rests on shared rows
        place += group.size


def _sound(model: ModelSpec, parts: Mapping[str, Attention], layer: LayerPlan) -> bool:
    """Whether the layer that this one reads keeps the rows that it reads."""
    source = parts[model.plan[layer.reuses or 0].attention].rows(_site(model))
    owned = {(row.name, row.elements, row.held) for row in source if row.owned}
    borrowed = [row for row in parts[layer.attention].rows(_site(model, reuses=True)) if not row.owned]
    return bool(borrowed) and all((row.name, row.elements, row.held) in owned for row in borrowed)


def _without_sharing(model: ModelSpec) -> dict[str, Any] | None:
    plain = _by_layer("kv-sharing")(model)
    if plain is None and not any(layer.reuses is not None for layer in model.plan):
        return None
    data = plain or _data(model)
    for group in data["layers"]:
        if group["reuse"]:
            group["reuse"], group["replay"] = {}, None  # a replay for a prompt's last tokens rests on shared rows
    return data


def _without_head_budget(model: ModelSpec) -> dict[str, Any] | None:
    parts = {layer.attention: model.attention[layer.attention] for layer in model.plan}
    heads = {name: int(getattr(part, _HEADS)) for name, part in parts.items() if hasattr(part, _HEADS)}
    if len(set(heads.values())) < 2:
        return None
    data, most = _data(model), max(heads.values())
    for name, count in heads.items():
        fields = data["attention"][name]
        fields[_HEADS] = most
        kv_heads = fields.get("num_key_value_heads")
        if kv_heads is not None:
            fields["num_key_value_heads"] = _kv_heads_of(most, count, kv_heads)
    return data


def _kv_heads_of(most: int, heads: int, kv_heads: int) -> int:
    """KV heads of a layer that gets `most` query heads: one for each where it was so; else as before if that divides; else the same
    query heads to a KV head; else the next number that divides."""
    if kv_heads == heads or most % kv_heads == 0:
        return most if kv_heads == heads else kv_heads
    group = heads // kv_heads
    return most // group if most % group == 0 else next(count for count in range(kv_heads, most + 1) if most % count == 0)


def _without_linear(model: ModelSpec) -> dict[str, Any] | None:
    rows = {layer.attention: list(model.attention[layer.attention].rows(_site(model))) for layer in model.plan}
    laws = {name: [row.held for row in kept] for name, kept in rows.items() if kept}
    fixed = {name for name, held in laws.items() if all(isinstance(law, Fixed) for law in held)}
    linear = fixed | {name for name in laws if any(row.role == "recurrent" for row in rows[name])}
    growing = sorted((name for name in laws if name not in linear), key=lambda name: EVERY not in laws[name])
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
    if getattr(model.embedding, "per_layer", None) is None:
        return None
    data = _data(model)
    data["embedding"]["per_layer"] = None
    return data


def _without_streams(model: ModelSpec) -> dict[str, Any] | None:
    if model.residual.streams_kept == 1:
        return None
    norms = getattr(model.residual, "norms_per_layer", 2)
    data = _data(model) | {"residual": {"kind": "plain", "norms_per_layer": norms}}
    for table in data["embedding"].values():
        if isinstance(table, dict) and "hc_mult" in table:
            table["hc_mult"] = 1
    return data


BY_LAYER = ("gqa", "low-rank-projections", "latent", "key-is-value", "window", "compression", "indexer", "index-sharing")
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
    """One step of the ladder: the model with this trick and all those above it. `meaning`: what it is without the trick; of the first
    rung, what it is."""

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
    stuck = ""
    for trick in reversed(MEANINGS):
        try:
            after = _undo(at.model, trick)
        except SpecError as error:
            stuck += f"; {trick} stays, as it cannot be undone: {error.message}"
            continue
        if after is None:
            continue
        plain = ledger(after, at.scenario)
        if plain.totals != at.totals:
            rungs.append(Rung(trick, _words(at.model, trick, after), at))
        at = plain
    first = Rung("plain attention", f"every head its own keys and values for every token, in {PLAIN_FORMAT}{stuck}", at)
    return [first, *reversed(rungs)]


def _instead_of_plain(name: str) -> str:
    return f"{PLAIN_FORMAT}, instead of {'what is released' if name == NATIVE else name}"


def factor(now: int | float, before: int | float) -> Fraction:
    """How many times one rung's figure is another's, exactly; 1 where both are nothing."""
    return Fraction(now) / Fraction(before) if before else Fraction(1)


# -- on devices ---------------------------------------------------------------------------------------------------------------------


class Standing(NamedTuple):
    """What devices say to one of several ledgers. No answer: it cannot stand on them so; `why` says that, or why its plan is another."""

    answer: Answer | None
    why: str = ""

    @property
    def tokens_per_second(self) -> float | None:
        """At most; None where nothing can be said."""
        return None if self.answer is None or self.answer.edge is None else self.answer.tokens_per_second


def standings(books: Sequence[Ledger], shipped: Ledger, device: Device, count: int, plan: Plan | None) -> list[Standing]:
    """What devices say to a model and to the same model changed, all under one plan: the one asked for, else that of the model as
    shipped. What does not divide so takes its own.

    Raises:
        PlanError, ScenarioError: the model as shipped cannot stand so.
    """
    kept = answer(shipped, device, count, plan)
    return [Standing(kept) if book is shipped else _standing(book, kept) for book in books]


def _standing(book: Ledger, kept: Answer) -> Standing:
    try:
        try:
            return Standing(answer(book, kept.device, kept.count, kept.plan))
        except PlanError as error:
            own = answer(book, kept.device, kept.count)
            return Standing(own, f"plan {own.plan.line}, as {error.message}")
    except (PlanError, ScenarioError) as error:
        return Standing(None, error.message)
