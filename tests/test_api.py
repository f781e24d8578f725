"""The Python API: the same answers as the command line, one page of documentation that is true, and an import that is quick."""

import doctest
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import kvcalc
from kvcalc import KvcalcError, Plan, Scenario, compare, estimate, load_device, load_model, sweep

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "api.md"


def from_the_command_line(*arguments: str) -> Any:
    command = [sys.executable, "-m", "kvcalc", *arguments, "--format", "json"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, timeout=120).stdout)


class Markdown(doctest.DocTestParser):
    """Examples inside fences."""

    def parse(self, string: str, name: str = "<string>") -> list[Any]:
        return super().parse("\n".join("" if line.startswith("```") else line for line in string.split("\n")), name)


def test_the_page_is_true(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    failed, tried = doctest.testfile(str(PAGE), module_relative=False, parser=Markdown(), encoding="utf-8")
    assert failed == 0 and tried > 30


@pytest.mark.parametrize("name", kvcalc.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    assert getattr(kvcalc, name) is not None and name in dir(kvcalc)
    assert f"`{name}" in PAGE.read_text() or f"`kvcalc.{name}" in PAGE.read_text()


@pytest.mark.parametrize("of", ["Estimate", "Comparison", "Grid"])
def test_every_attribute_is_documented(of: str) -> None:
    axes = {"Grid": {"axes", "point", "points", *kvcalc.Grid.__dataclass_fields__}}.get(
        of, set()
    )  # fields: the arguments of sweep
    for name in vars(getattr(kvcalc, of)):
        if not name.startswith("_") and name not in axes:
            assert f"`{name}" in PAGE.read_text(), name


def test_every_argument_is_documented() -> None:
    for function in (estimate, compare, sweep):
        for name in function.__annotations__:
            assert name == "return" or name in PAGE.read_text(), name


@pytest.mark.parametrize(
    ("arguments", "keywords"),
    [
        (["gemma-4-e2b"], {}),
        (["gemma-4-e2b", "-c", "128K", "--on", "rtx-4090"], {"context": "128K", "device": "rtx-4090"}),
        (["gemma-2-2b"], {}),
        (["deepseek-v3", "-b", "64", "--on", "16xh200-sxm"], {"batch": 64, "device": "16xh200-sxm"}),
        (
            ["deepseek-v3", "-b", "64", "--on", "16xh200-sxm", "--tp", "4", "--dp", "4", "--ep", "16"],
            {"batch": "64", "device": "h200-sxm", "plan": {"tp": 4, "dp": 4, "ep": 16}},
        ),
        (["qwen3-8b", "--phase", "prefill", "-c", "8K", "--chunk", "2K"], {"phase": "prefill", "context": 8192, "chunk": "2K"}),
        (["gpt-oss-20b", "--allocator", "vllm"], {"allocator": "vllm"}),
        (["deepseek-v4-flash-0731", "--include", "draft", "--kv-format", "bf16"], {"include": "draft", "kv_format": "bf16"}),
        (["llama-3.1-8b", "--on", "rtx-4090", "--usable", "8GiB"], {"device": load_device("rtx-4090"), "usable": "8GiB"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_estimate_is_that_of_the_command_line(arguments: list[str], keywords: dict[str, Any]) -> None:
    assert estimate(arguments[0], **keywords).to_dict() == from_the_command_line("estimate", *arguments)


def test_a_comparison_is_that_of_the_command_line() -> None:
    ours = compare("gemma-4-e2b,zaya1-8b", ["4K", 131072], "rtx-4090,2xh100-sxm", kv_format="bf16")
    theirs = from_the_command_line(
        "compare", "gemma-4-e2b", "zaya1-8b", "-c", "4K,128K", "--on", "rtx-4090,2xh100-sxm", "--kv-format", "bf16"
    )
    data = ours.to_dict()
    assert [{**row, **own} for row, own in zip(theirs["rows"], data["rows"], strict=True)] == theirs["rows"]
    rows = ours.records()
    assert len(rows) == len(ours) == len(list(ours)) == 8
    for place, row in enumerate(theirs["rows"]):
        one, two = rows[2 * place : 2 * place + 2]
        for key in ("model", "context", "state_bytes", "state_bytes_per_token", "flops", "relative"):
            assert one[key] == two[key] == row[key]
        assert one["read_bytes"] + one["written_bytes"] == row["traffic_bytes"]
        assert (one["tokens_per_second"], two["tokens_per_second"]) == (row["rtx-4090"], row["2xh100-sxm-80gb"])


def test_records_are_flat_and_alike() -> None:
    it = estimate("deepseek-v3", device="16xh200-sxm")
    listed: list[list[dict[str, Any]]] = [
        it.records(),
        it.records("row"),
        compare(["gemma-4-e2b", "qwen3-8b"], "4K,8K").records(),
        sweep("qwen3-8b", "4K,8K").records(),
    ]
    for rows in listed:
        assert len({tuple(row) for row in rows}) == 1
        assert all(isinstance(value, str | int | float | None) for row in rows for value in row.values())
        assert json.loads(json.dumps(rows)) == rows
    for name in ("weight_bytes", "state_bytes", "read_bytes", "flops", "parameters"):
        assert sum(row[name] for row in it.records()) == getattr(it, name) == getattr(it.totals, name)


def test_a_record_has_the_keys_of_a_sweep() -> None:
    row = next(iter(sweep("qwen3-8b", "8K", 4, "2xh100-sxm")))
    one = estimate("qwen3-8b", context="8K", batch=4, device="2xh100-sxm").record()
    assert row == {**one, "error": None} and list(row) == [*one, "error"]


def test_attributes_without_a_device_are_none() -> None:
    it = estimate("qwen3-8b")
    for name in (
        "device",
        "count",
        "plan",
        "fits",
        "needed_bytes",
        "usable_bytes",
        "headroom_bytes",
        "seconds_lower",
        "bound_by",
    ):
        assert getattr(it, name) is None
    assert it.tokens_per_second is it.seconds_upper is it.joules_per_token is it.usd_per_million_tokens is None
    assert "device" not in it.record()


def test_what_is_not_known_of_a_device_is_none() -> None:
    it = estimate("gemma-4-e2b", device="snapdragon-8-elite-gen-5")
    assert it.fits is None and it.headroom_bytes is None and it.seconds_upper is None and it.seconds_lower


def test_keywords_stand_in_the_place_of_a_scenario() -> None:
    asked = Scenario(context=4096, batch=2, kv_format="fp8")
    assert estimate("qwen3-8b", asked).scenario == asked
    assert estimate("qwen3-8b", asked, batch=8, context="8K").scenario == replace(asked, batch=8, context=8192)


class OfAnotherLibrary:
    """A whole number that would overflow, as numpy's do."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


def test_numbers_of_other_libraries_become_whole_numbers() -> None:
    other: Any = OfAnotherLibrary(2**20)
    assert type(estimate("qwen3-8b", context=other).scenario.context) is int
    assert sweep("qwen3-8b", [other]).contexts == (2**20,)
    many: Any = OfAnotherLibrary(2**24)
    assert estimate("qwen3-8b", context=other, batch=many).flops > 2**63


def test_text_and_html_are_the_tables() -> None:
    it = estimate("gemma-4-e2b", device="rtx-4090")
    assert "attention" in str(it) and "fits" in str(it) and "<table>" in it._repr_html_() and len(repr(it)) < 200
    both = compare(["gemma-4-e2b", "qwen3-8b"])
    assert "qwen3-8b" in str(both) and "<table>" in both._repr_html_() and "2 estimates" in repr(both)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: estimate("nosuch"), "unknown model"),
        (lambda: estimate(5), "is no model"),
        (lambda: estimate(None), "is no model"),
        (lambda: estimate("qwen3-8b", context="128KB"), "128KB"),
        (lambda: estimate("qwen3-8b", context="4K,8K"), "several"),
        (lambda: estimate("qwen3-8b", context=1.5), "whole number"),
        (lambda: estimate("qwen3-8b", context=True), "whole number"),
        (lambda: estimate("qwen3-8b", context=0), "at least 1"),
        (lambda: estimate("qwen3-8b", context=2**41), "2^40"),
        (lambda: estimate("qwen3-8b", batch="x"), "batch"),
        (lambda: estimate("qwen3-8b", kv_format="fp9"), "unknown format"),
        (lambda: estimate("qwen3-8b", kv_format=8), "is no name"),
        (lambda: estimate("qwen3-8b", phase="train"), "train"),
        (lambda: estimate("qwen3-8b", "4K"), "is no scenario"),
        (lambda: estimate("qwen3-8b", include="draft"), "no piece 'draft'"),
        (lambda: estimate("qwen3-8b", allocator="malloc"), "unknown allocator"),
        (lambda: estimate("qwen3-8b", count=2), "need a device"),
        (lambda: estimate("qwen3-8b", device="h101"), "unknown device"),
        (lambda: estimate("qwen3-8b", device=4090), "is no device"),
        (lambda: estimate("qwen3-8b", device="2xh100-sxm", count=4), "which?"),
        (lambda: estimate("qwen3-8b", device="2xh100-sxm", plan=Plan(tp=4)), "4 devices"),
        (lambda: estimate("qwen3-8b", device="h100-sxm", plan={"tq": 4}), "is no plan"),
        (lambda: estimate("qwen3-8b", device="h100-sxm", plan=8), "is no plan"),
        (lambda: estimate("qwen3-8b").records("layer"), "unknown part"),
        (lambda: compare([]), "nothing to compare"),
        (lambda: compare("qwen3-8b", []), "nothing to compare"),
        (lambda: compare("qwen3-8b", weight_format=4), "is no name"),
        (lambda: compare("qwen3-8b", usable="8GiB"), "needs a device"),
    ],
)
def test_whatever_is_refused_is_a_kvcalc_error(call: Any, says: str) -> None:
    with pytest.raises(KvcalcError, match=says.replace("^", r"\^").replace("?", r"\?")):
        call()


def test_objects_do_as_well_as_ids() -> None:
    model, device = load_model("qwen3-8b"), load_device("h100-sxm")
    by_id = estimate("qwen3-8b", device="2xh100-sxm").to_dict()
    assert estimate(model, device=device, count=2).to_dict() == by_id
    assert compare([model], model.max_context, [(2, device)]).estimates[0].to_dict() == by_id


PARTIAL = ROOT / "tests" / "configs" / "sarvamai--sarvam-30b.json"


def test_what_is_not_known_of_a_model_is_never_a_number() -> None:
    it = estimate(PARTIAL, context="4K")
    assert it.state_bytes == it.state_bytes_per_sequence > 0 and it.state_bytes_per_token == 19 * 1024
    for name in ("totals", "pieces", "parameters", "active_parameters", "weight_bytes", "read_bytes", "flops", "attention_flops"):
        with pytest.raises(KvcalcError, match="sarvam-30b: no vocab_size"):
            getattr(it, name)
    for row in (it.record(), *it.records(), *compare([PARTIAL, "qwen3-8b"], "4K").records()[:1]):
        assert row["state_bytes"] == it.state_bytes and row["weight_bytes"] is row["flops"] is row["parameters"] is None
    assert it.record()["state_bytes_per_token"] == 19 * 1024 and it.to_dict()["totals"]["weight_bytes"] is None
    assert "not known" in str(it)


@pytest.mark.parametrize("ships", ["config.json", ""])
def test_what_a_model_ships_does_as_well_as_an_id(ships: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((PARTIAL.parent / "Qwen--Qwen3-8B.json").read_bytes())
    source = tmp_path / ships
    assert estimate(source).totals == estimate(str(source)).totals == estimate("qwen3-8b").totals
    assert compare([source], "8K").records()[0]["state_bytes"] == estimate("qwen3-8b", context="8K").state_bytes


def test_importing_is_quick_and_reads_nothing() -> None:
    code = "import sys, kvcalc; print(sorted(sys.modules)); kvcalc.estimate; print(sorted(sys.modules))"
    first, second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60).stdout.splitlines()
    assert "'yaml'" not in first and "'pydantic'" not in first and "'kvcalc.spec'" not in first
    for name in ("rich", "typer", "matplotlib", "numpy"):
        assert f"'{name}'" not in second


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="estimat"):
        _ = kvcalc.estimat
