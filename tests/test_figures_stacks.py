"""Traffic, FLOPs, breakdown and savings: marks equal the ledger, texts fit and touch nothing, files are the same twice."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from kvcalc.catalog import load_model
from kvcalc.errors import KvcalcError, ScenarioError
from kvcalc.ledger import Entry, ledger, total
from kvcalc.report import figures
from kvcalc.report.figures import Request
from kvcalc.report.figures._save import caption, drawn, save
from kvcalc.report.figures._stack import OTHERS, band_colours, bands
from kvcalc.report.figures._style import Style
from kvcalc.scenario import Scenario
from kvcalc.units import GIB
from kvcalc.whatif import without

LISTED = (
    *("gemma-4-e2b", "gemma-4-e4b", "gemma-4-26b-a4b", "zaya1-8b", "zaya1-74b-preview", "deepseek-v4-flash-0731"),
    *("deepseek-v4.1-flash", "llama-3.1-8b", "qwen3-next-80b-a3b", "laguna-xs.2", "step-3.5-flash", "llama-3.1-405b"),
)
TRICKED = (
    *("gemma-4-e2b", "gemma-4-e4b", "gemma-4-26b-a4b", "gemma-4-31b", "zaya1-74b-preview", "mistral-7b-v0.1"),
    *("deepseek-v4.1-flash", "llama-3.1-8b", "qwen3-next-80b-a3b", "gemma-3-27b", "step-3.5-flash", "gpt-oss-120b"),
)
"""These use windows or grouped queries."""
WIDTHS = ("column", "page", "slide")
SOME = (1, 2, 5, 12)
TOUCH = 0.5
"""Boxes of text may overlap by less than this [pixel]."""


def asked(*ids: str, scenario: Scenario | None = None, contexts: tuple[int, ...] = (), **options: str) -> Request:
    return Request(tuple(map(load_model, ids)), scenario or Scenario(), contexts, (), tuple(options.items()))


def figure_of(name: str, request: Request, width: Any = "column", dark: bool = False) -> Figure:
    return drawn(figures.drawing(name, request), Style(width, dark)).figure


def check_texts(figure: Figure) -> None:
    """Every text is on the sheet, none touches another, and no key covers axes."""
    figure.draw_without_rendering()
    sheet: Any = figure.canvas
    renderer = sheet.get_renderer()
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts]
    assert boxes
    for words, box in boxes:
        assert box.x0 >= -TOUCH and box.y0 >= -TOUCH, words
        assert box.x1 <= figure.bbox.x1 + TOUCH and box.y1 <= figure.bbox.y1 + TOUCH, words
    for (one, a), (other, b) in combinations(boxes, 2):
        across, up = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert across <= TOUCH or up <= TOUCH, f"{one!r} touches {other!r}"
    for legend in figure.legends:
        key = legend.get_window_extent(renderer)
        assert not any(key.overlaps(axes.get_window_extent(renderer)) for axes in figure.axes)


# -- texts --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("count", SOME)
@pytest.mark.parametrize("name", ["traffic", "flops", "breakdown", "savings"])
def test_texts_fit_and_touch_nothing(name: str, count: int, width: str) -> None:
    if name == "savings":
        request = asked(*TRICKED[:count], trick="window,gqa")
    else:
        request = asked(*LISTED[:count])
    check_texts(figure_of(name, request, width, dark=count == 2))


@pytest.mark.parametrize("by", ["piece", "row"])
@pytest.mark.parametrize("name", ["traffic", "flops", "breakdown"])
def test_texts_of_many_parts(name: str, by: str) -> None:
    check_texts(figure_of(name, asked("deepseek-v4.1-flash", scenario=Scenario(batch=16), by=by), dark=True))


@pytest.mark.parametrize("name", ["traffic", "flops"])
def test_texts_of_a_prompt(name: str) -> None:
    check_texts(figure_of(name, asked("qwen3-next-80b-a3b", scenario=Scenario("prefill", batch=4))))
    check_texts(figure_of(name, asked(*LISTED[:4], scenario=Scenario("prefill", batch=4))))


# -- marks --------------------------------------------------------------------------------------------------------------------------


def traffic_of(entries: tuple[Entry, ...]) -> int:
    sums = total(entries)
    return sums.read_bytes + sums.written_bytes


def flops_of(entries: tuple[Entry, ...]) -> int:
    return total(entries).flops


SUMS: dict[str, Callable[[tuple[Entry, ...]], int]] = {"traffic": traffic_of, "flops": flops_of}


@pytest.mark.parametrize(
    "scenario", [Scenario(), Scenario(batch=16), Scenario("prefill", batch=3)], ids=["one", "batch", "prompt"]
)
@pytest.mark.parametrize("name", SUMS)
def test_lines_are_the_ledger_per_token(name: str, scenario: Scenario) -> None:
    request = asked("gemma-4-e2b", "deepseek-v4-flash", "gpt2-large", scenario=scenario)
    lines = {str(line.get_label()): line for line in figure_of(name, request).axes[0].lines}
    for model in request.models:
        line = lines[model.id]
        contexts = [int(x) for x in line.get_xdata()]  # type: ignore[union-attr]
        assert set(request.contexts_of(model)) <= set(contexts)
        steps = [replace(scenario, context=context) for context in contexts]
        wanted = [SUMS[name](ledger(model, step).entries) / step.tokens for step in steps]
        assert list(line.get_ydata()) == pytest.approx(wanted, rel=1e-12)  # type: ignore[arg-type]


def stack_of(figure: Figure) -> dict[str, dict[int, tuple[float, float]]]:
    """Foot and top of each band at each context."""
    found = {}
    for collection in figure.axes[0].collections:
        sides: dict[int, list[float]] = {}
        for x, y in collection.get_paths()[0].vertices:
            sides.setdefault(round(x), []).append(float(y))
        found[str(collection.get_label())] = {x: (min(ys), max(ys)) for x, ys in sides.items()}
    return found


@pytest.mark.parametrize("by", ["piece", "kind", "row", "group", "format"])
@pytest.mark.parametrize("name", SUMS)
def test_stacks_are_the_ledger_part_by_part(name: str, by: str) -> None:
    batch = 16
    request = asked("deepseek-v4-flash", scenario=Scenario(batch=batch), contexts=(4096, 32768, 1048576), by=by)
    found = stack_of(figure_of(name, request))
    for context in request.contexts:
        book = ledger(request.models[0], replace(request.scenario, context=context))
        whole = SUMS[name](book.entries) / batch
        edges = sorted(band[context] for band in found.values())
        assert edges[0][0] == 0 and edges[-1][1] == pytest.approx(whole, rel=1e-12)
        assert all(under[1] == pytest.approx(over[0], rel=1e-12) for under, over in pairwise(edges))
        parts = {part or "products": SUMS[name](entries) / batch for part, entries in book.by(by).items()}
        drawn_bands: dict[str, float] = {}
        for label, band in found.items():
            part = label.rpartition(", ")[0]
            drawn_bands[part] = drawn_bands.get(part, 0) + band[context][1] - band[context][0]
        others = drawn_bands.pop(OTHERS, 0.0)
        for part, size in drawn_bands.items():
            assert size == pytest.approx(parts.pop(part), rel=1e-9)
        assert others == pytest.approx(sum(parts.values()), rel=1e-9, abs=whole * 1e-12)


def test_the_hatched_part_of_traffic_is_the_state() -> None:
    request = asked("gemma-4-e2b", contexts=(4096, 131072))
    found = stack_of(figure_of("traffic", request))
    for context in request.contexts:
        entries = ledger(request.models[0], Scenario(context=context)).entries
        hatched = sum(band[context][1] - band[context][0] for label, band in found.items() if label.endswith(", state"))
        assert hatched == pytest.approx(sum(e.read_bytes + e.written_bytes for e in entries if e.role), rel=1e-9)


@pytest.mark.parametrize(("by", "width"), [("piece", "column"), ("row", "page")])
def test_bars_are_the_ledger_in_the_order_given(by: str, width: str) -> None:
    ids = LISTED[:7][::-1]
    request = asked(*ids, scenario=Scenario(context=32768, batch=4), by=by)
    figure = figure_of("breakdown", request, width)
    for axes in figure.axes[: 1 if width == "page" else 2]:
        assert [label.get_text() for label in axes.get_yticklabels()] == [model.name for model in request.models]
        assert axes.get_ylim()[0] > axes.get_ylim()[1]
    for place, model in enumerate(request.models):
        sums = ledger(model, request.scenario).totals
        state = [sums.state_bytes, sum(e.read_bytes + e.written_bytes for e in ledger(model, request.scenario).entries if e.role)]
        whole = [sums.weight_bytes + sums.state_bytes, sums.read_bytes + sums.written_bytes]
        for axes, size, kept in zip(figure.axes, whole, state, strict=True):
            patches: list[Any] = list(axes.patches)
            bars = [patch for patch in patches if abs(patch.get_y() + patch.get_height() / 2 - place) < 0.01]
            ends = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars)
            assert ends[0][0] == 0 and ends[-1][1] == pytest.approx(size, rel=1e-12)
            assert all(one[1] == pytest.approx(other[0], rel=1e-12) for one, other in pairwise(ends))
            hatched = sum(bar.get_width() for bar in bars if bar.get_hatch())
            assert hatched == pytest.approx(kept, rel=1e-9)


def test_lines_of_savings_are_the_ledger_with_and_without() -> None:
    scenario = Scenario(kv_format="bf16")
    request = asked("gemma-4-e2b", "gemma-4-e4b", scenario=scenario, trick="kv-sharing")
    drawing = figures.drawing("savings", request)
    (axes,) = drawn(drawing, Style()).figure.axes
    lines = {str(line.get_label()): line for line in axes.lines}
    for model in request.models:
        contexts = request.contexts_of(model)
        for each, how in ((model, "with"), (without(model, "kv-sharing"), "without")):
            line = lines[f"{model.id}, {how}"]
            assert list(line.get_xdata()) == list(contexts)  # type: ignore[arg-type]
            states = [ledger(each, replace(scenario, context=context)).totals.state_bytes for context in contexts]
            assert list(line.get_ydata()) == states  # type: ignore[arg-type]
    ends = {text.get_text().partition("\n")[0]: text.get_text().partition("\n")[2] for text in axes.texts if text.get_text()}
    assert ends == {"Gemma 4 E2B": "2.33×", "Gemma 4 E4B": "1.75×"}
    assert all(row["state_bytes"] < row["without_bytes"] for row in drawing.table.rows)  # type: ignore[operator]


@pytest.mark.parametrize("width", ["column", "page"])
def test_savings_shows_a_picture_for_each_trick_that_changes_the_state(width: Any) -> None:
    drawing = figures.drawing("savings", asked("deepseek-v4.1-flash"))
    figure = drawn(drawing, Style(width)).figure
    check_texts(figure)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["window", "compression", "indexer", "kv-sharing"]
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    assert any("hyper-connections" in sentence for sentence in drawing.says)


def test_a_column_of_the_table_is_in_the_unit_of_the_axis() -> None:
    drawing = figures.drawing("traffic", asked("gemma-4-e2b", contexts=(4096, 131072)))
    row = next(row for row in drawing.table.rows if row["part"] == "dense_mlp")
    assert drawing.table.heads[-2] == "traffic [GiB]"
    shown = drawing.table.body[drawing.table.rows.index(row)][-2]
    assert float(shown) == pytest.approx(float(row["traffic_bytes"]) / GIB, rel=5e-3)  # type: ignore[arg-type]


# -- bands --------------------------------------------------------------------------------------------------------------------------


def test_bands_name_the_largest_parts_and_fold_the_others() -> None:
    stack = {f"part {place}": 100 - place for place in range(12)} | {"none": 0, "dust": 1}
    found = bands([stack])
    assert "none" not in found
    assert [part for part, band in found.items() if band != OTHERS] == [f"part {place}" for place in range(7)]
    assert bands([{"large": 1000, "dust": 1}]) == {"large": "large", "dust": OTHERS}
    assert bands([{"large": 1000, "small": 1}, {"small": 1}])["small"] == "small"


def test_bands_have_colours_of_their_own() -> None:
    names = [f"part {place}" for place in range(6)] + ["attention", OTHERS]
    assert len(set(band_colours(names).values())) == 8
    assert band_colours(["attention"])["attention"] == band_colours(names)["attention"]


# -- files and refusals -------------------------------------------------------------------------------------------------------------

FILED = [
    ("traffic", asked("gemma-4-e2b")),
    ("flops", asked("gemma-4-e2b", "zaya1-8b")),
    ("breakdown", asked("gemma-4-e2b", "zaya1-8b")),
    ("savings", asked("gemma-4-e2b", "gemma-4-e4b", scenario=Scenario(kv_format="bf16"), trick="kv-sharing")),
]


@pytest.mark.parametrize(("name", "request_"), FILED, ids=[name for name, _ in FILED])
def test_the_same_bytes_twice(name: str, request_: Request, tmp_path: Path) -> None:
    files = [tmp_path / "one.svg", tmp_path / "other.svg"]
    for file in files:
        save(figures.drawing(name, request_), request_, file, Style())
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(
    ("name", "request_", "words"),
    [
        ("savings", asked("llama-2-7b"), "no trick"),
        ("savings", asked("llama-3.1-8b", trick="kv-sharing"), "does not use kv-sharing"),
        ("savings", asked("llama-3.1-8b", "qwen3-8b", trick="kv-sharing"), "none of llama-3.1-8b, qwen3-8b uses kv-sharing"),
        ("savings", asked("gemma-4-e2b", trick="kv-sharin"), "unknown trick"),
        ("savings", asked("gemma-4-e2b", trick="per-layer-embeddings"), "no state to compare"),
        ("savings", asked("gemma-4-e2b", "kimi-k2", trick="kv-sharing"), "kimi-k2 uses none of kv-sharing"),
        ("breakdown", asked("gemma-4-e2b", contexts=(4096, 8192)), "one context"),
        ("breakdown", asked("gemma-4-e2b", by="colour"), "cannot be a colour"),
        ("traffic", asked("gemma-4-e2b", "gemma-4-e4b", by="piece"), "splits one model"),
        ("flops", asked("gpt2-large"), "is no axis"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_senseless_requests_are_refused_in_a_line(name: str, request_: Request, words: str) -> None:
    with pytest.raises(ScenarioError, match=words) as caught:
        figures.drawing(name, request_)
    assert isinstance(caught.value, KvcalcError) and "\n" not in caught.value.message


def test_captions_say_how_a_step_is_divided_and_what_is_folded() -> None:
    request = asked("deepseek-v4.1-flash", scenario=Scenario(batch=16))
    words = caption(figures.drawing("traffic", request), request)
    assert "over its batch of 16" in words and "Others: " in words and "Hatched: state" in words
