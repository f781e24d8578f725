"""config.json to spec: against the reference implementation, against hand-written specs, and with damaged and unknown configs.

configs/ holds published config.json files (ORGANISATION--NAME.json, from huggingface.co/ORGANISATION/NAME). truth/imports.json is what
transformers 5.23.0 says of them, built on the meta device: parameters (total, active, by component) and the cache's tensors at several
contexts, as "ELEMENTSxSLOTS": layers for each row, and which layers these are.
Elements of recurrent rows are counted as kept; a convolution keeps K - 1 columns.
"""

import copy
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
import types
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

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


# -- what is refused ----------------------------------------------------------------------------------------------------------------

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"model_type": "lama"}, "model_type: 'lama' is not known"),
    ({"model_type": None}, "model_type: is not in the config"),
    ({"model_type": 7}, "model_type: must be text"),
    ({"hidden_size": None}, "hidden_size: is not in the config"),
    ({"hidden_size": "4096"}, "hidden_size: must be a whole number, not '4096'"),
    ({"hidden_size": True}, "hidden_size: must be a whole number"),
    ({"hidden_size": 4096.0}, "hidden_size: must be a whole number"),
    ({"hidden_size": -4096}, "hidden_size: -4096 is not between"),
    ({"hidden_size": 4097}, "hidden_size: 4,097 is no multiple of 32 heads"),
    ({"hidden_size": 10**400}, "hidden_size: .* is not between"),
    ({"num_key_value_heads": 5}, "32 is not a multiple of num_key_value_heads 5"),
    ({"num_hidden_layers": 10**6}, "num_hidden_layers: .* is not between"),
    ({"n_layer": 40}, "num_hidden_layers 32|n_layer: says 40, but num_hidden_layers says 32"),
    ({"attention_bias": "no"}, "attention_bias: must be true or false"),
    ({"num_key_value_head": 4}, "num_key_value_head: is not known"),
    ({"tie_word_embedding": False, "tie_word_embeddings": None}, "tie_word_embedding: is not known"),
    ({"kv_lora_rank": 512}, "kv_lora_rank: 512 is not understood"),
    ({"num_kv_shared_layers": 8}, "num_kv_shared_layers: 8 is not understood"),
    ({"sliding_window_pattern": 6}, "sliding_window_pattern: 6 is not understood"),
    ({"torch_dtype": "int7"}, "dtype: 'int7' is not known"),
    ({"quantization_config": {"quant_method": "magic"}}, "quantization_config.quant_method: 'magic' is not known"),
    ({"quantization_config": [4]}, "quantization_config: must be a mapping"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[str(change)[:40] for change, _ in REFUSED])
def test_a_refusal_names_the_field(change: dict[str, Any], message: str) -> None:
    config = {key: value for key, value in (LLAMA | change).items() if value is not None}
    with pytest.raises(KvcalcError, match=message) as error:
        read(config)
    assert "\n" not in error.value.message and len(error.value.message) < 400


def test_a_field_that_sizes_nothing_can_be_ignored() -> None:
    config = LLAMA | {"my_cache_layers": 3}
    with pytest.raises(KvcalcError, match="my_cache_layers"):
        read(config)
    ignored = import_config("config.json", config, id="some-model", ignore=["my_cache_layers"])
    assert _sizes(ignored) == _sizes(read(LLAMA))


def test_an_unread_word_is_said() -> None:
    assert any("flavour" in caveat for caveat in read(LLAMA | {"flavour": "vanilla"}).model.caveats)


def test_without_a_vocabulary_the_state_is_complete() -> None:
    model = read({key: value for key, value in LLAMA.items() if key != "vocab_size"}).model
    assert model.unknown == ("vocab_size",)
    whole = ledger(read(LLAMA).model, Scenario(context=1000)).totals
    assert what_is_known(model, Scenario(context=1000)).totals.state_bytes == whole.state_bytes


def test_no_model_type_but_an_architecture() -> None:
    config = {key: value for key, value in LLAMA.items() if key != "model_type"} | {"architectures": ["LlamaForCausalLM"]}
    assert _sizes(read(config)) == _sizes(read(LLAMA))


def test_a_wrapper_holds_the_text_model() -> None:
    text = {key: value for key, value in LLAMA.items() if key != "torch_dtype"}
    wrapped = {"model_type": "llava", "text_config": text, "torch_dtype": "bfloat16", "vision_config": {"hidden_size": 1024}}
    assert _sizes(read(wrapped)) == _sizes(read(LLAMA))


# -- quantised ----------------------------------------------------------------------------------------------------------------------

QUANTISED: list[tuple[dict[str, Any], str, str, int]] = [
    ({"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False}, "attention", "int4-g128-zp", 4),
    ({"quant_method": "awq", "bits": 4, "group_size": 64, "zero_point": True}, "dense_mlp", "int4-g64-zp", 4),
    ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "attention", "fp8-128x128", 8),
    ({"quant_method": "fp8", "modules_to_not_convert": ["lm_head", "self_attn"]}, "dense_mlp", "fp8", 8),
    ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, "dense_mlp", "nf4", 4),
    ({"quant_method": "bitsandbytes", "load_in_8bit": True, "llm_int8_skip_modules": ["lm_head"]}, "attention", "int8-channel-fp32", 8),
    ({"group_size": 64, "bits": 4}, "lm_head", "int4-g64-affine", 4),
    (
        {
            "quant_method": "compressed-tensors",
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "float", "group_size": 16}}},
            "ignore": ["lm_head", "re:.*self_attn.*"],
        },
        "dense_mlp",
        "nvfp4",
        4,
    ),
    ({"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"]}, "attention", "nvfp4", 4),
    (
        {"quant_method": "hqq", "quant_config": {"weight_quant_params": {"nbits": 4, "group_size": 64}}, "skip_modules": ["lm_head"]},
        "dense_mlp",
        "int4-g64-affine",
        4,
    ),
]


@pytest.mark.parametrize(("said", "piece", "stored", "bits"), QUANTISED, ids=[stored for _, _, stored, _ in QUANTISED])
def test_a_quantised_config_stores_its_pieces_so(said: dict[str, Any], piece: str, stored: str, bits: int) -> None:
    plain, model = ledger(read(LLAMA).model, Scenario()), read(LLAMA | {"quantization_config": said}).model
    book = ledger(model, Scenario())
    assert book.totals.parameters == plain.totals.parameters and book.totals.state_bytes == plain.totals.state_bytes
    matrices = [entry for entry in book.by("piece")[piece] if entry.parameters and entry.format == stored]
    assert matrices
    for entry in matrices:
        assert bits * entry.parameters <= 8 * entry.weight_bytes < (bits + 1.2) * entry.parameters


def test_what_is_left_out_keeps_its_format() -> None:
    said = QUANTISED[3][0]
    assert read(LLAMA | {"quantization_config": said}).model.storage.weights.get("attention", "bf16") == "bf16"


# -- damage -------------------------------------------------------------------------------------------------------------------------

WRONG: list[Any] = [None, True, False, 0, -1, 1, 2**70, 1.5, "", "x" * 999, [], [1], [[]], {}, {"a": 1}, float("inf")]


def _damaged(config: dict[str, Any], chance: random.Random) -> tuple[str, dict[str, Any]]:
    """One field gone, renamed or with another value; in a nested config as often inside."""
    config = copy.deepcopy(config)
    inside = config.get("text_config")
    place = inside if isinstance(inside, dict) and chance.random() < 0.7 else config
    name = chance.choice(list(place))
    how = chance.randrange(3)
    if how == 0:
        del place[name]
    elif how == 1:
        place[name + "s"] = place.pop(name)
    else:
        place[name] = chance.choice(WRONG)
    return name, config


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_config_is_refused_in_one_line_or_makes_a_sound_model(name: str) -> None:
    chance = random.Random(name)
    for _ in range(25):
        _, config = _damaged(fields(name), chance)
        try:
            model = read(config).model
        except KvcalcError as error:
            assert "\n" not in error.message and len(error.message) < 1200
            continue
        what_is_known(model, Scenario(context=1000))


SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")


def _place(config: dict[str, Any], field: str) -> dict[str, Any]:
    """The section of a config that says a field."""
    inside = config.get("text_config", {})
    return inside if field in inside else config


@pytest.mark.parametrize(("name", "field"), [(name, field) for name in NAMES for field in SIZES if field in _place(fields(name), field)])
def test_a_missing_size_is_never_made_up(name: str, field: str) -> None:
    config = copy.deepcopy(fields(name))
    del _place(config, field)[field]
    try:
        found = read(config)
    except KvcalcError as error:
        assert field in error.message or "head_dim" in error.message
        return
    stated = any(field in caveat for caveat in found.model.caveats)  # the class's own value, said to be one
    assert stated or found.model.unknown or _sizes(found) == _sizes(imported(name))


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


def test_layers_that_are_left_out_keep_their_format() -> None:
    """By weight and layer, where the config names modules of single layers; exact to the byte."""
    said = {
        "quant_method": "compressed-tensors",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float", "strategy": "channel"}}},
        "ignore": ["lm_head", "model.layers.0.mlp.down_proj", "model.layers.31.mlp.down_proj", "model.layers.3.self_attn"],
    }
    model = read(LLAMA | {"quantization_config": said}).model
    assert model.storage.weights["dense_mlp.down_proj"] == ["bf16", "30 fp8-channel", "bf16"]
    assert model.storage.weights["attention.k_proj"] == ["3 fp8-channel", "bf16", "28 fp8-channel"]
    entries = ledger(model, Scenario()).by("row")["down_proj"]
    assert {entry.format: entry.weight_bytes for entry in entries} == {
        "bf16": 2 * 2 * 4096 * 14336,
        "fp8-channel": 30 * (4096 * 14336 + 2 * 4096),
    }


def test_a_pattern_that_counts_layers_is_said_and_not_run() -> None:
    said = {"quant_method": "fp8", "ignore": ["re:.*(a+)+layers.(0|1).mlp$"]}
    model = read(LLAMA | {"quantization_config": said}).model
    assert any("Not read are patterns" in caveat for caveat in model.caveats)
    assert model.storage.weights == {"attention": "fp8", "dense_mlp": "fp8"}


# -- a config is not trusted --------------------------------------------------------------------------------------------------------

BREAKS_OUT = "zq\x1b[31m\n\u2028\x85\u202e # a:  'b\" \ud800"


@pytest.mark.parametrize("config", [LLAMA | {BREAKS_OUT: "x"}, {"model_type": BREAKS_OUT * 99, "text_config": LLAMA}])
def test_a_name_in_a_caveat_stays_on_its_line(config: dict[str, Any]) -> None:
    found = read(config)
    assert found.model.caveats and all(caveat.isprintable() and len(caveat) < 300 for caveat in found.model.caveats)
    assert yaml.safe_load(found.text)["caveats"] == list(found.model.caveats)


@pytest.mark.parametrize("name", ["layer" + BREAKS_OUT, "num_hidden_layer" + "\x1b", "x" * 9_999 + "_head"])
def test_a_name_in_a_refusal_stays_on_its_line(name: str) -> None:
    with pytest.raises(KvcalcError) as refused:
        read(LLAMA | {name: "x"})
    for text in (refused.value.message, refused.value.hint or ""):
        assert text.isprintable() and len(text) < 300


MANY = range(90_000)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"scaling_" * 100_000 + "\n": "x"}, None),
        ({"_ids" * 100_000 + "\n": "x"}, None),
        ({f"zq{place}": False for place in MANY}, "90,007 fields, more than 4,096|no config has so many"),
        ({"quantization_config": {"quant_method": "fp8", "ignore": ["mlp"] * len(MANY)}}, None),
        ({"quantization_config": {"quant_method": "fp8", "ignore": [f"mlp {place}" for place in MANY]}}, None),
        ({"quantization_config": {"quant_method": "fp8", "ignore": [f"re:a{chr(place + 999)}1" for place in MANY]}}, None),
        ({"quantization_config": {"quant_method": "fp8", "weight_block_size": [1] * 4_096}}, "is a format that is not known"),
        (
            {"quantization_config": {"quant_method": "compressed-tensors", "config_groups": {str(place): {} for place in MANY}}},
            "90,000 groups are more than 64",
        ),
        ({"quantization": {"bits": 4, "group_size": 64} | {f"mlp.{place}": {"bits": 8, "group_size": 64} for place in MANY}}, None),
    ],
)
def test_a_crafted_config_takes_no_long_time(change: dict[str, Any], why: str | None) -> None:
    start = time.process_time()
    if why is None:
        assert all(len(caveat) < 300 for caveat in read(LLAMA | {"num_hidden_layers": 2_000} | change).model.caveats)
    else:
        with pytest.raises(KvcalcError, match=why) as refused:
            read(LLAMA | change)
        assert len(refused.value.message) < 300
    assert time.process_time() - start < 4
