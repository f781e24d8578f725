"""What `explain`, `list` and `check` print: closed forms, rows, tensors, published figures, sources."""

from collections.abc import Mapping, Sequence

from kvcalc import allocator, catalog, verify
from kvcalc.assumptions import Assumptions
from kvcalc.errors import AmbiguousName, UnknownName, did_you_mean
from kvcalc.explain import CONVENTIONS, ClosedForm, flops_form, read_form, state_form
from kvcalc.feedforward.moe import ROUTERS
from kvcalc.formats import ALIASES, FORMATS
from kvcalc.hardware import Device
from kvcalc.kind import Part, documentation, summary
from kvcalc.ledger import Ledger, what_is_known
from kvcalc.report import figures as figures_
from kvcalc.report import whatif
from kvcalc.report.devices import device
from kvcalc.report.table import Cell, Column, Document, Facts, Passage, Table, count_column, text_column
from kvcalc.report.tables import attention_words
from kvcalc.scenario import Scenario
from kvcalc.spec import ATTENTION, EMBEDDING, FEEDFORWARD, RESIDUAL, ModelSpec
from kvcalc.units import significant, tokens

KINDS: dict[str, Mapping[str, type[Part]]] = {
    "attention": ATTENTION,
    "feedforward": FEEDFORWARD,
    "router": ROUTERS,
    "residual": RESIDUAL,
    "embedding": EMBEDDING,
}


def explain(name: str, context: int | None, kv_format: str, *, latex: bool = False) -> Document:
    """The receipt of a model, kind, device or format, or the conventions. Raises UnknownName."""
    if name == "conventions":
        return conventions()
    if name == "whatif":
        return whatif.explained()
    for family, kinds_ in KINDS.items():
        if name in kinds_:
            return kind(family, name)
    if name.lower().replace(".", "-") in allocator.names():
        return engine(name)
    if name in FORMATS or name in ALIASES:
        return format_(ALIASES.get(name, name))
    if name.endswith((".yaml", ".yml")):
        part = catalog.check_file(name)
        if isinstance(part, Device):
            return device(part)
        if isinstance(part, ModelSpec):
            return model(part, context, kv_format, latex=latex)
    published = row(name) if name[:2].isalpha() and name[2:].isdecimal() else None
    if published is not None:
        return published
    try:
        spec = catalog.load_model(name)
    except AmbiguousName:
        raise
    except UnknownName as unknown:
        try:
            return device(catalog.load_device(name))
        except AmbiguousName:
            raise
        except UnknownName:
            known = [
                *(key for group in KINDS.values() for key in group),
                *FORMATS,
                *allocator.names(),
                *catalog.model_ids(),
                *catalog.device_ids(),
                "conventions",
                "whatif",
            ]
            raise UnknownName(f"nothing is named {name[:80]!r}", did_you_mean(name, known) or unknown.hint) from None
    return model(spec, context, kv_format, latex=latex)


# -- a model ------------------------------------------------------------------------------------------------------------------------


def model(spec: ModelSpec, context: int | None, kv_format: str, *, latex: bool = False) -> Document:
    """Closed forms, rows, tensors, published figures, sources and caveats of one model."""
    t = context or min(131072, spec.max_context)
    book = what_is_known(spec, Scenario(context=t, kv_format=kv_format))
    forms = [state_form(spec, book.scenario.kv_format), read_form(spec, book.scenario.kv_format)]
    forms += [] if spec.unknown else [flops_form(spec)]
    parts: list[Passage] = [
        f"{spec.num_hidden_layers} layers: {attention_words(spec)}; hidden size {spec.hidden_size:,}; "
        f"released {spec.released or '(date not known)'}; up to {tokens(spec.max_context)} tokens",
        "One sequence, one decode step, t tokens of context, state in " + book.scenario.kv_format + " format:",
        _latex_forms(forms, t) if latex else _forms(forms, t),
        _rows(book),
        *([] if spec.unknown else [_tensors(book)]),
    ]
    published = figures([spec])
    if published.rows:
        parts.append(published)
    parts.append("sources\n" + "\n".join(f"  {key}: {value}" for key, value in spec.sources.items()))
    return Document(f"{spec.name} ({spec.id})", tuple(parts), (*book.notes, *spec.caveats))


def _forms(forms: Sequence[ClosedForm], t: int) -> str:
    said = (f"{form.name}(t) = {form.text} {form.unit}\n{form.name}({t:,}) = {form.numbers(t)} {form.unit}" for form in forms)
    return "\n".join(said)


def _latex_forms(forms: Sequence[ClosedForm], t: int) -> str:
    said = (
        f"\\[ \\text{{{form.name}}}(t) = {form.latex}\\ \\text{{{form.unit}}}, \\qquad \\text{{{form.name}}}({t}) = {form.at(t)} \\]"
        for form in forms
    )
    return "\n".join(said)


def _rows(book: Ledger) -> Table:
    """Every row of state: elements x slots x layers x bytes."""
    laws = {(block.label, row.name): row for block in book.model.blocks for row in block.rows}
    rows: list[dict[str, Cell]] = []
    for entry in book.entries:
        row = laws.get((entry.group, entry.name)) if entry.role else None
        if row is None:
            continue
        rows.append(
            {
                "group": entry.group,
                "row": entry.name,
                "role": entry.role,
                "layers": entry.layers,
                "elements": row.elements,
                "slots": f"{row.held.text}" if row.owned else "(none)",
                "read": row.read.text,
                "format": entry.format,
                "bytes": entry.state_bytes,
            }
        )
    columns = (
        text_column("group", "layers"),
        text_column("row", "row"),
        text_column("role", "role"),
        count_column("layers", "number"),
        count_column("elements", "elements"),
        text_column("slots", "slots kept"),
        text_column("read", "slots read"),
        text_column("format", "format"),
        count_column("bytes", "bytes"),
    )
    foot: dict[str, Cell] = {
        "group": "total",
        "row": "",
        "role": "",
        "slots": "",
        "read": "",
        "format": "",
        "bytes": book.totals.state_bytes,
    }
    return Table(columns, tuple(rows), (foot,), title=f"state at t = {book.scenario.context:,}, one sequence")


def _tensors(book: Ledger) -> Table:
    """Every tensor: shape, copies, parameters, format, bytes."""
    rows: list[dict[str, Cell]] = []
    for block in book.model.blocks:
        for weight in block.weights:
            entries = [
                e
                for e in book.entries
                if (e.group, e.name, e.piece, e.layers) == (block.label, weight.name, weight.piece, block.layers) and not e.role
            ]
            copies = f" x {weight.copies:,}" if weight.copies > 1 else ""
            chosen = f" ({weight.chosen:,} used)" if weight.chosen is not None and weight.chosen != weight.copies else ""
            rows.append(
                {
                    "piece": weight.piece,
                    "group": block.label,
                    "tensor": weight.name,
                    "layers": block.layers,
                    "shape": f"{weight.shape[0]:,} x {weight.shape[1]:,}{copies}{chosen}",
                    "parameters": sum(entry.parameters for entry in entries),
                    "format": ", ".join(entry.format for entry in entries),
                    "bytes": sum(entry.weight_bytes for entry in entries),
                }
            )
    columns = (
        text_column("piece", "piece"),
        text_column("group", "layers"),
        text_column("tensor", "tensor"),
        count_column("layers", "number"),
        text_column("shape", "shape"),
        count_column("parameters", "parameters"),
        text_column("format", "format"),
        count_column("bytes", "bytes"),
    )
    sums = book.totals
    foot: dict[str, Cell] = {
        "piece": "total",
        "group": "",
        "tensor": "",
        "shape": "",
        "format": "",
        "parameters": sums.parameters,
        "bytes": sums.weight_bytes,
    }
    return Table(columns, tuple(rows), (foot,), title="tensors")


def figures(specs: Sequence[ModelSpec]) -> Table:
    """Published figures against the formulas, each under its own convention."""
    rows: list[dict[str, Cell]] = []
    for spec in specs:
        for verdict in verify.verify(spec, catalog.load_model):
            check = verdict.check
            unit = f" {check.unit}" if check.unit else ""
            rows.append(
                {
                    "what": check.what.replace("_", " ") + (f" at {tokens(check.context)}" if check.context else ""),
                    "published": f"{check.equals}{unit}",
                    "computed": f"{significant(verdict.computed, 5)}{unit}",
                    "verdict": "agrees" if verdict.agrees else "differs",
                    "convention": check.convention + (f" ({check.because})" if check.because else ""),
                    "source": check.source,
                }
            )
    columns = (
        text_column("what", "figure"),
        Column("published", "published"),
        Column("computed", "computed"),
        text_column("verdict", "verdict"),
        text_column("convention", "convention"),
        text_column("source", "source"),
    )
    return Table(columns, tuple(rows), title="published figures", stacked=4)


def checked(files: Sequence[tuple[str, ModelSpec | Device | Assumptions]]) -> tuple[Table, bool]:
    """Valid files with their published figures counted; and whether every figure came out as its spec says."""
    rows: list[dict[str, Cell]] = []
    all_as_said = True
    for file, part in files:
        what = "assumptions" if isinstance(part, Assumptions) else f"{_sort(part)} {part.id}"
        verdicts = verify.verify(part, catalog.load_model) if isinstance(part, ModelSpec) else []
        off = [verdict for verdict in verdicts if not verdict.as_said]
        all_as_said = all_as_said and not off
        said = (
            f"{len(verdicts)} figures as said"
            if not off
            else "; ".join(f"{v.check.what} {v.check.equals} {v.check.unit}: computed {significant(v.computed, 5)}" for v in off)
        )
        rows.append({"file": file, "what": what, "figures": said if verdicts else ""})
    return Table(
        (text_column("file", "file"), text_column("what", "valid"), text_column("figures", "published figures")), tuple(rows)
    ), all_as_said


def _sort(part: ModelSpec | Device) -> str:
    return "model" if isinstance(part, ModelSpec) else "device"


def row(name: str) -> Document | None:
    """One published figure of the evidence, whole: every field, what comes out, by which rule. None if there is no such row."""
    from kvcalc import evidence, judge

    figure = next((figure for figure in evidence.figures() if figure.id.lower() == name.lower()), None)
    if figure is None:
        return None
    judged = judge.judge(figure, catalog.load_model, catalog.load_device)
    told = [(key, str(value)) for key, value in figure.model_dump().items() if value not in (None, "", {}) and key not in ("id", "source")]
    verdict = [
        ("computed", judged.computed or "-"),
        ("verdict", judged.word),
        *([("of the bound", significant(judged.ratio))] if judged.ratio is not None else []),
        *([("reason", judged.reason)] if judged.reason else []),
        ("source", figure.source),
    ]
    return Document(f"published figure {figure.id}", (Facts(tuple(told)), Facts(tuple(verdict))))


# -- kinds, formats, devices, conventions -------------------------------------------------------------------------------------------


HEADING_WIDTH = 10
"""Columns that a heading takes in a kind's docstring."""


def kind(family: str, name: str) -> Document:
    """The file's own words, its fields, and the models that use it."""
    cls = KINDS[family][name]
    fields: tuple[dict[str, Cell], ...] = tuple(
        {"field": key, "default": "required" if field.is_required() else str(field.default), "meaning": field.description or ""}
        for key, field in cls.model_fields.items()
        if key != "kind"
    )
    columns = (text_column("field", "field"), text_column("default", "default"), text_column("meaning", "meaning"))
    return Document(
        f"{family} kind {name}", (summary(cls), _headings(documentation(cls)), Table(columns, fields, title="fields in a spec"))
    )


def _headings(words: str) -> Table:
    """Keeps, Formula, Worked ... of a kind's docstring, a row each."""
    rows: list[dict[str, Cell]] = []
    for line in words.strip().split("\n")[2:]:
        word, text = line[:HEADING_WIDTH].strip(), line[HEADING_WIDTH:].strip()
        if word:
            rows.append({"word": word, "text": text})
        else:
            rows[-1]["text"] = f"{rows[-1]['text']} {text}"
    return Table((text_column("word", "heading"), text_column("text", "what it says")), tuple(rows))


def kinds(family: str) -> Table:
    """The kinds of one family."""
    rows: tuple[dict[str, Cell], ...] = tuple({"kind": name, "about": summary(cls)} for name, cls in KINDS[family].items())
    return Table((text_column("kind", "kind"), text_column("about", "about")), rows, notes=("more: kvcalc explain KIND",))


def families() -> Table:
    """The families whose config.json can be imported."""
    from kvcalc.importers.model import families as known_families

    rows: tuple[dict[str, Cell], ...] = tuple(
        {"family": name, "types": ", ".join(types), "about": about} for name, types, about in known_families()
    )
    columns = (text_column("family", "family"), text_column("types", "model types"), text_column("about", "about"))
    return Table(columns, rows, notes=("a family is one file: docs/import.md",), stacked=2)


def engine(name: str) -> Document:
    """An allocator: what it reserves, by its own words, and its settings."""
    cls = allocator.engine(name)
    fields: tuple[dict[str, Cell], ...] = tuple(
        {"field": key, "default": str(default), "meaning": meaning} for key, (default, meaning) in allocator.settings(cls).items()
    )
    columns = (text_column("field", "setting"), text_column("default", "default"), text_column("meaning", "meaning"))
    parts: tuple[Passage, ...] = (allocator.summary(cls), _headings(allocator.documentation(cls)))
    return Document(f"allocator {name}", parts + ((Table(columns, fields, title="settings"),) if fields else ()))


def allocators() -> Table:
    """The engines whose reservations are known."""
    rows: list[dict[str, Cell]] = []
    for name in allocator.names():
        cls = allocator.engine(name)
        rows.append({"allocator": name, "about": allocator.summary(cls), "settings": ", ".join(allocator.settings(cls)) or None})
    columns = (text_column("allocator", "allocator"), text_column("about", "about"), text_column("settings", "settings"))
    return Table(columns, tuple(rows), notes=("more: kvcalc explain ALLOCATOR",))


def formats() -> Table:
    """The storage formats."""
    rows: tuple[dict[str, Cell], ...] = tuple(
        {"format": f.name, "bits": f.bits_per_element, "about": f.about} for f in FORMATS.values()
    )
    return Table((text_column("format", "format"), Column("bits", "bits/element"), text_column("about", "about")), rows)


def format_(name: str) -> Document:
    """One storage format."""
    stored = FORMATS[name]
    block = (
        "none" if stored.block is None else f"{stored.block[0]} x {stored.block[1]} elements, {stored.scale_bytes} bytes of scale"
    )
    lines = [
        f"bits of an element  {stored.bits}",
        f"block               {block}",
        f"with scales         {stored.bits_per_element} bits per element",
        f"products run in     {stored.math}",
        f"source              {stored.source or 'plain arithmetic'}",
    ]
    return Document(f"format {name}: {stored.about}", ("\n".join(lines),))


def drawings() -> Table:
    """The figures that `plot` draws."""
    rows: tuple[dict[str, Cell], ...] = tuple({"figure": name, "about": figures_.about(name)} for name in figures_.names())
    columns = (text_column("figure", "figure"), text_column("about", "what it shows"))
    return Table(columns, rows, notes=("kvcalc plot FIGURE MODEL... -o FILE",))


def conventions() -> Document:
    """What every number means."""
    rows: tuple[dict[str, Cell], ...] = tuple({"word": word, "meaning": meaning} for word, meaning in CONVENTIONS)
    return Document("Conventions", (Table((text_column("word", "word"), text_column("meaning", "meaning")), rows),))
