"""The article in order: an opening, a section for each technique, the other claims, what is left out, and where it comes from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from kvcalc import __version__, catalog
from kvcalc.explain import CONVENTIONS
from kvcalc.hardware import Device
from kvcalc.report import figures
from kvcalc.report.article import numbers, words
from kvcalc.report.article.blocks import (
    Article,
    Block,
    Commands,
    Correction,
    Listing,
    Part,
    Picture,
    Prose,
    Section,
    Sheet,
    Tiles,
)
from kvcalc.report.article.techniques import MODELS, SURVEY, TECHNIQUES, Misreading, Shown, Technique
from kvcalc.report.article.words import Pair, listed, sentence
from kvcalc.report.figures import Request, Rig
from kvcalc.report.table import Cell
from kvcalc.scenario import Scenario
from kvcalc.spec import ModelSpec
from kvcalc.units import tokens

Claims = list[dict[str, Cell]]


@dataclass(frozen=True)
class Asked:
    """What may be chosen: the contexts of the tables, and the devices."""

    contexts: tuple[int, ...]
    rigs: tuple[Rig, ...]


def article(asked: Asked) -> Article:
    """The whole article."""
    models = [catalog.load_model(name) for name in MODELS]
    pairs = {
        technique.key: tuple(words.pair(technique, catalog.load_model(name), asked.contexts) for name in technique.models)
        for technique in TECHNIQUES
    }
    claims, measured = numbers.of_checks(models), numbers.of_measurements(models)
    given: dict[str, Claims] = {technique.key: [] for technique in TECHNIQUES}
    others: Claims = []
    for row in claims:
        taker = next((each for each in TECHNIQUES if row["sort"] in each.claims and row["model"] in each.models), None)
        (others if taker is None else given[taker.key]).append(row)
    notes: dict[str, None] = {}
    sections = []
    for technique in TECHNIQUES:
        section, said = _section(technique, pairs[technique.key], given[technique.key], asked)
        sections.append(section)
        notes.update(dict.fromkeys(said))
    sections.append(_other_claims(others, measured))
    sections.append(_left_out(models, tuple(notes)))
    sections.append(_sources(models, [rig.device for rig in asked.rigs]))
    opening = tuple(_opening(models, pairs, [*claims, *measured], asked))
    line = f"A companion in numbers to a survey of long-context designs: {listed([model.name for model in models])}"
    return Article("What long-context techniques cost", line, opening, tuple(sections))


# -- opening ------------------------------------------------------------------------------------------------------------------------


def _opening(models: Sequence[ModelSpec], pairs: dict[str, tuple[Pair, ...]], claims: Claims, asked: Asked) -> Iterator[Block]:
    title, address = SURVEY
    yield Prose(
        f"[{title}]({address}) describes what is new in the language models of April and May 2026. This is its companion in bytes, FLOPs, "
        f"seconds, joules and dollars: for each technique the mechanism, the closed form, the figures at {_listed_tokens(asked.contexts)} "
        f"tokens, what {len(asked.rigs):,} devices make of it, and every published claim held against the formulas "
        f"({numbers.counted(claims)}). Each paragraph, table and figure is made by kvcalc {__version__} from the specs of the models."
    )
    yield Prose(words.conventions())
    yield Sheet("techniques", numbers.side_by_side([(each, pairs[each.key]) for each in TECHNIQUES], asked.rigs[0]))
    request = Request(tuple(models), rigs=tuple(rig for rig in asked.rigs if rig.device.usable_bytes is not None))
    yield Picture("state", figures.drawing("memory", request), request)


def _listed_tokens(contexts: Sequence[int]) -> str:
    return listed([tokens(context) for context in contexts])


# -- a technique --------------------------------------------------------------------------------------------------------------------


def _section(technique: Technique, pairs: Sequence[Pair], claims: Claims, asked: Asked) -> tuple[Section, tuple[str, ...]]:
    table, notes = numbers.devices(pairs, asked.rigs)
    formulas = [f"`{kind}`: {words.headings(family, kind)['Formula'].rstrip('.')}." for family, kind in technique.kinds]
    parts = [
        Part("", (Tiles(tuple(words.tile(two) for two in pairs)),)),
        Part("Mechanism", tuple(Prose(text) for text in words.mechanism(technique, pairs))),
        Part("Closed form", (*map(Prose, formulas), *(words.forms(two) for two in pairs))),
        Part("Over contexts", tuple(_over(technique, pairs))),
        Part("On hardware", (Sheet(f"{technique.key}-devices", table),)),
    ]
    if technique.misreadings:
        parts.append(Part("Often misread", tuple(_correction(technique, each, pairs[0]) for each in technique.misreadings)))
    parts.append(Part("Published claims", tuple(_claims(technique, claims))))
    parts.append(Part("Make it again", (Commands(tuple(_commands(technique, pairs))),)))
    over = listed([two.model.name for two in pairs])
    return Section(technique.key, technique.name, over, tuple(parts)), notes


def _correction(technique: Technique, misreading: Misreading, two: Pair) -> Correction:
    other = None if misreading.other is None else catalog.load_model(misreading.other)
    return words.correction(misreading, words.numbers(technique, two, other))


def _over(technique: Technique, pairs: Sequence[Pair]) -> Iterator[Block]:
    yield Sheet(f"{technique.key}-contexts", numbers.contexts(pairs))
    for place, shown in enumerate(technique.shown):
        name = technique.key if place == 0 else f"{technique.key}-{shown.figure}"
        yield _picture(name, technique, shown, pairs)
    if technique.against:
        compared = [*(two.model for two in pairs), *map(catalog.load_model, technique.against)]
        context = max(two.context for two in pairs)
        yield Prose(f"At {tokens(context)}, beside what came before:")
        yield Sheet(f"{technique.key}-against", numbers.against(compared, context))


def _picture(name: str, technique: Technique, shown: Shown, pairs: Sequence[Pair]) -> Picture:
    models = [catalog.load_model(each) for each in shown.models] or [two.model for two in pairs]
    if shown.undone:
        models = [each for two in pairs for each in (two.model, two.without)]
    context = max(two.context for two in pairs)
    request = Request(tuple(models), Scenario(context=context), options=shown.options)
    drawing = figures.drawing(shown.figure, request)
    if shown.undone:
        meanings = dict.fromkeys(f"Without: {two.meaning}" for two in pairs)
        drawing = replace(drawing, says=(*drawing.says, *meanings))
    return Picture(name, drawing, request)


def _claims(technique: Technique, claims: Claims) -> Iterator[Block]:
    if not claims:
        yield Prose("Of this technique alone no figure in bytes or FLOPs is published that kvcalc carries.")
        return
    yield Prose(sentence(numbers.counted(claims)))
    yield Sheet(f"{technique.key}-claims", numbers.claims(claims))


def _commands(technique: Technique, pairs: Sequence[Pair]) -> Iterator[str]:
    for two in pairs:
        yield f"kvcalc whatif {two.model.id} --without {technique.trick} -c {tokens(two.context)}"
    for shown in technique.shown:
        if not shown.undone:
            names = " ".join(shown.models or technique.models)
            options = "".join(f" --{name} {value}" for name, value in shown.options)
            at = "" if shown.axis else f" -c {tokens(max(two.context for two in pairs))}"
            yield f"kvcalc plot {shown.figure} {names}{options}{at} -o {shown.figure}.svg"
    yield f"kvcalc estimate {pairs[0].model.id} -c {tokens(pairs[0].context)} --format json"


# -- closing ------------------------------------------------------------------------------------------------------------------------


def _other_claims(others: Claims, measured: Claims) -> Section:
    parts = []
    if others:
        text = Prose(f"Figures of no single technique: {numbers.counted(others)}.")
        parts.append(Part("Models as a whole", (text, Sheet("other-claims", numbers.claims(others)))))
    if measured:
        text = Prose(
            f"What others measured or logged: {numbers.counted(measured)}. A size must come out; a speed must not beat its bound, which is "
            "the computed figure."
        )
        parts.append(Part("Measured", (text, Sheet("measured", numbers.claims(measured)))))
    return Section("other-claims", "The other claims", "Models as a whole, and measurements", tuple(parts))


def _left_out(models: Sequence[ModelSpec], notes: Sequence[str]) -> Section:
    said = dict(CONVENTIONS)
    general = [
        f"**FLOPs**: {said['FLOPs']}.",
        f"**Activations**: {said['activations']}.",
        f"**Memory**: {said['fits']}.",
        f"**Sharing of weights in a batch**: {said['batch']}; here the batch is one.",
    ]
    own = []
    for model in models:
        left = [*model.caveats, *([f"Not counted: {listed(model.optional_pieces)}."] if model.optional_pieces else [])]
        own += [f"**{model.name}**: {' '.join(sentence(each) for each in left)}"] if left else []
    parts = (
        Part("In general", (Listing(tuple(general)),)),
        Part("In each model", (Listing(tuple(own)),)),
        Part("On devices", (Listing(tuple(sentence(note) for note in notes)),)),
    )
    return Section("left-out", "What is left out", "Caveats of the specs and of the devices", parts)


def _sources(models: Sequence[ModelSpec], devices: Sequence[Device]) -> Section:
    of_models = [
        f"**{model.name}**: {listed([f'[{name}]({_address(text)})' for name, text in model.sources.items()])}" for model in models
    ]
    of_devices = []
    for device in devices:
        values = (
            ("memory", device.usable_memory),
            ("bandwidth", device.bandwidth),
            ("power", device.power),
            ("price", device.cloud_price),
        )
        told = [f"{what} {value.value} ({value.source}, {value.date})" for what, value in values if value is not None]
        of_devices.append(f"**{device.name}**: {'; '.join(told)}")
    parts = (Part("Models", (Listing(tuple(of_models)),)), Part("Devices", (Listing(tuple(dict.fromkeys(of_devices))),)))
    return Section("sources", "Sources", "Every value with its place", parts)


def _address(text: str) -> str:
    found = words.ADDRESS.search(text)
    return text if found is None else words.href(found[0])
