"""Figures of serving: what is drawn is what serving, energy and solve answer; texts do not touch; senseless requests are refused."""

import subprocess
import sys
from dataclasses import replace
from itertools import combinations
from math import cos, radians, sin
from pathlib import Path

import pytest
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from kvcalc import energy as energies
from kvcalc.catalog import load_assumptions, load_device, load_devices, load_model
from kvcalc.errors import KvcalcError
from kvcalc.ledger import ledger
from kvcalc.report import figures
from kvcalc.report.figures import LEAST_CONTEXT, Drawing, Request, Rig
from kvcalc.report.figures._labels import measured
from kvcalc.report.figures._save import caption, drawn
from kvcalc.report.figures._style import Canvas, Style, Width
from kvcalc.report.figures.fit import WELL_KNOWN, brightness
from kvcalc.report.figures.throughput import KNEE, LARGEST
from kvcalc.roofline import answer, plan_of
from kvcalc.scenario import Scenario
from kvcalc.serving import curve
from kvcalc.solve import largest_context

WIDTHS: tuple[Width, ...] = ("column", "page", "slide")
TWELVE = (
    "gemma-4-e2b",
    "gemma-4-e4b",
    "gemma-4-31b",
    "zaya1-8b",
    "laguna-xs.2",
    "llama-3.1-8b",
    "qwen3-next-80b-a3b",
    "gpt-oss-20b",
    "llama-2-7b",
    "qwen3-8b",
    "mistral-7b-v0.1",
    "deepseek-v2-lite",
)
SHORT = Scenario(context=8192)
STEADY = replace(SHORT, steady=True)


def rig(text: str) -> Rig:
    count, device = load_devices(text)
    return Rig(device, count or 1)


def asked(models: tuple[str, ...] | list[str], *on: str, scenario: Scenario = SHORT) -> Request:
    return Request(tuple(load_model(name) for name in models), scenario, rigs=tuple(rig(name) for name in on))


REQUESTS = {
    "one": (("llama-3.1-8b",), ("h100-sxm-80gb",)),
    "four": (TWELVE[:4], ("8xh100-sxm-80gb",)),
    "rigs": (("llama-3.1-8b",), ("h100-sxm-80gb", "rtx-4090", "mi300x")),
    "six": (("llama-3.1-8b", "gemma-4-e2b"), ("h100-sxm-80gb", "rtx-4090", "mi300x")),
    "twelve": (TWELVE, ("mi300x",)),
}
MADE: dict[tuple[str, str], Drawing] = {}


def made(figure: str, name: str) -> tuple[Request, Drawing]:
    """A drawing, worked out once for all widths."""
    models, on = REQUESTS[name]
    request = asked(models, *on)
    if (figure, name) not in MADE:
        MADE[figure, name] = figures.drawing(figure, request)
    return request, MADE[figure, name]


# -- boxes --------------------------------------------------------------------------------------------------------------------------

Corners = list[tuple[float, float]]


def boxes(sheet: Canvas) -> list[tuple[str, Corners]]:
    """Every text that is drawn, with the corners of its box [pixels], slanted as it is."""
    renderer = measured(sheet)
    found = []
    for text in sheet.figure.findobj(Text):
        assert isinstance(text, Text)
        if not (text.get_visible() and text.get_text().strip()) or _is_beyond(text):
            continue
        slant = text.get_rotation()
        outer = Text.get_window_extent(text, renderer)
        text.set_rotation(0)
        flat = Text.get_window_extent(text, renderer)
        text.set_rotation(slant)
        x, y, wide, high = (outer.x0 + outer.x1) / 2, (outer.y0 + outer.y1) / 2, flat.width / 2, flat.height / 2
        turn, across = cos(radians(slant)), sin(radians(slant))
        corners = ((-wide, -high), (wide, -high), (wide, high), (-wide, high))
        found.append((text.get_text(), [(x + a * turn - b * across, y + a * across + b * turn) for a, b in corners]))
    return found


def _is_beyond(text: Text) -> bool:
    """Ticks beyond the limits of their axis are made but not drawn."""
    for axes in [text.axes] if text.axes is not None else []:
        for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            for tick in axis.get_major_ticks():
                if text in (tick.label1, tick.label2):
                    return not min(limits) * 0.999 <= tick.get_loc() <= max(limits) * 1.001
    return False


def touch(one: Corners, other: Corners) -> bool:
    """Whether two boxes overlap by more than a pixel: no side of either separates them."""
    for (x0, y0), (x1, y1) in (pair for box in (one, other) for pair in ((box[0], box[1]), (box[1], box[2]))):
        length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        shadow = [[((x1 - x0) * x + (y1 - y0) * y) / length for x, y in box] for box in (one, other)]
        if min(max(shadow[0]), max(shadow[1])) - max(min(shadow[0]), min(shadow[1])) <= 1:
            return False
    return True


def faults(sheet: Canvas) -> list[str]:
    """Texts that touch, that reach beyond the sheet, or that are smaller than the style says."""
    found, width, height = boxes(sheet), *(sheet.figure.get_size_inches() * sheet.figure.dpi)
    wrong = [f"{one!r} touches {other!r}" for (one, a), (other, b) in combinations(found, 2) if touch(a, b)]
    wrong += [
        f"{text!r} is cut off" for text, box in found if any(not (-1 < x < width + 1 and -1 < y < height + 1) for x, y in box)
    ]
    return wrong + [
        f"{text.get_text()!r} is small"
        for text in sheet.figure.findobj(Text)
        if isinstance(text, Text) and text.get_text().strip() and text.get_fontsize() < sheet.style.points
    ]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("figure", ["throughput", "energy"])
def test_no_text_over_batch_touches_another(figure: str, name: str, width: Width) -> None:
    _, drawing = made(figure, name)
    sheet = drawn(drawing, Style(width, dark=name == "four"))
    assert faults(sheet) == []
    written = {text for text, _ in boxes(sheet)}
    assert len(written) > 5


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("count", "on"), [(12, ()), (1, ()), (1, ("rtx-4090",)), (4, ("8xh100-sxm-80gb", "rtx-4090"))])
def test_no_text_of_a_map_touches_another(count: int, on: tuple[str, ...], width: Width) -> None:
    request = asked(TWELVE[:count], *on, scenario=replace(SHORT, batch=8))
    sheet = drawn(figures.drawing("fit", request), Style(width))
    assert faults(sheet) == []
    cells = [box for box in sheet.figure.findobj(Rectangle) if box.get_gid()]
    assert len(cells) == count * (len(on) or len(WELL_KNOWN))


def test_the_tests_of_boxes_can_fail() -> None:
    _, drawing = made("energy", "one")
    sheet = drawn(drawing, Style())
    axes = sheet.figure.axes[0]
    axes.text(0.5, 0.5, "one", transform=axes.transAxes, rotation=45)
    axes.text(0.5, 0.5, "two", transform=axes.transAxes)
    axes.text(-3, 0.5, "far", transform=axes.transAxes, fontsize=5).set_in_layout(False)
    assert {"'one' touches 'two'", "'far' is cut off", "'far' is small"} <= set(faults(sheet))


# -- what is drawn is what is answered ----------------------------------------------------------------------------------------------


def lines_of(sheet: Canvas) -> dict[str, Line2D]:
    return {str(line.get_label()): line for line in sheet.figure.axes[0].get_lines()}


@pytest.mark.parametrize("name", ["four", "six"])
def test_the_frontier_is_that_of_serving(name: str) -> None:
    request, drawing = made("throughput", name)
    lines = lines_of(drawn(drawing, Style("page")))
    for model in request.models:
        for each in request.rigs:
            found = curve(model, STEADY, each.device, plan_of(model, STEADY, each.device, each.count))
            line = lines[f"{model.id} on {each.name}"]
            assert list(line.get_xdata()) == [1 / point.tpot_seconds for point in found.points]
            assert list(line.get_ydata()) == [point.tokens_per_second_per_device for point in found.points]
            for kind, batch in ((KNEE, found.knee), (LARGEST, found.largest_batch)):
                here = [point for point in found.points if point.batch == batch]
                mark = lines.get(f"{model.id} on {each.name}: {kind}")
                assert (mark is None) == (not here)
                if mark is not None:
                    assert list(mark.get_xdata()) == [1 / here[0].tpot_seconds]
                    assert list(mark.get_ydata()) == [here[0].tokens_per_second_per_device]
            assert found.largest_batch == found.points[-1].batch


def test_the_knee_and_the_largest_batch_of_one_line_are_written() -> None:
    request, drawing = made("throughput", "one")
    (model,), (each,) = request.models, request.rigs
    found = curve(model, STEADY, each.device, plan_of(model, STEADY, each.device, each.count))
    for width in WIDTHS:
        words = [text for text, _ in boxes(drawn(drawing, Style(width)))]
        assert (
            f"knee {found.knee:,}" in words and f"{found.largest_batch:,}" in words and "1" in words and "Llama 3.1 8B" in words
        )


def test_every_knee_of_a_few_lines_is_named_at_every_width() -> None:
    _, drawing = made("throughput", "four")
    knees = [row["batch"] for row in drawing.table.rows if KNEE in str(row["mark"])]
    for width in WIDTHS:
        words = [text for text, _ in boxes(drawn(drawing, Style(width)))]
        assert len(knees) > 1
        assert all(f"knee {knee:,}" in words or f"{knee:,}" in words for knee in knees)


@pytest.mark.parametrize("name", ["four", "six"])
def test_joules_are_those_of_energy(name: str) -> None:
    request, drawing = made("energy", name)
    lines = lines_of(drawn(drawing, Style("page")))
    for model in request.models:
        for each in request.rigs:
            plan = plan_of(model, STEADY, each.device, each.count)
            line, floor = lines[f"{model.id} on {each.name}"], lines.get(f"{model.id} on {each.name}: idle")
            assert (floor is None) == (each.device.idle_power is None)
            batches = [int(batch) for batch in line.get_xdata()]
            assert batches[0] == 1 and batches[-1] == curve(model, STEADY, each.device, plan).largest_batch
            assumptions = energies.completed(load_assumptions(), each.device)
            for place, batch in enumerate(batches):
                book = ledger(model, replace(STEADY, batch=batch))
                one = energies.energy(book, answer(book, each.device, each.count, plan), assumptions)
                assert line.get_ydata()[place] == pytest.approx(one.joules_per_token, rel=1e-12)
                if floor is not None:
                    assert floor.get_ydata()[place] == pytest.approx(one.idle_joules_per_token, rel=1e-12)
                row = next(r for r in drawing.table.rows if (r["model"], r["rig"], r["batch"]) == (model.id, each.name, batch))
                assert row["usd_per_million_tokens"] == pytest.approx(one.usd_per_million_tokens, rel=1e-12)


def test_cells_are_the_largest_contexts_and_no_more_than_the_models() -> None:
    scenario = replace(SHORT, batch=4)
    request = asked(
        ("llama-3.1-8b", "gemma-4-31b", "zaya1-8b", "kimi-k2"), "rtx-4090", "h100-sxm-80gb", "8xh100-sxm-80gb", scenario=scenario
    )
    sheet = drawn(figures.drawing("fit", request), Style("page"))
    (axes,) = sheet.figure.axes
    written = {tuple(int(v) for v in text.get_position()): text.get_text() for text in axes.texts}
    shades: dict[int, str] = {}
    for down, model in enumerate(request.models):
        for right, each in enumerate(request.rigs):
            plan = plan_of(model, scenario, each.device, each.count)
            context = largest_context(model, scenario, each.device, plan, model.max_context)
            box = next(patch for patch in axes.patches if patch.get_gid() == f"{model.id} on {each.name}")
            assert box.get_xy() == (right, down)
            text = written[right, down]
            if context is None or context < LEAST_CONTEXT:
                assert text == "no" and to_hex(box.get_facecolor()) == Style().paper.lower()
            else:
                assert text == ("max" if context == model.max_context else f"{context // LEAST_CONTEXT}K")
                shades[context] = to_hex(box.get_facecolor())
    assert {"no", "max"} < set(written.values())
    grey = [brightness(shades[context]) for context in sorted(shades)]
    assert len(grey) > 3 and grey == sorted(grey, reverse=True)


@pytest.mark.parametrize("dark", [False, True])
def test_text_on_every_cell_is_read_in_black_and_white(dark: bool) -> None:
    request = asked(("llama-3.1-8b", "gemma-4-31b", "zaya1-8b", "deepseek-v4-flash"), scenario=replace(SHORT, batch=8))
    style = Style("page", dark)
    (axes,) = drawn(figures.drawing("fit", request), style).figure.axes
    for text in axes.texts:
        right, down = (int(value) for value in text.get_position())
        box = next(patch for patch in axes.patches if patch.get_xy() == (right, down))
        one, other = sorted((brightness(to_hex(box.get_facecolor())), brightness(to_hex(text.get_color()))))
        assert (other + 0.05) / (one + 0.05) > 4.2, text.get_text()


# -- captions, refusals, bytes ------------------------------------------------------------------------------------------------------


def test_captions_say_what_is_missing() -> None:
    request = asked(("llama-3.1-8b", "llama-3.1-405b"), "h100-sxm-80gb")
    drawing = figures.drawing("throughput", request)
    assert "Has no line, as not one sequence fits: Llama 3.1 405B on h100-sxm-80gb" in caption(drawing, request)
    assert {row["model"] for row in drawing.table.rows} == {"llama-3.1-8b"}
    drawn(drawing, Style())
    request = asked(("llama-3.1-8b",), "mi325x")
    drawing = figures.drawing("throughput", request)
    assert "What fits is not known" in caption(drawing, request) and all(
        LARGEST not in str(row["mark"]) for row in drawing.table.rows
    )
    drawn(drawing, Style())


@pytest.mark.parametrize(
    ("figure", "request_", "words"),
    [
        ("throughput", asked(["llama-3.1-8b"]), "needs a device"),
        ("energy", asked(["llama-3.1-8b"]), "needs a device"),
        ("throughput", asked(["llama-3.1-8b"], "tensor-g5"), "memory bandwidth is not known"),
        ("energy", asked(["llama-3.1-8b"], "apple-m4-max-40gpu"), "power of apple-m4-max-40gpu is not published"),
        ("throughput", asked(["llama-3.1-405b"], "rtx-4090"), "not one sequence of 8K fits"),
        ("throughput", asked(["llama-3.1-8b"], "rtx-4090", scenario=Scenario("prefill")), "not a prefill"),
        ("throughput", asked(["llama-3.1-8b"], "rtx-4090", "rtx-4090"), "named twice"),
        ("throughput", asked(TWELVE, "rtx-4090", "rtx-5090"), "24 lines"),
        ("throughput", replace(asked(["llama-3.1-8b"], "rtx-4090"), contexts=(4096, 8192)), "one context"),
        ("fit", replace(asked(["llama-3.1-8b"]), contexts=(4096, 8192)), "finds contexts itself"),
        ("fit", asked(["llama-3.1-8b"], scenario=Scenario("prefill")), "not a prefill"),
        ("fit", asked(["llama-3.1-8b"], "tensor-g5"), "not known"),
    ],
)
def test_senseless_requests_are_refused(figure: str, request_: Request, words: str) -> None:
    with pytest.raises(KvcalcError, match=words) as refused:
        figures.drawing(figure, request_)
    assert "\n" not in refused.value.message


@pytest.mark.parametrize("arguments", [("throughput", "--on", "h100-sxm"), ("energy", "--on", "h100-sxm"), ("fit",)])
def test_the_same_request_gives_the_same_bytes(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """In two processes, as hashes differ from one to the next."""
    name, *more = arguments
    bytes_ = []
    for place in ("one", "two"):
        file = tmp_path / place / "figure.svg"
        file.parent.mkdir()
        command = [
            sys.executable,
            "-m",
            "kvcalc",
            "plot",
            name,
            "llama-3.1-8b",
            "gemma-4-e2b",
            "-c",
            "8K",
            *more,
            "-o",
            str(file),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        bytes_.append(file.read_bytes())
    assert bytes_[0] == bytes_[1] and b"<text" in bytes_[0]


def test_well_known_devices_are_all_there() -> None:
    assert len(WELL_KNOWN) == 11 and all(load_device(name).usable_bytes is not None for name in WELL_KNOWN)
