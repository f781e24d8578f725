"""Configs that are refused, quantised, damaged or crafted: one line that names the field, or a sound model, in little time."""

import copy
import random
import time
from typing import Any

import pytest
import yaml
from test_import import NAMES, _sizes, fields, imported, read

from kvcalc.errors import KvcalcError
from kvcalc.importers.model import import_config
from kvcalc.ledger import ledger, what_is_known
from kvcalc.scenario import Scenario

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
