"""config.json to spec: against the reference implementation, against hand-written specs, and with damaged and unknown configs.

configs/ holds published config.json files (ORGANISATION--NAME.json, from huggingface.co/ORGANISATION/NAME). truth/imports.json is what
transformers 5.23.0 says of them, built on the meta device: parameters (total, active, by component) and the cache's tensors at several
contexts, as "ELEMENTSxSLOTS": layers for each row, and which layers these are.
Elements of recurrent rows are counted as kept; a convolution keeps K - 1 columns.
"""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
import types
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from kvcalc.catalog import check_file, load_model, model_ids
from kvcalc.errors import KvcalcError
from kvcalc.importers.model import Imported, import_config, readers
from kvcalc.importers.sources import import_source
from kvcalc.ledger import ledger, state_bytes, state_terms, what_is_known
from kvcalc.scenario import Scenario

ROOT = Path(__file__).parent.parent
CONFIGS = Path(__file__).parent / "configs"
NAMES = sorted(file.stem for file in CONFIGS.glob("*.json"))
TRUTH: dict[str, Any] = json.loads((Path(__file__).parent / "truth" / "imports.json").read_text())
NOT_PART_OF_AN_ID = re.compile(
    r"^meta-(?=llama)|^nvidia-(?=nemotron)|^(?:ai21|c4ai|tencent)-"
    r"|-(?:it|hf|instruct|base|chat|bf16|pt|dpo|8k)(?=-|$)|-text$|(?<=8x7b)-v0\.1|(?<=8x22b)-v0\.1"
)
ROWS = {"key_loop2": "key_loop", "value_loop2": "value_loop"}
"""Rows that the truth calls otherwise: it numbers the passes of a loop."""
TOGETHER = {"conv_bc": "conv"}
"""Rows that the truth counts as one: Mamba-2's convolution, of which tensor parallelism cuts x by heads, B and C by groups."""
STATE_ALONE = {"ibm-granite--granite-4.0-h-micro", "openbmb--MiniCPM4-8B", "sarvamai--sarvam-30b", "tencent--Hy3-preview"}
"""Configs that do not say what the parameters need; their state is complete."""
STORED_OTHERWISE = {"nvidia--NVIDIA-Nemotron-3.5-Lightning-30B-A3B-NVFP4"}
"""Configs that do not say how the release stores its weights; the written spec does."""


@cache
def fields(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((CONFIGS / f"{name}.json").read_text())
    return data


@cache
def imported(name: str) -> Imported:
    return import_source(str(CONFIGS / f"{name}.json"))


def read(config: dict[str, Any]) -> Imported:
    return import_config("config.json", config, id="some-model")


# -- against the reference implementation -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_config_imports(name: str) -> None:
    assert imported(name).model.num_hidden_layers > 0


@pytest.mark.parametrize("name", TRUTH)
def test_parameters(name: str) -> None:
    """Total and active; of whisper the decoder alone, whose encoder is a tower."""
    truth, model = TRUTH[name], imported(name).model
    if name in STATE_ALONE:
        assert model.unknown and truth["total"] is None
        with pytest.raises(KvcalcError, match=model.unknown[0]):
            ledger(model, Scenario())
        return
    if truth["total"] is None:  # the file lacks what decides; a person found it elsewhere, or it is refused
        assert model.unknown
        return
    sums = ledger(model, Scenario(context=1)).totals
    encoder = sum(tower.parameters for tower in model.towers.values()) if "decoder_only_active" in truth else 0
    assert sums.parameters + encoder == truth["total"]
    assert sums.active_parameters == truth.get("decoder_only_active", truth["active"])


COMPONENTS = {"embedding": "embeddings", "attention_mixer": "attention", "head": "lm_head", "position_table": "position_embeddings"}
"""What the truth calls our pieces."""
FOLDED = {
    "nemotron_h": {"dense_mlp": "attention"},  # the reference has one class of mixer for its layers, plain MLPs among them
    "gemma3n": {
        **dict.fromkeys(("ple_projections", "laurel", "altup", "per_layer_embedding_and_altup"), "router"),
        "lookup_table": "ple_table",
    },
}
"""By model type: components that one of the two counts under another's name. AltUp has a router."""


@pytest.mark.parametrize("name", [name for name in TRUTH if TRUTH[name]["total"] is not None])
def test_components(name: str) -> None:
    """Piece by piece; an encoder is a tower."""
    folded = FOLDED.get(fields(name)["model_type"], {})
    found, expected = Counter[str](), Counter[str]()
    for entry in ledger(imported(name).model, Scenario(context=1)).entries:
        found[folded.get(entry.piece, entry.piece)] += entry.parameters
    for component, count in TRUTH[name]["components"].items():
        piece = COMPONENTS.get(component, component)
        expected[folded.get(piece, piece)] += 0 if component == "encoder" else count
    assert +found == +expected


@pytest.mark.parametrize("name", TRUTH)
def test_state(name: str) -> None:
    """Every row, layer by layer: elements, slots and how many layers have it so, at every context. `test_bytes` adds up what the ledger
    makes of them."""
    model = imported(name).model
    for context, truth in TRUTH[name]["state"].items():
        slots: dict[tuple[int, str, int], int] = {}  # RWKV's two halves of a layer keep one input each under one name
        for block in model.blocks:
            for row in (row for row in block.rows if row.owned):
                for place in block.places:
                    key = (place, row.name, row.elements)
                    slots[key] = slots.get(key, 0) + row.held.count(int(context))
        wide: dict[tuple[int, str, int], int] = {}
        for (place, row_name, elements), held in slots.items():
            together = (place, TOGETHER.get(row_name, row_name), held)
            wide[together] = wide.get(together, 0) + elements
        found: dict[str, Counter[str]] = {}
        for (_, row_name, held), elements in wide.items():
            found.setdefault(row_name, Counter())[f"{elements}x{held}"] += 1
        assert found == {ROWS.get(row, row): Counter(sizes) for row, sizes in truth["rows"].items()}, context


@pytest.mark.parametrize("name", TRUTH)
def test_layers_of_each_row(name: str) -> None:
    """Which layers keep it: a pattern that begins at another layer has the same sums."""
    found: dict[str, set[int]] = {}
    for block in imported(name).model.blocks:
        for row in (row for row in block.rows if row.owned):
            found.setdefault(TOGETHER.get(row.name, row.name), set()).update(block.places)
    assert found == {ROWS.get(row, row): set(_spelt_out(said)) for row, said in TRUTH[name]["layers"].items()}


def _spelt_out(runs: str) -> Iterator[int]:
    """'0-2 5' -> 0, 1, 2, 5."""
    for run in runs.split():
        first, _, last = run.partition("-")
        yield from range(int(first), int(last or first) + 1)


@pytest.mark.parametrize("name", TRUTH)
def test_bytes(name: str) -> None:
    """In 16 bits, recurrent rows in fp32, what transformers keeps as a convolution's input in 16 bits."""
    model = imported(name).model
    terms = state_terms(model, "bf16")
    for context, truth in TRUTH[name]["state"].items():
        assert state_bytes(terms, int(context)) in {value for key, value in truth.items() if key.startswith("bf16_bytes")}


MORE = CONFIGS.parent / "configs_more"
TOTALS: dict[str, Any] = json.loads((MORE / "totals.json").read_text())
"""Configs that were not seen while the readers were written: old names, fine-tunes, wrappers, quantised re-uploads."""


@pytest.mark.parametrize("name", TOTALS)
def test_parameters_of_configs_found_later(name: str) -> None:
    model = import_source(str(MORE / f"{name}.json")).model
    assert ledger(model, Scenario(context=1)).totals.parameters == TOTALS[name]["total"]


# -- against specs that a person wrote ----------------------------------------------------------------------------------------------


def _id(name: str) -> str:
    return NOT_PART_OF_AN_ID.sub("", name.rpartition("--")[2].lower()).replace("_", ".")


WRITTEN = {name: _id(name) for name in NAMES if _id(name) in model_ids()}


@pytest.mark.parametrize("name", WRITTEN)
def test_as_the_written_spec(name: str) -> None:
    """The same ledger: parameters, bytes as released, traffic, FLOPs, in decode and prefill."""
    model, written = imported(name).model, load_model(WRITTEN[name])
    if not model.unknown and not any("names no longest context" in caveat for caveat in model.caveats):
        assert model.max_context == written.max_context
    for scenario in (
        Scenario(context=5000),
        Scenario("prefill", 5000, 3),
        Scenario(context=1, kv_format="bf16", weight_format="bf16"),
    ):
        if name in STORED_OTHERWISE:
            scenario = replace(scenario, weight_format="bf16")
        if model.unknown:  # the file lacks what a person found elsewhere
            assert what_is_known(model, scenario).totals.state_bytes == what_is_known(written, scenario).totals.state_bytes
        else:
            assert ledger(model, scenario).totals == ledger(written, scenario).totals


DRAFTED = [name for name in WRITTEN if load_model(WRITTEN[name]).draft]


@pytest.mark.parametrize("name", DRAFTED)
def test_layers_that_draft_are_those_of_the_written_spec(name: str) -> None:
    """Where the config says that there are some: the same ledger with them, in the release's formats and in 16 bits."""
    model, written = imported(name).model, load_model(WRITTEN[name])
    if model.draft is None:
        said = any("raft stages" in caveat and "not counted" in caveat for caveat in model.caveats)
        assert said or not any(word in json.dumps(fields(name)) for word in ("nextn", "mtp"))
        return
    for scenario in (Scenario(context=5000, include=("draft",)), Scenario(context=300, weight_format="bf16", include=("draft",))):
        if name in STORED_OTHERWISE:
            scenario = replace(scenario, weight_format="bf16")
        if model.unknown:
            assert what_is_known(model, scenario).totals.state_bytes == what_is_known(written, scenario).totals.state_bytes
        else:
            assert ledger(model, scenario).totals == ledger(written, scenario).totals


def test_many_configs_have_layers_that_draft() -> None:
    assert sum(imported(name).model.draft is not None for name in DRAFTED) >= 12


def test_most_models_have_both() -> None:
    assert len(WRITTEN) > 60


# -- what is written ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_text_loads_to_the_same_spec(name: str, tmp_path: Path) -> None:
    file = tmp_path / f"{imported(name).model.id}.yaml"
    file.write_text(imported(name).text)
    assert check_file(str(file)) == imported(name).model


@pytest.mark.parametrize("name", NAMES)
def test_each_number_of_a_part_has_its_field_beside_it(name: str) -> None:
    part = None
    for line in imported(name).text.splitlines():
        top = re.match(r"([a-z_]+):", line)
        part = top[1] if top else part
        if part in ("attention", "feedforward", "hidden_size", "max_context") and re.search(r": \d+( |$)", line):
            assert re.search(r"# \S", line), line


# -- old names, decoys, lists -------------------------------------------------------------------------------------------------------

SPELT = [
    ("tiiuae--falcon-40b", "RefinedWeb", {"num_hidden_layers": "n_layer", "num_attention_heads": "n_head", "num_kv_heads": "n_head_kv"}),
    ("tiiuae--falcon-7b", "RefinedWebModel", {"num_hidden_layers": "n_layer", "num_attention_heads": "n_head"}),
]


@pytest.mark.parametrize(("name", "model_type", "names"), SPELT)
def test_an_old_spelling_is_the_same_model(name: str, model_type: str, names: dict[str, str]) -> None:
    old = {names.get(key, key): value for key, value in fields(name).items()} | {"model_type": model_type}
    assert _sizes(read(old)) == _sizes(imported(name))


def _sizes(found: Imported) -> tuple[Any, ...]:
    return tuple(what_is_known(found.model, Scenario(context=t)).totals for t in (1, 5000))


DECOYS = [
    ("tiiuae--falcon-7b", 8_192),
    ("tiiuae--falcon-40b", 122_880),
    ("openbmb--MiniCPM3-4B", 35_712),
    ("moonshotai--Kimi-Linear-48B-A3B-Instruct", 8_064),
    ("meituan-longcat--LongCat-Flash-Chat", 64_512),
    ("zai-org--GLM-5.2-FP8", 95_232),
    ("tencent--Tencent-Hunyuan-Large", 81_920),
    ("google--gemma-3n-E4B-it", 8_192),
    ("google--gemma-3-1b-pt", 4_096),
    ("google--gemma-2-27b", 188_416),
    ("XiaomiMiMo--MiMo-V2-Flash", 23_040),
    ("nvidia--Llama-3_3-Nemotron-Super-49B-v1", 200_704),
    ("Deci--DeciLM-7B-instruct", 34_304),
]


@pytest.mark.parametrize(("name", "growth"), DECOYS)
def test_a_decoy_decoys_nobody(name: str, growth: int) -> None:
    """Bytes of one further token in 16 bits, far beyond every window."""
    terms = state_terms(imported(name).model, "bf16")
    assert state_bytes(terms, 1_000_001) - state_bytes(terms, 1_000_000) == growth


def test_a_window_that_is_not_said_is_the_class_default() -> None:
    config = copy.deepcopy(fields("mistralai--Mistral-7B-v0.1"))
    del config["sliding_window"]
    assert _sizes(read(config)) == _sizes(imported("mistralai--Mistral-7B-v0.1"))
    assert any("sliding_window 4,096" in caveat for caveat in read(config).model.caveats)
    config["sliding_window"] = None
    assert "window" not in str(read(config).model.attention["full"].model_dump(exclude_none=True))


# -- adding a family ----------------------------------------------------------------------------------------------------------------


def test_every_reader_has_types_of_its_own() -> None:
    assert len(readers()) > 100


def test_a_family_is_one_file(tmp_path: Path) -> None:
    """The diff of docs/import.md, applied to a copy of the package."""
    text = (ROOT / "docs" / "import.md").read_text()
    diff = re.search(r"```diff\n(.*?)```", text, re.S)
    assert diff
    head, *lines = diff[1].splitlines()[1:]
    path, count = head.removeprefix("+++ b/"), len([line for line in lines if line.startswith("+")])
    assert lines[0] == f"@@ -0,0 +1,{count} @@"
    for folder in ("kvcalc", "specs", "hardware", "assumptions"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / path).write_text("\n".join(line.removeprefix("+") for line in lines[1:]) + "\n")
    config = {
        "model_type": "harbour",
        "hidden_size": 64,
        "num_decks": 8,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "tide_window": 16,
        "hold_size": 128,
        "vocab_size": 100,
        "max_position_embeddings": 4096,
        "dtype": "bfloat16",
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    done = subprocess.run(
        [sys.executable, "-m", "kvcalc", "estimate", "config.json", "-c", "100", "--format", "json"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["totals"]["state_bytes"] == 2 * (2 * 16) * 2 * (2 * 100 + 6 * 16)
    assert found["parameters"]["total"] == 100 * 64 + 64 + 8 * (2 * 64 * 64 + 2 * 64 * 32 + 2 * 16 + 3 * 64 * 128 + 2 * 64)


# -- from the hub -------------------------------------------------------------------------------------------------------------------


def _hub(monkeypatch: pytest.MonkeyPatch, download: Any) -> None:
    module = types.ModuleType("huggingface_hub")
    module.hf_hub_download = download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)


def test_a_model_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(repository: str, name: str, revision: str | None) -> str:
        asked.append((repository, name, revision))
        if name != "config.json":
            raise OSError("404")
        return str(CONFIGS / "Qwen--Qwen3-8B.json")

    _hub(monkeypatch, download)
    found = import_source("hf:Qwen/Qwen3-8B@abc")
    assert asked[0] == ("Qwen/Qwen3-8B", "config.json", "abc")
    assert found.model.sources["config"] == "https://huggingface.co/Qwen/Qwen3-8B/blob/abc/config.json"
    assert _sizes(found) == _sizes(imported("Qwen--Qwen3-8B"))


def test_offline_the_hub_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*asked: object, **more: object) -> str:
        raise OSError("cannot reach the hub\nand a long tail")

    _hub(monkeypatch, download)
    with pytest.raises(KvcalcError, match=r"hf:Qwen/Qwen3-8B: cannot be fetched: cannot reach the hub$"):
        import_source("hf:Qwen/Qwen3-8B")
    with pytest.raises(KvcalcError, match="not the name of a model"):
        import_source("hf:../../etc/passwd")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(KvcalcError, match="huggingface_hub is not installed"):
        import_source("hf:Qwen/Qwen3-8B")


# -- models whose parameters are not known, as one types it -------------------------------------------------------------------------

PARTIAL = str(CONFIGS / "sarvamai--sarvam-30b.json")


def kvcalc(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "kvcalc", *arguments], capture_output=True, text=True)


def test_what_is_not_known_is_null() -> None:
    done = kvcalc("estimate", PARTIAL, "-c", "128K", "--format", "json")
    data = json.loads(done.stdout)
    assert data["parameters"] == {"total": None, "active": None} and data["pieces"] == []
    assert data["totals"]["state_bytes"] == 2_550_136_832 and data["totals"]["weight_bytes"] is None
    assert "no vocab_size" in done.stderr


@pytest.mark.parametrize("command", ["fit {} --on rtx-4090", "estimate {} --on rtx-4090", "whatif {} --without gqa", "diff {} qwen3-8b"])
def test_what_needs_weights_is_refused_by_the_missing_field(command: str) -> None:
    done = kvcalc(*command.format(PARTIAL).split())
    assert done.returncode == 2 and "no vocab_size" in done.stderr and "Traceback" not in done.stderr


def test_state_alone_is_compared() -> None:
    done = kvcalc("compare", PARTIAL, "qwen3-8b", "-c", "4K", "--format", "csv")
    first = dict(zip(*(line.split(",") for line in done.stdout.splitlines()[:2]), strict=True))
    assert done.returncode == 0 and first["state_bytes"] == str(19 * 1024 * 4096) and first["weight_bytes"] == ""


def test_a_spec_is_written_once(tmp_path: Path) -> None:
    source, target = str(CONFIGS / "Qwen--Qwen3-8B.json"), str(tmp_path / "mine.yaml")
    assert kvcalc("import", source, "-o", target).returncode == 0
    assert load_model(target).id == "mine"
    again = kvcalc("import", source, "-o", target)
    assert again.returncode == 2 and "is there already" in again.stderr
    assert kvcalc("import", source, "-o", target, "--force").returncode == 0
    assert kvcalc("import", source, "-o", str(tmp_path / "no" / "such.yaml")).returncode == 2
