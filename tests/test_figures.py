"""Figures: what is drawn is the ledger; labels do not touch and nothing is cut off; the same request gives the same bytes."""

import csv
import io
import re
import subprocess
import sys
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from kvcalc.catalog import load_device, load_model
from kvcalc.errors import ScenarioError, UnknownName
from kvcalc.ledger import ledger
from kvcalc.report import figures
from kvcalc.report.figures import Request, Rig
from kvcalc.report.figures._labels import measured, spread
from kvcalc.report.figures._save import drawn, save
from kvcalc.report.figures._style import Canvas, Style, Width
from kvcalc.scenario import Scenario

TWELVE = (
    "gemma-4-e2b",
    "gemma-4-e4b",
    "gemma-4-31b",
    "zaya1-8b",
    "laguna-xs.2",
    "deepseek-v4-flash",
    "deepseek-v4-pro",
    "deepseek-v3",
    "llama-3.1-8b",
    "qwen3-next-80b-a3b",
    "gpt-oss-20b",
    "kimi-k2",
)
WIDTHS: tuple[Width, ...] = ("column", "page", "slide")


def request(count: int, *devices: str) -> Request:
    return Request(tuple(load_model(name) for name in TWELVE[:count]), rigs=tuple(Rig(load_device(name)) for name in devices))


def texts(sheet: Canvas) -> list[tuple[str, Bbox]]:
    """Every text that is drawn, with its box [pixels]."""
    renderer = measured(sheet)
    found = []
    for text in sheet.figure.findobj(Text):
        if isinstance(text, Text) and text.get_visible() and text.get_text().strip():
            box = Text.get_window_extent(text, renderer)
            if box.width and not _outside_limits(text):
                found.append((text.get_text(), box))
    return found


def _outside_limits(text: Text) -> bool:
    """Ticks beyond the limits of their axis are made but not drawn."""
    axes = text.axes
    if not isinstance(axes, Axes):
        return False
    for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        for tick in axis.get_major_ticks():
            if text in (tick.label1, tick.label2):
                return not min(limits) * 0.999 <= tick.get_loc() <= max(limits) * 1.001
    return False


def overlaps(sheet: Canvas) -> list[tuple[str, str]]:
    """Texts that touch, by more than a pixel."""
    found = []
    for (one, a), (other, b) in combinations(texts(sheet), 2):
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1:
            found.append((one, other))
    return found


def cut_off(sheet: Canvas) -> list[str]:
    """Texts that reach beyond the sheet, by more than a pixel."""
    width, height = sheet.figure.get_size_inches() * sheet.figure.dpi
    return [text for text, box in texts(sheet) if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 12])
def test_labels_do_not_touch_and_nothing_is_cut_off(count: int, width: Width) -> None:
    sheet = drawn(figures.drawing("memory", request(count, "rtx-4090", "h100-sxm-80gb")), Style(width))
    assert overlaps(sheet) == [] and cut_off(sheet) == []


def test_the_tests_of_labels_can_fail() -> None:
    sheet = drawn(figures.drawing("memory", request(2)), Style())
    axes = sheet.figure.axes[0]
    axes.text(0.5, 0.5, "one", transform=axes.transAxes)
    axes.text(0.5, 0.5, "two", transform=axes.transAxes)
    axes.text(-3, 0.5, "far", transform=axes.transAxes, in_layout=False)
    assert ("one", "two") in overlaps(sheet) and "far" in cut_off(sheet)


@pytest.mark.parametrize("batch", [1, 4])
def test_lines_are_the_ledger(batch: int) -> None:
    asked = Request(request(3).models, Scenario(batch=batch, kv_format="bf16"))
    sheet = drawn(figures.drawing("memory", asked), Style("page"))
    lines = {line.get_label(): line for line in sheet.figure.axes[0].get_lines()}
    for model in asked.models:
        for context, y in zip(lines[model.id].get_xdata(), lines[model.id].get_ydata(), strict=True):
            assert y == ledger(model, Scenario(context=int(context), batch=batch, kv_format="bf16")).totals.state_bytes
        assert lines[model.id].get_xdata()[-1] == model.max_context


def test_capacities_are_what_a_program_can_use() -> None:
    sheet = drawn(figures.drawing("memory", request(1, "rtx-4090")), Style())
    across = [line.get_ydata()[0] for line in sheet.figure.axes[0].get_lines() if line.get_label().startswith("_")]
    assert across == [load_device("rtx-4090").usable_bytes]


@pytest.mark.parametrize("form", ["svg", "pdf", "png"])
def test_the_same_request_gives_the_same_bytes(form: str, tmp_path: Path) -> None:
    """In two processes, as hashes differ from one to the next."""
    made = []
    for name in ("one", "two"):
        file = tmp_path / name / f"figure.{form}"
        file.parent.mkdir()
        command = [sys.executable, "-m", "kvcalc", "plot", "memory", "gemma-4-e2b", "zaya1-8b", "--on", "rtx-4090", "-o", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 and done.stdout == "" and "wrote" in done.stderr
        made.append((file.read_bytes(), file.with_suffix(".caption.md").read_bytes()))
    assert made[0] == made[1]


def test_text_stays_text_and_the_caption_says_where_it_comes_from(tmp_path: Path) -> None:
    asked = request(2, "rtx-4090")
    figure, words = save(figures.drawing("memory", asked), asked, tmp_path / "figure.svg", Style())
    drawn_text = figure.read_text()
    assert ">Gemma 4 E2B<" in re.sub(r"<text[^>]*>", ">", drawn_text) and "<text" in drawn_text
    said = words.read_text()
    assert "gemma-4-e2b" in said and "https://huggingface.co/google/gemma-4-E2B-it" in said and "kvcalc 0." in said and "batch 1" in said


@pytest.mark.parametrize("name", figures.names())
def test_a_figure_is_in_the_list_and_says_what_it_shows(name: str) -> None:
    assert len(figures.about(name)) > 20


def test_the_data_behind_a_figure_as_csv() -> None:
    command = [sys.executable, "-m", "kvcalc", "plot", "memory", "llama-3.1-8b", "-c", "4K..32K", "--csv"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    rows = list(csv.reader(io.StringIO(done.stdout)))
    assert done.returncode == 0 and len(rows) == 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("memory", "llama-3.1-8b"), "a file or --csv"),
        (("memory", "llama-3.1-8b", "-o", "figure.bmp"), "cannot draw a bmp"),
        (("memory", "llama-3.1-8b", "-o", "nowhere/figure.svg"), "no such folder"),
        (("memry", "llama-3.1-8b", "--csv"), "unknown figure 'memry'"),
        (("memory", "llama-3.1-8b", "-c", "2M..4M", "--csv"), "less than every context"),
        (("memory", "llama-3.1-8b", "-c", "4M..1M", "--csv"), "goes nowhere"),
    ],
)
def test_a_figure_that_cannot_be_is_refused_in_a_line(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kvcalc", "plot", *arguments], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr and not list(tmp_path.iterdir())


def test_too_many_models_are_refused() -> None:
    with pytest.raises(ScenarioError, match="too many for one figure"):
        figures.drawing("memory", Request((load_model("llama-3.1-8b"),) * 13))
    with pytest.raises(UnknownName):
        figures.drawing("nothing", request(1))


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(1, 9)), min_size=1, max_size=11))
def test_labels_are_spread_without_overlap_and_stay_in_order(asked: list[tuple[float, float]]) -> None:
    wanted, heights = [at for at, _ in asked], [height for _, height in asked]
    placed = spread(wanted, heights, 0, 100)
    order = sorted(range(len(asked)), key=lambda place: (wanted[place], place))
    for below, above in pairwise(order):
        assert placed[above] - placed[below] >= (heights[above] + heights[below]) / 2 - 1e-6
    for place in order:
        assert heights[place] / 2 - 1e-6 <= placed[place] <= 100 - heights[place] / 2 + 1e-6


def test_a_label_with_room_stays_where_it_wants_to_be() -> None:
    assert spread([10, 50, 90], [5, 5, 5], 0, 100) == [10, 50, 90]
    assert spread([50, 50], [10, 10], 0, 100) == [45, 55]
