"""Any field of a spec set by its path: how settings are read, what unsetting means, what a new kind leaves behind."""

import pytest

from kvcalc.catalog import load_model, read_value
from kvcalc.change import applied, changed, read_setting, read_settings
from kvcalc.errors import SpecError
from kvcalc.ledger import ledger
from kvcalc.scenario import Scenario


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("attention.local.window=1K", ("attention.local.window", 1024)),
        ("attention.local.window = 128K", ("attention.local.window", 131072)),
        ("a.b=null", ("a.b", None)),
        ("a=true", ("a", True)),
        ("a=0", ("a", 0)),
        ("a=-3", ("a", -3)),
        ("storage.state.key=fp8", ("storage.state.key", "fp8")),
        ("layers.0.of=[5 local]", ("layers.0.of", ["5 local"])),
        ("layers.0.of=[4 local, global]", ("layers.0.of", ["4 local", "global"])),
        ("layers.1.reuse={}", ("layers.1.reuse", {})),
        ("layers.1.reuse={local: 13, global: previous}", ("layers.1.reuse", {"local": 13, "global": "previous"})),
        ('name="128K"', ("name", "128K")),
        ("name=a = b", ("name", "a = b")),
    ],
)
def test_settings_are_read_as_yaml_reads_values(text: str, read: tuple[str, object]) -> None:
    assert read_setting(text, read_value) == read


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("attention.local.window", "cannot read 'attention.local.window'"),
        ("=3", "cannot read '=3'"),
        ("a=", "cannot read 'a='"),
        ("a=1.5", "not a whole number"),
        ("layers.0.of=[4 local", "layers.0.of:"),
        ("a={b: 1, b: 2}", "duplicate key 'b'"),
        ("a=[*x]", "aliases"),
        ("a=[1] [2]", "not valid YAML"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        read_setting(text, read_value)
    assert words in caught.value.message and "\n" not in caught.value.message


def test_a_path_is_set_once() -> None:
    texts = ["attention.local.window=1K", "attention.local.window=2K"]
    with pytest.raises(SpecError, match="is set twice"):
        read_settings(texts, read_value)
    assert read_settings(texts[:1], read_value) == {"attention.local.window": 1024}


def test_any_field_can_be_set_and_is_validated() -> None:
    model = load_model("gemma-3-12b")
    assert changed(model, {"attention.local.window": 2048}).attention["local"].window == 2048  # type: ignore[attr-defined]
    assert changed(model, {"layers.0.repeat": 7, "num_hidden_layers": 42}).num_hidden_layers == 42
    assert changed(model, {"storage.state.key": "fp8"}).storage.state == {"key": "fp8"}
    assert changed(model, {"embedding.vocab_size": 1000}).embedding.vocab_size == 1000
    assert changed(model, {}) is model


def test_lists_and_mappings_can_be_set() -> None:
    model = load_model("gemma-4-e2b")
    unshared = changed(model, {"layers.1.reuse": {}})
    assert all(layer.reuses is None for layer in unshared.plan)
    only_local = changed(model, {"layers.0.of": ["5 local"], "layers.1.reuse": {"local": 13}})
    assert [layer.attention for layer in only_local.plan[:15]] == ["local"] * 15
    assert changed(model, {"attention.wide": {"kind": "gqa", "num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 512},
                           "layers.0.of": ["4 local", "wide"], "layers.1.reuse": {"local": 13}}).plan[4].attention == "wide"  # fmt: skip


def test_null_takes_a_key_away_and_gives_a_field_its_default() -> None:
    model = load_model("gpt-oss-20b")
    assert "routed_experts" in model.storage.weights
    plain = changed(model, {"storage.weights.routed_experts": None})
    assert "routed_experts" not in plain.storage.weights
    assert ledger(plain, Scenario()).totals.weight_bytes > ledger(model, Scenario()).totals.weight_bytes
    e2b = load_model("gemma-4-e2b")
    assert changed(e2b, {"layers.1.reuse": None}).layers[1].reuse == {}
    assert list(changed(e2b, {"layers.1.reuse.local": None}).layers[1].reuse) == ["global"]
    assert list(changed(e2b, {"towers.vision_tower": None}).towers) == ["audio_tower"]
    assert changed(e2b, {"towers": None}).towers == {}
    assert changed(e2b, {"attention.local.qk_norm": None}).attention["local"].qk_norm is False  # type: ignore[attr-defined]
    assert changed(e2b, {"embedding.per_layer": None}).embedding.tables == {}
    flash = load_model("deepseek-v4-flash")  # its window has no default: null says every token
    assert changed(flash, {"attention.window.window": None}).attention["window"].window is None  # type: ignore[attr-defined]


def test_a_new_kind_drops_the_fields_that_it_has_not_and_says_which() -> None:
    """DeepSeek-V3.2 as MLA keeps DeepSeek-V3's 61 x (512 + 64) elements for each token."""
    after, words = applied(load_model("deepseek-v3.2"), {"attention.dsa.kind": "mla"})
    assert ledger(after, Scenario(context=1000, kv_format="bf16")).totals.state_bytes == 61 * 576 * 2 * 1000
    assert words[0] == "dropped from attention.dsa, as mla has no such fields: index_n_heads, index_head_dim, index_topk"
    assert "storage.state.index_key" in words[1]


def test_a_new_kind_takes_fields_of_its_own_in_any_order() -> None:
    model = load_model("llama-3.1-8b")
    changes = {"residual.hc_mult": 4, "residual.kind": "mhc"}
    after, words = applied(model, changes)
    assert after.residual.streams_kept == 4 and words == ()
    name = next(iter(model.attention))
    with pytest.raises(SpecError, match="missing"):
        changed(model, {f"attention.{name}.kind": "mla"})
    with pytest.raises(SpecError, match="unknown kind 'mlaa'"):
        changed(model, {f"attention.{name}.kind": "mlaa"})


def test_a_format_that_was_asked_for_is_not_dropped() -> None:
    with pytest.raises(SpecError, match="no row is named 'index_key'"):
        changed(load_model("deepseek-v3.2"), {"attention.dsa.kind": "mla", "storage.state.index_key": "fp8"})


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("attention.local.windw", 1, "attention.local has no 'windw'"),
        ("attention.lokal.window", 1, "attention has no 'lokal'"),
        ("attention.lokal", None, "attention has no 'lokal'"),
        ("layers.9.repeat", 1, "layers has no '9'"),
        ("layers.0", None, "cannot be unset"),
        ("layers.0.of", "5 local", "is not a list"),
        ("hidden_size", None, "null is not a whole number"),
        ("num_hidden_layers", 47, "add up to 48 layers"),
        ("attention.local.window", "wide", "window"),
        ("attention.local.num_key_value_heads", 7, "not a multiple"),
        ("storage.state.nothing", "fp8", "no row is named"),
        ("storage.state.nothing", None, "has no 'nothing'"),
        ("storage", "fp8", "storage"),
        ("embedding.per_layer.dim", 3, "embedding.per_layer is not set"),
        ("attention", {}, "attention"),
        ("layers", [], "layers"),
        ("attention.local.kind", ["gqa"], "kind"),
    ],
)
def test_a_field_that_is_not_there_or_does_not_hold(path: str, value: object, words: str) -> None:
    with pytest.raises(SpecError, match=words) as caught:
        changed(load_model("gemma-3-12b"), {path: value})
    assert "\n" not in caught.value.message


def test_a_changed_model_carries_no_published_figures() -> None:
    """They speak of the release; and may name rows that are gone."""
    assert changed(load_model("gemma-4-e2b"), {"layers.1.reuse": {}}).checks == []
