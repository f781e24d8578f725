"""The same model changed: what each trick saves, against published figures and against itself."""

from fractions import Fraction
from itertools import pairwise
from math import prod

import pytest

from kvcalc.catalog import load_model, model_ids
from kvcalc.change import changed, read_setting
from kvcalc.errors import KvcalcError, ScenarioError, SpecError
from kvcalc.ledger import ledger
from kvcalc.published import Check
from kvcalc.scenario import Scenario
from kvcalc.verify import evaluate
from kvcalc.whatif import MEANINGS, factor, ladder, tricks, without

AT_128K = Scenario(context=131072, kv_format="bf16")


def state(name: str, *undone: str, scenario: Scenario = AT_128K) -> int:
    model = load_model(name)
    for trick in undone:
        model = without(model, trick)
    return ledger(model, scenario).totals.state_bytes


@pytest.mark.parametrize("name", model_ids())
def test_every_trick_of_every_model_can_be_undone_and_is_then_gone(name: str) -> None:
    model = load_model(name)
    scenario = Scenario(context=min(50_000, model.max_context), kv_format="bf16")
    before = ledger(model, scenario).totals.state_bytes
    for trick in tricks(model):
        plain = without(model, trick)
        assert trick not in tricks(plain)
        assert plain.num_hidden_layers == model.num_hidden_layers
        if trick not in (
            "indexer",
            "compression",
        ):  # without an indexer its keys go; a short context may hold less than its buffers
            assert ledger(plain, scenario).totals.state_bytes >= before


@pytest.mark.parametrize("name", model_ids())
def test_the_rungs_multiply_to_the_whole_exactly_and_each_changes_something(name: str) -> None:
    model = load_model(name)
    scenario = Scenario(context=min(131072, model.max_context))
    rungs = ladder(model, scenario)
    assert rungs[-1].ledger.totals == ledger(model, scenario).totals
    for figure in ("state_bytes", "traffic_bytes", "flops"):
        values = [getattr(rung, figure) for rung in rungs]
        steps = [factor(now, before) for before, now in pairwise(values)]
        assert prod(steps, start=Fraction(1)) == Fraction(values[-1], values[0])
    assert all(one.ledger.totals != two.ledger.totals for one, two in pairwise(rungs))
    assert rungs[0].ledger.scenario.kv_format == "bf16" and tricks(rungs[0].ledger.model) == {}


def test_sharing_saves_what_the_check_of_the_spec_says() -> None:
    """Gemma 4 E2B and E4B at 128K in bf16, as built; and the same number by the what-if."""
    for name in ("gemma-4-e2b", "gemma-4-e4b"):
        model = load_model(name)
        saved = state(name, "kv-sharing") - state(name)
        asked = Check(
            what="sharing_saves_bytes", equals=1, context=131072, format="bf16", source="this test", convention="as built"
        )
        assert evaluate(model, asked, load_model).computed == saved > 0


def test_latents_against_heads() -> None:
    """DeepSeek-V2, arXiv:2405.04434: per token 128 heads x (192 + 128) elements of plain attention in each of 60 layers, against
    512 + 64. A ratio of 71.1."""
    plain, latent = (state("deepseek-v2", *undone, scenario=Scenario(context=1000)) for undone in (("latent",), ()))
    assert plain == 60 * 128 * 320 * 2 * 1000 and latent == 60 * 576 * 2 * 1000


def test_grouped_queries_by_their_group() -> None:
    """Llama 3.1: 32 query heads over 8 KV heads, 64 over 8, 128 over 8 (arXiv:2407.21783, table 3)."""
    for name, group in (("llama-3.1-8b", 4), ("llama-3.1-70b", 8), ("llama-3.1-405b", 16)):
        assert state(name, "gqa") == group * state(name)


def test_windows_of_gemma_3_27b() -> None:
    """62 GiB at 131,072 tokens without windows: ik_llama.cpp's log (github.com/ikawrakow/ik_llama.cpp/issues/539, 63,488 MiB)."""
    assert state("gemma-3-27b", "window") == 63488 * 2**20


def test_the_indexer_leaves_mla() -> None:
    """DeepSeek-V3.2 without its indexer keeps what DeepSeek-V3 keeps, and reads all of it."""
    assert state("deepseek-v3.2", "indexer") == state("deepseek-v3")
    plain = ledger(without(load_model("deepseek-v3.2"), "indexer"), AT_128K).totals
    assert plain.attention_flops == ledger(load_model("deepseek-v3"), AT_128K).totals.attention_flops


def test_hyper_connections_cost_traffic_and_save_no_cache() -> None:
    model = load_model("deepseek-v4-flash")
    one = ledger(without(model, "hyper-connections"), AT_128K).totals
    several = ledger(model, AT_128K).totals
    assert several.state_bytes == one.state_bytes
    assert several.read_bytes > one.read_bytes and several.flops > one.flops


def test_head_budgets_cost_no_cache() -> None:
    """Laguna XS.2: 48 query heads in full layers, 64 in windowed ones, 8 KV heads in all."""
    model = load_model("laguna-xs.2")
    plain = without(model, "head-budget")
    assert {part.num_attention_heads for part in plain.attention.values()} == {64}  # type: ignore[attr-defined]
    assert state("laguna-xs.2", "head-budget") == state("laguna-xs.2")
    assert ledger(plain, AT_128K).totals.attention_flops > ledger(model, AT_128K).totals.attention_flops


def test_compression_of_zaya() -> None:
    """CCA keeps 2 KV heads of 128 where full width at the same grouping keeps 4 (arXiv:2510.04476, figure 2): twice the cache."""
    assert state("zaya1-8b", "compression") == 2 * 40 * 2 * 256 * 2 * 131072


def test_a_trick_that_is_not_there() -> None:
    with pytest.raises(ScenarioError, match="does not use latent") as caught:
        without(load_model("laguna-xs.2"), "latent")
    assert caught.value.hint == "its tricks: gqa, window, head-budget"
    with pytest.raises(ScenarioError, match="unknown trick") as caught:
        without(load_model("laguna-xs.2"), "windows")
    assert caught.value.hint == "did you mean 'window'?"
    assert all(set(tricks(load_model(name))) <= set(MEANINGS) for name in model_ids())


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("attention.local.window=1K", ("attention.local.window", 1024)),
        ("a.b=null", ("a.b", None)),
        ("a=true", ("a", True)),
        ("a=0", ("a", 0)),
        ("storage.state.key=fp8", ("storage.state.key", "fp8")),
    ],
)
def test_settings(text: str, read: tuple[str, object]) -> None:
    assert read_setting(text) == read


def test_any_field_can_be_set_and_is_validated() -> None:
    model = load_model("gemma-3-12b")
    assert changed(model, {"attention.local.window": 2048}).attention["local"].window == 2048  # type: ignore[attr-defined]
    assert changed(model, {"layers.0.repeat": 7, "num_hidden_layers": 42}).num_hidden_layers == 42
    assert changed(model, {"storage.state.key": "fp8"}).storage.state == {"key": "fp8"}
    assert changed(model, {"embedding.vocab_size": 1000}).embedding.vocab_size == 1000


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("attention.local.windw", 1, "attention.local has no 'windw'"),
        ("attention.lokal.window", 1, "attention has no 'lokal'"),
        ("layers.9.repeat", 1, "layers has no '9'"),
        ("num_hidden_layers", 47, "add up to 48 layers"),
        ("attention.local.window", "wide", "window"),
        ("attention.local.num_key_value_heads", 7, "not a multiple"),
        ("storage.state.nothing", "fp8", "no row is named"),
    ],
)
def test_a_field_that_is_not_there_or_does_not_hold(path: str, value: object, words: str) -> None:
    with pytest.raises(SpecError, match=words) as caught:
        changed(load_model("gemma-3-12b"), {path: value})
    assert "\n" not in caught.value.message


def test_a_setting_without_a_value() -> None:
    for text in ("attention.local.window", "=3", "a=1.5K5"):
        try:
            read = read_setting(text)
        except KvcalcError:
            continue
        assert read[1] == "1.5K5"
