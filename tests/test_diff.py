"""`diff` and `list models`: what differs, in which layers, and what is asked for."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kvcalc.catalog import load_model
from kvcalc.change import changed
from kvcalc.difference import differences, ranges
from kvcalc.errors import KvcalcError
from kvcalc.ledger import ledger
from kvcalc.report.difference import difference
from kvcalc.report.models import WantedModels, attention, models
from kvcalc.scenario import Scenario
from kvcalc.whatif import Change

CONFIGS = Path(__file__).parent / "configs"


def test_the_same_model_differs_in_nothing() -> None:
    model = load_model("gemma-4-e2b")
    assert differences(model, model) == []
    change = Change(ledger(model, Scenario()), ledger(model, Scenario()))
    assert difference(change).parts[0] == "No field of their layouts differs."


def test_one_field_of_some_layers() -> None:
    model = load_model("gemma-3-12b")
    (found,) = differences(model, changed(model, {"attention.local.window": 512}))
    assert (found.field, found.one, found.other, len(found.layers)) == ("attention.window", 1024, 512, 40)
    assert found.layers[:6] == (0, 1, 2, 3, 4, 6)  # every sixth is global


def test_layers_that_only_one_has() -> None:
    model = load_model("llama-3.1-8b")
    shorter = changed(model, {"num_hidden_layers": 30, "layers.0.of": ["30 full"]})
    found = {each.field: each for each in differences(model, shorter)}
    assert found["num_hidden_layers"][1:3] == (32, 30)
    assert found["layer"] == ("layer", "there", None, (30, 31))


def test_another_kind_is_said_as_a_whole() -> None:
    found = {each.field: each for each in differences(load_model("qwen3-32b"), load_model("qwen3.5-27b"))}
    assert found["attention"][1:3] == ("gqa", "gdn") and len(found["attention"].layers) == 48
    assert found["attention.head_dim"] == ("attention.head_dim", 128, 256, tuple(range(3, 64, 4)))


@pytest.mark.parametrize(
    ("places", "said"),
    [((0, 1, 2, 5), "0-2, 5"), ((3, 7, 11, 15), "3, 7 ... 15"), ((0, 1, 4, 5, 8, 9, 12, 13), "0-1, 4-5 ... 12-13"), ((4,), "4"), ((), "")],
)
def test_places_in_few_words(places: tuple[int, ...], said: str) -> None:
    assert ranges(places) == said


def test_a_config_beside_a_spec_as_one_types_it() -> None:
    command = [sys.executable, "-m", "kvcalc", "diff", "qwen3-8b", str(CONFIGS / "Qwen--Qwen3-8B.json"), "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "No field" in done.stdout
    assert json.loads(done.stdout)


def test_programs_get_numbers_and_people_words() -> None:
    one, other = load_model("qwen3-32b"), load_model("qwen3.5-27b")
    answer = difference(Change(ledger(one, Scenario()), ledger(other, Scenario())))
    table = answer.tables[0]
    found = {row["field"]: row for row in table.records()}
    assert (found["max_context"]["one"], found["max_context"]["other"]) == (40960, 262144)
    assert table.body[0] == ["max_context", "40K", "256K", "-"]
    assert found["attention"]["layers"] == "48: 0-2, 4-6 ... 60-62" and found["attention.output_gate"]["one"] is None
    assert any("counted from 0" in note for note in answer.notes)


def test_two_models_of_one_id_are_told_apart() -> None:
    model = load_model("gemma-3-12b")
    wider = changed(model, {"attention.local.window": 2048})
    table = difference(Change(ledger(model, Scenario()), ledger(wider, Scenario()))).tables[0]
    assert table.heads == ["field", "gemma-3-12b (1)", "gemma-3-12b (2)", "layers"]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("gemma-3-1b", "22 window-512 + 4 full MQA 4/1x256"),
        ("llama-3.1-8b", "32 GQA 32/8x128"),
        ("deepseek-v3.2", "61 DSA 512+64 top-2048"),
        ("mimo-v2-flash", "9 full GQA 64/4x192:128 + 39 window-128 GQA 64/8x192:128"),
        ("gemma-4-e2b", "28 window-512 MQA 8/1x256 + 7 full MQA 8/1x512, 20 share"),
        ("falcon-h1-0.5b", "36 GQA 8/2x64 | MAMBA2"),
        ("nemotron-h-8b", "24 MAMBA2 + 4 GQA 32/8x128 + 24 without"),
        ("iquest-coder-v1-40b-loop", "80 GQA 40/8x128 + 80 LOOP-GQA 40/8x128, 80 run again"),
    ],
)
def test_attention_in_a_few_words(model: str, words: str) -> None:
    assert attention(load_model(model)) == words


def listed(*names: str, **wanted: object) -> list[object]:
    return [row["id"] for row in models([load_model(name) for name in names], WantedModels(**wanted)).rows]  # type: ignore[arg-type]


def test_filters() -> None:
    some = ("llama-3.1-8b", "deepseek-v3", "falcon-h1-0.5b", "qwen3-8b")
    assert listed(*some, kind="mamba2") == ["falcon-h1-0.5b"]  # inside a layer of two states
    assert listed(*some, family="qwen") == listed(*some, family="Qwen") == ["qwen3-8b"]
    assert listed(*some, kind="moe") == listed(*some, kind="MLA") == ["deepseek-v3"]
    assert listed("deepseek-v4-flash", *some, kind="CSA-HCA") == ["deepseek-v4-flash"]
    assert listed(*some, most_parameters=8_100_000_000) == ["llama-3.1-8b", "falcon-h1-0.5b"]
    assert listed(*some, least_parameters=8_100_000_000, least_context=131072) == ["deepseek-v3"]
    with pytest.raises(KvcalcError, match="no kind is named 'mambo'"):
        listed(*some, kind="mambo")
    with pytest.raises(KvcalcError, match="no family is named 'lama'"):
        listed(*some, family="lama")


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--max-params", "1M"], 1, "models meets all of this"),
        (["--min-params", "7"], 2, "write --min-params 7B"),
        (["--max-params", "small"], 2, "--max-params: cannot read 'small'"),
        (["--kind", "mla", "--max-params", "20B"], 0, "deepseek-v2-lite"),
        (["--vendor", "nvidia"], 2, "these filters are for hardware"),
    ],
)
def test_the_list_as_one_types_it(options: list[str], code: int, words: str) -> None:
    done = subprocess.run([sys.executable, "-m", "kvcalc", "list", "models", *options], capture_output=True, text=True)
    assert done.returncode == code and words in done.stdout + done.stderr
