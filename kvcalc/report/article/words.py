"""Paragraphs that are made from data: fields of specs, docstrings of kinds, meanings of tricks, sums of the ledger."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from kvcalc.errors import KvcalcError
from kvcalc.explain import CONVENTIONS, flops_form, read_form, state_form
from kvcalc.kind import Part, documentation, kind_of, summary
from kvcalc.ledger import Ledger, ledger, total
from kvcalc.report.article.blocks import Correction, Figure, Forms, Tile
from kvcalc.report.article.techniques import Misreading, Technique
from kvcalc.report.receipts import HEADING_WIDTH, KINDS
from kvcalc.report.tables import attention_words, scaled_count
from kvcalc.scenario import Scenario
from kvcalc.spec import ModelSpec
from kvcalc.units import DIGITS, bytes_text, scaled, times, tokens
from kvcalc.whatif import Change, steps

FOUR_BITS = "q4_k"
"""The format in which people keep weights at home."""


@dataclass(frozen=True)
class Pair:
    """A model as released and the same without a technique, and what undoing it means."""

    model: ModelSpec
    without: ModelSpec
    meaning: str
    contexts: tuple[int, ...]

    @property
    def context(self) -> int:
        """The longest context that is shown."""
        return self.contexts[-1]

    def change(self, context: int | None = None) -> Change:
        """Two ledgers: as released, and without."""
        scenario = Scenario(context=context or self.context)
        return Change(ledger(self.model, scenario), ledger(self.without, scenario))


def pair(technique: Technique, model: ModelSpec, contexts: Sequence[int]) -> Pair:
    """A model with and without a technique. The contexts are those within its reach, or else its longest."""
    (step,) = steps(model, technique.trick)
    bare = step.model.model_copy(update={"id": f"{model.id} without {technique.key}", "name": f"{model.name}, without"})
    return Pair(model, bare, step.meaning, tuple(t for t in contexts if t <= model.max_context) or (model.max_context,))


def ratio(now: int, before: int) -> Fraction:
    """With over without; 1 where both are nothing."""
    return Fraction(now, before) if before else Fraction(1)


def traffic(sums: Any) -> int:
    """Bytes that a step reads and writes."""
    return int(sums.read_bytes + sums.written_bytes)


def sentence(text: str) -> str:
    """With a capital letter and one full stop."""
    return text[:1].upper() + text[1:].rstrip(".") + "."


def apart(text: Callable[[Any, int], str], *values: int) -> list[str]:
    """Values as text: three digits, or as many more as tell them apart where they differ."""
    texts = [[text(value, digits) for value in values] for digits in DIGITS]
    return next((found for found in texts if len(set(found)) == len(set(values))), texts[0])


def listed(names: Sequence[str]) -> str:
    """a, b and c."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


# -- at a glance --------------------------------------------------------------------------------------------------------------------


def tile(two: Pair) -> Tile:
    """State, traffic and work with the technique, instead of without."""
    now, before = two.change().totals
    rows = (
        ("state", now.state_bytes, before.state_bytes, bytes_text),
        ("weights", now.weight_bytes, before.weight_bytes, bytes_text),
        ("traffic of a step", traffic(now), traffic(before), bytes_text),
        ("work of a step", now.flops, before.flops, _work_text),
    )
    figures = []
    for what, one, other, text in rows:
        shown, without = apart(text, one, other)
        figures.append(Figure(what, shown, without, times(ratio(one, other)), ratio(one, other)))
    return Tile(f"{two.model.name} at {tokens(two.context)}", tuple(figures))


def _work_text(value: int, digits: int = 3) -> str:
    return scaled(value, "FLOP", digits)


# -- the mechanism ------------------------------------------------------------------------------------------------------------------


def headings(family: str, kind: str) -> dict[str, str]:
    """Keeps, Formula, Assumes ... of the file that defines a kind."""
    found: dict[str, str] = {}
    word = ""
    for line in documentation(KINDS[family][kind]).strip().split("\n")[2:]:
        word = line[:HEADING_WIDTH].strip() or word
        found[word] = f"{found.get(word, '')} {line[HEADING_WIDTH:].strip()}".strip()
    return found


def mechanism(technique: Technique, pairs: Sequence[Pair]) -> Iterator[str]:
    """What it is, how each model has it, and what the same model would be without."""
    for family, kind in technique.kinds:
        keeps = headings(family, kind)["Keeps"].rstrip(".")
        yield f"{sentence(summary(KINDS[family][kind]))} It keeps {keeps}."
    if not technique.kinds:
        yield sentence(dict(CONVENTIONS)["sharing"])
    for two in pairs:
        yield _layout(technique, two.model)
    meanings = dict.fromkeys(two.meaning for two in pairs)
    whose = [
        "" if len(meanings) == 1 else f"in {listed([two.model.name for two in pairs if two.meaning == each])} "
        for each in meanings
    ]
    said = "; ".join(f"{where}{meaning}" for where, meaning in zip(whose, meanings, strict=True))
    yield f"To see what it does, it is undone: {said}. Everything else stays as it is. {' '.join(map(touched, pairs))}"


def _layout(technique: Technique, model: ModelSpec) -> str:
    layers = f"{model.num_hidden_layers:,} layers, {attention_words(model)}"
    fields = "; ".join(_fields(model, technique.parts))
    shared = f" {_sharing(model)}" if technique.trick == "kv-sharing" else ""
    return f"**{model.name}** ([config]({model.sources['config']})): {layers}.{shared}" + (
        f" {sentence(fields)}" if fields else ""
    )


def _fields(model: ModelSpec, paths: Sequence[str]) -> Iterator[str]:
    """The parts that declare a technique, as the spec says them."""
    for path in paths:
        found: Any = model
        for name in path.split("."):
            found = getattr(found, name)
        named = found if isinstance(found, dict) else {path: found}
        used = {layer.attention for layer in model.plan}
        for name, part in named.items():
            if path != "attention" or name in used:
                yield _said(part) if name == kind_of(part) else f"`{name}` is {_said(part)}"


def _said(part: Part) -> str:
    kind = kind_of(part)
    fields = part.model_dump(exclude_defaults=True, exclude={"kind"})
    said = (
        f"{name} {value:,}" if type(value) is int else name if value is True else f"{name} {value}"
        for name, value in fields.items()
    )
    return f"`{kind}` with {', '.join(said)}"


def _sharing(model: ModelSpec) -> str:
    """Which layers read whose rows."""
    readers = [layer for layer in model.plan if layer.reuses is not None]
    sources: dict[str, int] = {layer.attention: layer.reuses for layer in readers if layer.reuses is not None}
    whose = listed([f"{name} ones read those of layer {source}" for name, source in sources.items()])
    return f"Layers {readers[0].place} to {readers[-1].place} keep no rows: {whose}."


def touched(two: Pair) -> str:
    """Which pieces of the model a technique changes, and how."""
    found = []
    for piece, (now, before) in two.change().by("piece").items():
        rows = (
            ("state", now.state_bytes - before.state_bytes, bytes_text),
            ("weights", now.weight_bytes - before.weight_bytes, bytes_text),
            ("traffic", traffic(now) - traffic(before), bytes_text),
            ("work", now.flops - before.flops, _work_text),
        )
        said = [f"{what} {'+' if more > 0 else '-'}{text(abs(more))}" for what, more, text in rows if more]
        if said:
            found.append(f"`{piece}` ({', '.join(said)})")
    return f"In {two.model.name} at {tokens(two.context)} it changes {listed(found)}; every other piece is the same, to the byte."


# -- closed forms -------------------------------------------------------------------------------------------------------------------


def forms(two: Pair) -> Forms:
    """State, state read and work of a step in t, with the technique and without; what is the same is said once."""
    kv_format = Scenario().kv_format
    lines = []
    for make in (lambda model: state_form(model, kv_format), lambda model: read_form(model, kv_format), flops_form):
        now, before = make(two.model), make(two.without)
        lines.append((f"{now.name}(t)", f"{now.text} {now.unit}"))
        lines.append(("without", f"{before.text} {before.unit}" if before.terms != now.terms else "the same"))
    return Forms(two.model.name, tuple(lines))


# -- misreadings --------------------------------------------------------------------------------------------------------------------


def numbers(technique: Technique, two: Pair, other: ModelSpec | None) -> dict[str, str]:
    """What a text of a misreading may name in braces."""
    model, scenario, change = two.model, Scenario(context=two.context), two.change()
    now, before = change.totals
    piece = total(change.before.by("piece").get(technique.piece, ()))
    kinds = [summary(KINDS[family][kind]) for family, kind in technique.kinds]
    fixed = sum(entry.state_bytes for entry in change.before.state if entry.role not in ("kv", "index"))
    found = {
        "model": model.name,
        "context": tokens(two.context),
        "layers": f"{model.num_hidden_layers:,}",
        "attention": attention_words(model),
        "summary": " ".join(kinds),
        "parameters": scaled_count(now.parameters),
        "active": scaled_count(now.active_parameters),
        "weights": bytes_text(now.weight_bytes),
        "weights_saved": bytes_text(before.weight_bytes - now.weight_bytes),
        "state": bytes_text(now.state_bytes),
        "state_without": bytes_text(before.state_bytes),
        "state_saved": bytes_text(before.state_bytes - now.state_bytes),
        "state_read": bytes_text(_state_read(change.before)),
        "state_read_without": bytes_text(_state_read(change.after)),
        "fixed_state": bytes_text(fixed),
        "traffic_cost": bytes_text(traffic(now) - traffic(before)),
        "work_cost": scaled(now.flops - before.flops, "FLOP"),
        "per_token": bytes_text(change.before.state_bytes_per_token),
        "piece_weights": bytes_text(piece.weight_bytes),
        "piece_read": bytes_text(piece.read_bytes),
        **{name: source for name, source in model.sources.items() if name not in ("attention", "state")},
        **{f"{name}_source": source for name, source in model.sources.items()},
    }
    found["traffic"], found["traffic_without"] = apart(bytes_text, traffic(now), traffic(before))
    found[f"weights_{FOUR_BITS}"] = _weights(model, FOUR_BITS)
    if other is not None:
        found |= {"other": other.name, "other_per_token": bytes_text(ledger(other, scenario).state_bytes_per_token)}
    return found


def _state_read(book: Ledger) -> int:
    return sum(entry.read_bytes for entry in book.entries if entry.role)


def _weights(model: ModelSpec, form: str) -> str:
    try:
        return bytes_text(ledger(model, replace(Scenario(), context=1, weight_format=form)).totals.weight_bytes)
    except KvcalcError:
        return "-"


def correction(misreading: Misreading, found: dict[str, str]) -> Correction:
    """What is said, and what the ledger says."""
    sources = tuple(source.format_map(found) for source in misreading.sources)
    return Correction(misreading.claim, misreading.seen, misreading.fact.format_map(found), sources)


# -- opening ------------------------------------------------------------------------------------------------------------------------


def conventions() -> str:
    """How to read every number, in three sentences."""
    said = dict(CONVENTIONS)
    return " ".join(
        (
            f"Every figure is that of one sequence and one step of decoding at context t ({said['t, the context']}), in the formats of the "
            f"release; K and M are {said['K and M'].split(':')[0]}.",
            f"**State** is {said['state']}.",
            f"A speed is a **bound**: the time of a step is at least {said['lower bound'].split(';')[0]}; joules and dollars are "
            f"{said['energy and money'].split(';')[0]}.",
        )
    )


ADDRESS = re.compile(r"https?://[^\s,;)]+|arXiv:\d{4}\.\d{4,5}|\bhuggingface\.co/[^\s,;)]+")


def href(address: str) -> str:
    """Where an address, or the number of a paper, leads."""
    if address.startswith("arXiv:"):
        return f"https://arxiv.org/abs/{address.removeprefix('arXiv:')}"
    return address if address.startswith("http") else f"https://{address}"
