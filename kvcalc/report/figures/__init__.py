"""Figures for articles, one file each; the only importer of matplotlib. A figure is a table of data and a way to draw it.

A file of this package whose name has no underscore is a figure: `kvcalc plot NAME`. It has

    ABOUT                a line that says what the figure answers
    drawing(request)     its data as a neutral table (what --csv prints), how to draw that table, and what its caption says

What is drawn is read from the table, so that the figure cannot show another number than the data. Sizes, colours, labels and files
stand in `_style`, `_labels` and `_save`. No pyplot: nothing global is left behind, and the same input gives the same bytes.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kvcalc.errors import ScenarioError, UnknownName, did_you_mean
from kvcalc.hardware import Device
from kvcalc.parallel import Plan
from kvcalc.report.table import Table
from kvcalc.scenario import Scenario
from kvcalc.spec import ModelSpec

if TYPE_CHECKING:
    from kvcalc.report.figures._style import Canvas

LEAST_CONTEXT = 1 << 10
MOST_LINES = 12


@dataclass(frozen=True)
class Rig:
    """Devices of one kind, and the plan if one was asked."""

    device: Device
    count: int = 1
    plan: Plan | None = None

    @property
    def name(self) -> str:
        """2 x h100-sxm-80gb."""
        return f"{self.count} x {self.device.id}" if self.count > 1 else self.device.id


@dataclass(frozen=True)
class Request:
    """What a figure is asked to show.

    Args:
        models: at least one.
        scenario: context, batch and formats; a figure that has one of them as its axis ignores it.
        contexts: the axis of contexts, ascending; empty: from 1K to the longest that a model takes.
        rigs: devices, for capacity lines, roofs and times.
        options: what only some figures take, by name (`with_weights`, `trick` ...), as text.
    """

    models: tuple[ModelSpec, ...]
    scenario: Scenario = field(default_factory=Scenario)
    contexts: tuple[int, ...] = ()
    rigs: tuple[Rig, ...] = ()
    options: tuple[tuple[str, str], ...] = ()

    read: set[str] = field(default_factory=set, compare=False, repr=False)
    """The options that the figure has asked for."""

    def option(self, name: str) -> str | None:
        """The value of an option; None if it was not given."""
        self.read.add(name)
        return dict(self.options).get(name)

    def contexts_of(self, model: ModelSpec) -> tuple[int, ...]:
        """The axis as far as a model goes: as asked, or powers of two and their halfway points."""
        if self.contexts:
            chosen = [t for t in self.contexts if t <= model.max_context]
        else:
            powers = [LEAST_CONTEXT << power for power in range(model.max_context.bit_length())]
            chosen = sorted({t for power in powers for t in (power, power + power // 2) if t <= model.max_context} | {model.max_context})
        if not chosen:
            raise ScenarioError(f"{model.id} goes to {model.max_context:,} tokens, less than every context that was asked")
        return tuple(chosen)


@dataclass(frozen=True)
class Drawing:
    """A figure before it has a size: data, how to draw it, and its caption.

    Args:
        title: what it shows, in a line.
        table: the data; every mark on the figure is a cell of it.
        draw: draws the table on a canvas.
        says: sentences of the caption: conventions, caveats, what a hatch or dash means.
        varies: parts of the scenario that are an axis of the figure, so that the caption gives no value of them: context, batch.
        rigs: devices that it shows; None: those of the request.
    """

    title: str
    table: Table
    draw: "Callable[[Canvas], None]"
    says: tuple[str, ...] = ()
    varies: tuple[str, ...] = ()
    rigs: tuple[Rig, ...] | None = None


def names() -> tuple[str, ...]:
    """Every figure."""
    return tuple(sorted(info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_")))


def about(name: str) -> str:
    """What a figure answers."""
    line: str = _module(name).ABOUT
    return line


def drawing(name: str, request: Request) -> Drawing:
    """A figure's data and how to draw it. Raises UnknownName, or ScenarioError for a request that it cannot answer."""
    if len(request.models) > MOST_LINES:
        raise ScenarioError(f"{len(request.models)} models are too many for one figure", f"at most {MOST_LINES}; make several")
    made: Drawing = _module(name).drawing(request)
    for option, _ in request.options:
        if option not in request.read:
            takes = ", ".join(sorted(request.read)) or "none"
            raise ScenarioError(f"the figure {name} has no option {option!r}", f"its options here: {takes}")
    return made


def _module(name: str) -> Any:
    if name not in names():
        raise UnknownName(f"unknown figure {name!r}", did_you_mean(name, names()) or "figures: " + ", ".join(names()))
    return importlib.import_module(f"{__name__}.{name}")
