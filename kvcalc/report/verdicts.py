"""What `verify` prints: every published figure against the formulas, with verdict, reason and source; and the count of it all."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from kvcalc.errors import SpecError
from kvcalc.evidence import ENERGIES, LIMITS, SPEEDS, place
from kvcalc.judge import Judged
from kvcalc.report.table import Cell, Column, Document, Table, count_column, text_column
from kvcalc.spec import ModelSpec
from kvcalc.units import significant
from kvcalc.verify import LoadModel, Verdict, verify

SHOWN = ("agrees", "differs", "unjudged", "wrong")


@dataclass(frozen=True, slots=True)
class Line:
    """One figure, wherever it comes from, ready to be printed."""

    id: str
    category: str
    model: str
    what: str
    published: str
    computed: str
    difference: str
    verdict: str
    reason: str
    source: str
    as_said: bool
    kind: Literal["size", "speed", "energy", "limit"] = "size"
    """A size or count must come out; the others can only be held against bounds."""


def of_spec(model: ModelSpec, load: LoadModel) -> Iterable[Line]:
    """The checks that stand in a spec."""
    for number, verdict in enumerate(verify(model, load)):
        check = verdict.check
        yield Line(
            f"{model.id}.{number}",
            "spec",
            model.id,
            check.what.replace("_", " "),
            f"{check.equals} {check.unit}".strip(),
            f"{_computed(verdict)} {check.unit}".strip(),
            _difference(verdict),
            "agrees" if verdict.agrees else "differs",
            check.because or "" if not verdict.agrees else check.convention,
            check.source,
            verdict.as_said,
        )


def _computed(verdict: Verdict) -> str:
    return significant(verdict.computed, 5) + ("" if verdict.upto is None else f" to {significant(verdict.upto, 5)}")


def _difference(verdict: Verdict) -> str:
    if verdict.upto is not None:
        return ""
    return _apart(float(verdict.computed), float(verdict.check.equals))


def _apart(ours: float, published: float) -> str:
    return f"{100 * (ours / published - 1):+.2f} %" if published else ""


def of_evidence(judged: Judged) -> Line:
    """A row of the evidence."""
    figure = judged.figure
    if judged.ratio is not None:
        difference = f"{significant(judged.ratio)} of the bound"
    elif judged.computed and figure.unit in judged.computed and " to " not in judged.computed and "=" not in judged.computed:
        difference = _apart(float(judged.computed.split(" ")[0].replace(",", "")), float(figure.published))
    else:
        difference = ""
    return Line(
        figure.id,
        figure.category,
        figure.model or figure.model_name,
        figure.what.replace("_", " ") if figure.what != "other" else figure.category,
        f"{figure.published} {figure.unit}",
        judged.computed,
        difference,
        judged.word,
        judged.reason or figure.rule or "",
        figure.source,
        judged.as_said,
        _kind(figure.what),
    )


def _kind(what: str) -> Literal["size", "speed", "energy", "limit"]:
    return "speed" if what in SPEEDS else "energy" if what in ENERGIES else "limit" if what in LIMITS else "size"


def verdicts(lines: Sequence[Line], only: str | None) -> tuple[Document, bool]:
    """The table and the count; and whether every figure came out as the data says."""
    shown = [line for line in lines if only is None or _is(line, only)]
    rows: list[dict[str, Cell]] = [
        {
            "id": line.id,
            "model": line.model,
            "what": line.what,
            "published": line.published,
            "computed": line.computed or None,
            "difference": line.difference or None,
            "verdict": line.verdict + ("" if line.as_said else " (not as the data says)"),
            "reason": line.reason,
            "source": line.source,
        }
        for line in shown
    ]
    keys = ("id", "model", "what", "published", "computed", "difference", "verdict", "reason", "source")
    table = Table(tuple(text_column(key, key) for key in keys), tuple(rows), stacked=7)
    return Document("published figures against the formulas", (table, _count(lines), _sentence(lines))), all(
        line.as_said for line in lines
    )


def _is(line: Line, only: str) -> bool:
    if only == "wrong":
        return not line.as_said
    return line.verdict == {"unjudged": "cannot judge"}.get(only, only)


def _count(lines: Sequence[Line]) -> Table:
    categories = dict.fromkeys(line.category for line in lines)
    rows = [_counted(name, [line for line in lines if line.category == name]) for name in categories]
    columns: tuple[Column, ...] = (
        text_column("category", "category"),
        count_column("figures", "figures"),
        count_column("agree", "agree"),
        count_column("differ", "differ, as said"),
        count_column("unjudged", "cannot be judged"),
        count_column("wrong", "not as said"),
    )
    return Table(columns, tuple(rows), (_counted("all", lines),))


def _counted(name: str, lines: Sequence[Line]) -> dict[str, Cell]:
    return {
        "category": name,
        "figures": len(lines),
        "agree": sum(line.verdict == "agrees" and line.as_said for line in lines),
        "differ": sum(line.verdict == "differs" and line.as_said for line in lines),
        "unjudged": sum(line.verdict == "cannot judge" and line.as_said for line in lines),
        "wrong": sum(not line.as_said for line in lines),
    }


def _sentence(lines: Sequence[Line]) -> str:
    """Sizes and counts must come out; speeds, energies and the rest only lie within bounds, so that they are counted apart."""
    judged = [line for line in lines if line.verdict != "cannot judge"]
    agreeing = [line for line in judged if line.verdict == "agrees" and line.as_said]

    def of(kind: str) -> str:
        return f"{sum(line.kind == kind for line in agreeing):,} of {sum(line.kind == kind for line in judged):,}"

    return (
        f"{of('size')} sizes and counts agree to the printed digit or the stated tolerance; {of('speed')} speeds lie within their bounds, "
        f"{of('energy')} energies between rest and TDP, {of('limit')} memories and bandwidths within their limits; all from "
        f"{len(sources(agreeing)):,} independent sources; {len(lines) - len(judged):,} figures cannot be judged"
    )


def sources(lines: Iterable[Line]) -> set[str]:
    """Independent places: a repository, a paper, a site. Text without an address counts as itself."""
    return {place(line.source) for line in lines}


def chosen(lines: Sequence[Line], models: Sequence[str], categories: Sequence[str]) -> list[Line]:
    """The lines of some models and categories. Raises SpecError for a category that does not exist."""
    known = dict.fromkeys(line.category for line in lines)
    for category in categories:
        if category not in known:
            raise SpecError(f"no category {category!r}", "categories: " + ", ".join(known))
    return [line for line in lines if (not models or line.model in models) and (not categories or line.category in categories)]
