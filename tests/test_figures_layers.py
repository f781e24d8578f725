"""Layers, ladder and roofline: what is drawn equals the ledger, texts neither touch nor leave the sheet, files are the same twice."""

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from kvcalc.catalog import load_device, load_model
from kvcalc.errors import KvcalcError, ScenarioError
from kvcalc.ledger import ledger
from kvcalc.report.figures import Request, Rig, drawing
from kvcalc.report.figures._save import drawn, save
from kvcalc.report.figures._style import Style
from kvcalc.roofline import bound
from kvcalc.scenario import Scenario
from kvcalc.whatif import factor, ladder

WIDTHS = ("column", "page", "slide")
ONE = ("gemma-4-e2b", "deepseek-v4.1-flash", "laguna-xs.2", "zaya1-8b", "qwen3-next-80b-a3b", "llama-3.1-8b")
MORE = ("deepseek-v3.2", "llama-3.1-405b", "gpt-oss-120b", "deepseek-v4-flash", "laguna-s-2.1", "gemma-4-31b")
SEVERAL = ("gemma-4-e2b", "laguna-s-2.1", "deepseek-v4.1-flash", "llama-3.1-8b")
AT = Scenario("decode", 131072, 2)
LEAST_SEEN = 0.5
"""Boxes may overlap by so little [pixels]: they are larger than the ink."""


def request(*names: str, on: str | None = None, count: int = 1, scenario: Scenario = AT) -> Request:
    rigs = () if on is None else (Rig(load_device(on), count),)
    return Request(tuple(load_model(name) for name in names), scenario, rigs=rigs)


def shown(figure: str, asked: Request, width: str = "column", dark: bool = False) -> Figure:
    style = Style(width, dark)  # type: ignore[arg-type]
    return drawn(drawing(figure, asked), style).figure


def texts(figure: Figure) -> Iterator[Text]:
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip():
            yield text


def assert_legible(figure: Figure) -> None:
    """No text is clipped, smaller than it should be, or touches another."""
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    sheet = figure.bbox
    boxes = []
    for text in texts(figure):
        if text.axes is not None and not text.axes.get_visible():
            continue
        box = text.get_window_extent(renderer)
        inside = (
            box.x0 >= sheet.x0 - LEAST_SEEN
            and box.y0 >= sheet.y0 - LEAST_SEEN
            and box.x1 <= sheet.x1 + LEAST_SEEN
            and box.y1 <= sheet.y1 + LEAST_SEEN
        )
        assert inside, f"{text.get_text()!r} leaves the sheet"
        boxes.append((text.get_text(), box))
    assert boxes
    for (one, first), (two, second) in combinations(boxes, 2):
        wide = min(first.x1, second.x1) - max(first.x0, second.x0)
        high = min(first.y1, second.y1) - max(first.y0, second.y0)
        assert wide <= LEAST_SEEN or high <= 2 * LEAST_SEEN, f"{one!r} touches {two!r}"


def asked_of(figure: str, *names: str) -> Request:
    return request(*names, on="h100-sxm-80gb" if figure == "roofline" else None)


@pytest.mark.parametrize(("name", "width"), [*((name, width) for name in ONE for width in WIDTHS), *((name, "column") for name in MORE)])
@pytest.mark.parametrize("figure", ["layers", "ladder", "roofline"])
def test_one_model_is_legible_at_every_width(figure: str, name: str, width: str) -> None:
    assert_legible(shown(figure, asked_of(figure, name), width, dark=width != "column"))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("figure", ["layers", "ladder", "roofline"])
def test_several_models_are_legible_at_every_width(figure: str, width: str) -> None:
    assert_legible(shown(figure, asked_of(figure, *SEVERAL), width))


@pytest.mark.parametrize("device", ["rtx-4090", "mi300x", "t4", "v100-sxm2-32gb", "b200-sxm-180gb"])
def test_roofs_of_other_devices_are_legible(device: str) -> None:
    assert_legible(shown("roofline", request("deepseek-v4.1-flash", on=device)))


@pytest.mark.parametrize("context", [1, 131, 4096, 8 << 20])
@pytest.mark.parametrize("figure", ["layers", "ladder"])
def test_short_and_long_contexts_are_legible(figure: str, context: int) -> None:
    assert_legible(shown(figure, request("gemma-4-e2b", "zaya1-8b", scenario=Scenario("decode", context))))


@pytest.mark.parametrize("figure", ["layers", "ladder", "roofline"])
def test_the_same_request_gives_the_same_bytes(figure: str, tmp_path: Path) -> None:
    asked = asked_of(figure, "deepseek-v4.1-flash")
    files = [tmp_path / "one.svg", tmp_path / "two.svg"]
    for file in files:
        save(drawing(figure, asked), asked, file, Style())
    assert files[0].read_bytes() == files[1].read_bytes()
    assert b"<text" in files[0].read_bytes()


# -- layers -------------------------------------------------------------------------------------------------------------------------


def bars_of(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.containers]


@pytest.mark.parametrize("name", [*ONE, *MORE])
def test_the_bars_are_the_ledgers_state_layer_by_layer(name: str) -> None:
    model = load_model(name)
    (axes,) = bars_of(shown("layers", request(name)))
    heights = [int(bar.get_height()) for bar in axes.containers[0]]
    assert len(heights) == model.num_hidden_layers
    assert sum(heights) == ledger(model, AT).totals.state_bytes
    for block in model.blocks:
        if block.part == "attention":
            entries = [entry for entry in ledger(model, AT).entries if entry.group == block.label and entry.role]
            assert {heights[place] for place in block.places} == {sum(entry.state_bytes for entry in entries) // block.layers}


def test_strips_share_one_scale_and_one_width_of_cells() -> None:
    figure = shown("layers", request(*SEVERAL))
    axes = bars_of(figure)
    assert len({each.get_ylim() for each in axes}) == 1
    wide = [each.get_position().width / load_model(name).num_hidden_layers for each, name in zip(axes, SEVERAL, strict=True)]
    assert max(wide) == pytest.approx(min(wide))


def test_a_rake_leads_from_each_owner_to_all_its_readers() -> None:
    model = load_model("gemma-4-e2b")
    figure = shown("layers", request(model.id))
    drawn_rakes = {}
    for axes in figure.axes:
        owners = [int(line.get_xdata()[0]) for line in axes.lines if line.get_marker() == "o"]  # type: ignore[index]
        for owner, collection in zip(owners, axes.collections, strict=True):
            drawn_rakes[owner] = [int(segment[0][0]) for segment in collection.get_segments()]  # type: ignore[attr-defined]
    expected: dict[int, list[int]] = {}
    for layer in model.plan:
        if layer.reuses is not None:
            expected.setdefault(layer.reuses, []).append(layer.place)
    assert drawn_rakes == expected
    assert sorted(drawn_rakes) == [13, 14]


def test_query_heads_stand_where_layers_differ_in_them() -> None:
    said = [text.get_text().strip() for text in texts(shown("layers", request("laguna-xs.2", "llama-3.1-8b")))]
    assert said.count("heads") == 1
    assert any("48 query heads" in text for text in said) and any("64 query heads" in text for text in said)


# -- ladder -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ONE)
def test_each_bar_leads_from_the_rung_above_to_its_own(name: str) -> None:
    rungs = ladder(load_model(name), AT)
    figure = shown("ladder", request(name))
    for axes, key in zip(figure.axes, ("state_bytes", "traffic_bytes"), strict=True):
        bars = [bar for container in axes.containers for bar in container]
        assert len(bars) == len(rungs) + 1
        sizes = [getattr(rung, key) for rung in rungs]
        assert bars[0].get_x() + bars[0].get_width() == sizes[0]
        assert bars[-1].get_x() + bars[-1].get_width() == sizes[-1]
        for bar, now, above in zip(bars[1:-1], sizes[1:], sizes, strict=False):
            assert (bar.get_x(), bar.get_x() + bar.get_width()) == (min(now, above), max(now, above))
            assert bool(bar.get_hatch()) == (now > above)


def test_the_factors_multiply_to_the_whole() -> None:
    rows = drawing("ladder", request("deepseek-v4.1-flash")).table.rows
    whole = factor(rows[-1]["state_bytes"], rows[0]["state_bytes"])  # type: ignore[arg-type]
    product = 1
    for row in rows[1:-1]:
        product *= row["state_factor"]  # type: ignore[assignment, operator]
    assert product == whole == rows[-1]["state_factor"]


def test_the_factor_is_written_beside_its_bar() -> None:
    said = {text.get_text() for text in texts(shown("ladder", request("deepseek-v4.1-flash")))}
    assert {"×0.016", "×0.50", "×0.087", "×1"} <= said
    assert {"×1.01"} <= said  # a cost of 1.4 % is not written as 1.0


# -- roofline -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 8])
@pytest.mark.parametrize("name", ONE)
def test_the_points_are_the_rooflines_own(name: str, count: int) -> None:
    device, model = load_device("h100-sxm-80gb"), load_model(name)
    figure = shown("roofline", request(name, on=device.id, count=count))
    upper, lower = figure.axes
    drawn_points = {}
    for line in upper.lines:
        if line.get_marker() in ("o", "D"):
            drawn_points.setdefault(line.get_label(), []).append((line.get_xdata()[0], line.get_ydata()[0]))  # type: ignore[index]
    for place, batch in enumerate((1, 8, 64)):
        book = ledger(model, Scenario("decode", 131072, batch))
        for piece, entries in {"whole model": book.entries, **book.by("piece")}.items():
            edge = bound(entries, device, count)
            if edge.intensity < 0.05:
                assert piece not in drawn_points
                continue
            x, y = drawn_points[piece][place]
            assert x == pytest.approx(edge.flops / edge.bytes)
            assert y == pytest.approx(edge.flops / edge.lower)
    lanes = [label.get_text() for label in lower.get_yticklabels()]
    assert lanes == ["batch", *drawn_points]


@pytest.mark.parametrize("count", [1, 8])
def test_no_point_stands_above_the_highest_roof_and_ridges_are_peak_over_bandwidth(count: int) -> None:
    device = load_device("h100-sxm-80gb")
    table = drawing("roofline", request("gemma-4-e2b", on=device.id, count=count)).table
    roofs = [row for row in table.rows if row["batch"] is None]
    assert len(roofs) == len({device.sizes[f"peak.{name}"] for name in device.peak})
    for row in roofs:
        name = str(row["piece"]).removeprefix("roof of ").split(", ")[0]
        assert row["attainable"] == pytest.approx(float(device.sizes[f"peak.{name}"] * count))
        assert row["intensity"] == pytest.approx(float(device.sizes[f"peak.{name}"] / device.sizes["bandwidth"]))
    top = max(float(row["attainable"]) for row in roofs)  # type: ignore[arg-type]
    assert all(float(row["attainable"]) <= top * 1.000001 for row in table.rows)  # type: ignore[arg-type]


def test_a_prefill_is_compute_bound_and_on_its_roof() -> None:
    asked = request("llama-3.1-8b", on="h100-sxm-80gb", scenario=Scenario("prefill", 8192))
    rows = [row for row in drawing("roofline", asked).table.rows if row["piece"] == "dense_mlp"]
    assert {row["bound_by"] for row in rows} == {"compute"}
    assert_legible(shown("roofline", asked))


# -- refusals -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("figure", "asked", "said"),
    [
        ("roofline", request("llama-3.1-8b"), "needs a device"),
        ("roofline", request("llama-3.1-8b", on="snapdragon-8-elite-gen-5"), "no published peak"),
        ("ladder", request(*ONE, "llama-3-8b"), "too many"),
        *(
            (figure, Request((load_model("llama-3.1-8b"),), contexts=(1, 2), rigs=(Rig(load_device("rtx-4090")),)), "one context")
            for figure in ("layers", "ladder", "roofline")
        ),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(figure: str, asked: Request, said: str) -> None:
    with pytest.raises(ScenarioError, match=said) as refused:
        drawing(figure, asked)
    assert "\n" not in refused.value.message and refused.value.hint


def test_a_device_without_bandwidth_has_no_slope() -> None:
    device = load_device("h100-sxm-80gb").model_copy(update={"bandwidth": None})
    with pytest.raises(KvcalcError, match="bandwidth"):
        drawing("roofline", Request((load_model("llama-3.1-8b"),), rigs=(Rig(device),)))
