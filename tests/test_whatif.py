"""The same model changed: what each trick saves, against published figures and against itself."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import pytest
from conftest import MODELS, VARIED

from kvcalc.catalog import load_device, load_model
from kvcalc.change import changed
from kvcalc.errors import ScenarioError, SpecError
from kvcalc.ledger import ledger
from kvcalc.parallel import Plan
from kvcalc.published import Check
from kvcalc.report import whatif as report
from kvcalc.report.table import Table
from kvcalc.report.writers import WRITERS
from kvcalc.scenario import Scenario
from kvcalc.spec import ModelSpec
from kvcalc.units import times
from kvcalc.verify import evaluate
from kvcalc.whatif import MEANINGS, Change, _undone, checks, factor, ladder, steps, tricks, without

AT_128K = Scenario(context=131072, kv_format="bf16")


N = 131072
KVCALC = [sys.executable, "-m", "kvcalc"]
H200 = load_device("h200-sxm-141gb")


def state(name: str, *undone: str, scenario: Scenario = AT_128K) -> int:
    model = load_model(name)
    for trick in undone:
        model = without(model, trick)
    return ledger(model, scenario).totals.state_bytes


@pytest.mark.parametrize("name", VARIED)
def test_every_trick_of_every_model_can_be_undone_and_is_then_gone(name: str) -> None:
    model = load_model(name)
    scenario = Scenario(context=min(50_000, model.max_context), kv_format="bf16")
    before = ledger(model, scenario).totals.state_bytes
    for trick in tricks(model):
        plain = without(model, trick)
        assert trick not in tricks(plain)
        assert plain.num_hidden_layers == model.num_hidden_layers
        if trick not in ("indexer", "compression", "hyper-connections"):
            # without an indexer its keys go; a short context may hold less than buffers; a convolution may run over each stream
            assert ledger(plain, scenario).totals.state_bytes >= before


@pytest.mark.parametrize("name", VARIED)
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


def test_sharing_saves_108_gb_in_e2b() -> None:
    """By hand, at 128K in bf16: of the 20 layers that share, 16 are local and would keep 512 tokens of a key and a value of 1 x 256;
    4 are global and would keep all tokens of 1 x 512. 1.08 GB, where an article says 2.7."""
    saved = 16 * 2 * 256 * 512 * 2 + 4 * 2 * 512 * N * 2
    assert saved == 1_082_130_432
    assert state("gemma-4-e2b", "kv-sharing") - state("gemma-4-e2b") == saved


PLAIN = {  # layers x (heads x (key + value)), the sum over kinds of layers, from the configs
    "gemma-4-e2b": [28 * 8 * (256 + 256), 7 * 8 * (512 + 512)],
    "laguna-xs.2": [40 * 64 * (128 + 128)],
    "zaya1-8b": [40 * 16 * (128 + 128)],
    "deepseek-v3": [61 * 128 * (192 + 128)],
    "deepseek-v4-flash": [43 * 64 * (512 + 512)],
    "qwen3-next-80b-a3b": [48 * 16 * (256 + 256)],
    "gpt-oss-20b": [24 * 64 * (64 + 64)],
    "llama-3.1-8b": [32 * 32 * (128 + 128)],
}
PLAIN_GIB = {
    "gemma-4-e2b": 42,
    "laguna-xs.2": 160,
    "zaya1-8b": 40,
    "deepseek-v3": 610,
    "deepseek-v4-flash": 688,
    "qwen3-next-80b-a3b": 96,
    "gpt-oss-20b": 48,
    "llama-3.1-8b": 64,
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_attention_keeps_what_the_config_says_by_hand(name: str) -> None:
    """Every head its own key and value for every one of 131,072 tokens, 2 bytes an element."""
    first = ladder(load_model(name), Scenario(context=N))[0]
    assert first.state_bytes == sum(PLAIN[name]) * 2 * N == PLAIN_GIB[name] * 2**30


@pytest.mark.parametrize("name", PLAIN)
def test_the_printed_factors_multiply_to_the_footer_and_the_savings_add_up_to_it(name: str) -> None:
    """Against totals computed apart: plain attention by hand, the shipped model by its own ledger, as exact fractions."""
    model, scenario = load_model(name), Scenario(context=N)
    table = tables(report.ladder(ladder(model, scenario)).parts)[0]
    (footer,), rows = table.footer, table.rows[1:]
    plain, shipped = sum(PLAIN[name]) * 2 * N, ledger(model, scenario).totals
    bare = without(model, *reachable(model))
    in_bf16 = ledger(bare, Scenario(context=N, kv_format="bf16", weight_format="bf16")).totals
    assert in_bf16.state_bytes == plain
    moved = (shipped.read_bytes + shipped.written_bytes, in_bf16.read_bytes + in_bf16.written_bytes)
    for key, now, before in (("state", shipped.state_bytes, plain), ("traffic", *moved), ("flops", shipped.flops, in_bf16.flops)):
        assert product(rows, f"{key}_factor") == footer[f"{key}_factor"] == Fraction(now, before)
        assert sum(row[f"{key}_saved"] for row in rows) == footer[f"{key}_saved"] == before - now  # type: ignore[misc]


def product(rows: Sequence[dict[str, Any]], key: str) -> Fraction:
    assert all(isinstance(row[key], Fraction) for row in rows)
    return prod((row[key] for row in rows), start=Fraction(1))


def tables(parts: Sequence[object]) -> list[Table]:
    return [part for part in parts if isinstance(part, Table)]


def reachable(model: ModelSpec) -> list[str]:
    """The tricks of a ladder: those that can be undone one after the other."""
    now, found = model, []
    for name in reversed(MEANINGS):
        after = _undone(now, name)
        if after is not None:
            now = after
            found.append(name)
    return found


@pytest.mark.parametrize("name", VARIED)
def test_the_rungs_stand_in_the_order_of_the_explanation(name: str) -> None:
    order = ["plain attention", *MEANINGS, "state format", "weight format"]
    places = [order.index(rung.name) for rung in ladder(load_model(name), Scenario(context=4096))]
    assert places == sorted(set(places))


@pytest.mark.parametrize("name", VARIED)
def test_a_trick_leaves_the_rest_of_the_model_as_it_is(name: str) -> None:
    """Feed-forward, router, residual, embeddings, head: equal to the byte and FLOP. Query heads too, but where they are the trick."""
    model, scenario = load_model(name), Scenario(context=1000)
    attention = {"norms", "indexer"} | {w.piece for block in model.blocks if block.part == "attention" for w in block.weights}
    streams, tables = {"mhc", "engram_projection", "altup", "laurel"}, {"ple_table", "ple_projections"}
    pieces = {"hyper-connections": streams, "per-layer-embeddings": tables}
    before = ledger(model, scenario).by("piece")
    for trick in tricks(model):
        after = without(model, trick)
        mine = attention | pieces.get(trick, set())
        now = Change(ledger(model, scenario), ledger(after, scenario)).by("piece")
        assert {piece for piece, (one, two) in now.items() if one != two} <= mine
        assert set(before) - mine == set(now) - mine
        assert {layer.feedforward for layer in after.plan} == {layer.feedforward for layer in model.plan}
        if trick not in ("head-budget", "linear-attention") and not (trick == "compression" and name.startswith("zaya1")):
            assert query_heads(after) == query_heads(model)


def query_heads(model: ModelSpec) -> list[int]:
    return [getattr(model.attention[layer.attention], "num_attention_heads", 0) for layer in model.plan]


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
    """CCA keeps 2 KV heads of 128 where full width at the same grouping keeps 4 (arXiv:2510.04476, figure 2): twice the cache. Its
    queries are compressed too (8 heads where the width of 2,048 has 16), so that against plain attention it is the 8 times of the
    model card: 2 x 2,048 elements against 2 x 2 x 128."""
    assert state("zaya1-8b", "compression") == 2 * 40 * 2 * 256 * 2 * 131072
    rungs = ladder(load_model("zaya1-8b"), AT_128K)
    assert rungs[0].state_bytes == 8 * 40 * 2 * 2 * 128 * 2 * N
    assert "16 query heads instead of 8" in tricks(load_model("zaya1-8b"))["compression"]


@pytest.mark.parametrize(
    ("name", "trick", "says", "not_says"),
    [
        ("deepseek-v4.1-flash", "compression", "the window, the indexer and the sharing between layers; a prompt", ""),
        ("deepseek-v4-flash", "compression", "the window and the indexer (in 41 of 43 layers)", "sharing"),
        ("deepseek-v4-flash", "window", "(in 2 of 43 layers; in the others it goes with compression)", ""),
        ("zaya1-74b-preview", "compression", "32 query heads instead of 16", "window"),
        ("zaya1-8b", "compression", "as wide as the model", "indexer"),
        ("gemma-4-e2b", "kv-sharing", "(in 20 of 35 layers)", "prompt"),
        ("deepseek-v4.1-flash", "kv-sharing", "a prompt then runs through all layers", ""),
        ("deepseek-v3", "low-rank-projections", "full query matrices, instead of two narrow ones", "output"),
        ("laguna-xs.2", "head-budget", "(in 10 of 40 layers)", "KV heads"),
    ],
)
def test_the_words_say_what_goes_in_this_model(name: str, trick: str, says: str, not_says: str) -> None:
    words = tricks(load_model(name))[trick]
    assert says in words and (not not_says or not_says not in words)


def test_the_output_projection_is_named_where_it_is_in_two_parts() -> None:
    names = ("compression", "window", "key-is-value", "low-rank-projections")
    assert "query and output matrices" in steps(load_model("deepseek-v4-flash"), *names)[-1].meaning


def test_the_ladder_says_in_how_many_layers() -> None:
    meanings = {rung.name: rung.meaning for rung in ladder(load_model("deepseek-v4-flash"), AT_128K)}
    assert meanings["window"].endswith("(in 2 of 43 layers)") and meanings["indexer"].endswith("(in 21 of 43 layers)")


def test_a_trick_that_is_not_there() -> None:
    with pytest.raises(ScenarioError, match="does not use latent") as caught:
        without(load_model("laguna-xs.2"), "latent")
    assert caught.value.hint == "its tricks: gqa, window, head-budget"
    with pytest.raises(ScenarioError, match="unknown trick") as caught:
        without(load_model("laguna-xs.2"), "windows")
    assert caught.value.hint == "did you mean 'window'?"
    assert all(set(tricks(load_model(name))) <= set(MEANINGS) for name in MODELS)


@pytest.mark.parametrize(
    ("name", "asked", "hint"),
    [
        ("deepseek-v4-pro", ["window"], ["compression", "window"]),
        ("deepseek-v4-flash", ["low-rank-projections"], ["compression", "window", "key-is-value", "low-rank-projections"]),
        (
            "deepseek-v4-flash",
            ["compression", "low-rank-projections"],
            ["compression", "window", "key-is-value", "low-rank-projections"],
        ),
        ("deepseek-v4-flash", ["gqa"], ["compression", "window", "gqa"]),
        ("deepseek-v3.2", ["latent"], ["indexer", "latent"]),
        ("deepseek-v3.2", ["gqa"], None),
    ],
)
def test_what_must_go_first_is_named_whole_and_works(name: str, asked: list[str], hint: list[str] | None) -> None:
    model = load_model(name)
    with pytest.raises(ScenarioError) as caught:
        without(model, *asked)
    if hint is None:
        assert "does not use" in caught.value.message
        return
    assert "can go only" in caught.value.message and caught.value.hint == " ".join(f"--without {each}" for each in hint)
    assert steps(model, *hint)[-1].name == asked[-1]


def test_every_refused_trick_has_a_way_that_works() -> None:
    for name in ("deepseek-v4.1-flash", "deepseek-v4-pro", "deepseek-v3.2", "gemma-4-e2b", "qwen3-next-80b-a3b", "zaya1-8b"):
        model = load_model(name)
        for trick in set(MEANINGS) - set(tricks(model)):
            with pytest.raises(ScenarioError) as caught:
                without(model, trick)
            if "can go only" in caught.value.message:
                without(model, *(word for word in str(caught.value.hint).split() if word != "--without"))
            else:
                assert trick not in reachable(model)


# -- models that no release has -----------------------------------------------------------------------------------------------------


def uneven() -> ModelSpec:
    """Laguna XS.2 with 48 query heads over 6 KV heads in its full layers, 64 over 8 in the others."""
    return changed(load_model("laguna-xs.2"), {"attention.global.num_key_value_heads": 6})


def test_uneven_heads_keep_their_group_without_a_head_budget() -> None:
    model = uneven()
    assert list(tricks(model)) == ["gqa", "window", "head-budget"]
    plain = without(model, "head-budget").attention["global"]
    assert (plain.num_attention_heads, plain.num_key_value_heads) == (64, 8)  # type: ignore[attr-defined]
    assert "8 KV heads instead of 6" in tricks(model)["head-budget"]
    assert ladder(model, AT_128K)[0].state_bytes == 160 * 2**30


@pytest.mark.parametrize(
    ("heads", "kv_heads", "most", "now"), [(48, 8, 64, 8), (48, 48, 64, 64), (30, 10, 64, 16), (40, 5, 64, 8)]
)
def test_kv_heads_without_a_head_budget(heads: int, kv_heads: int, most: int, now: int) -> None:
    """As before where that divides; one for each query head where it was so; else the same group; else the next that divides."""
    changes = {"num_attention_heads": heads, "num_key_value_heads": kv_heads}
    model = changed(load_model("laguna-xs.2"), {f"attention.global.{field}": value for field, value in changes.items()})
    assert without(model, "head-budget").attention["global"].num_key_value_heads == now  # type: ignore[attr-defined]


def test_what_cannot_be_undone_is_said_and_never_raises() -> None:
    """Output groups of 48 heads that 64 heads do not divide into."""
    changes = {"attention.global.o_groups": 3, "attention.global.o_lora_rank": 256, "attention.global.head_dim": 256}
    model = changed(load_model("laguna-xs.2"), changes)
    assert "head-budget" not in tricks(model)
    with pytest.raises(SpecError, match="o_groups"):
        without(model, "head-budget")
    without(model, "window")
    assert "head-budget stays, as it cannot be undone" in ladder(model, AT_128K)[0].meaning


MLA = {
    "kind": "mla",
    "num_attention_heads": 8,
    "kv_lora_rank": 64,
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 16,
    "v_head_dim": 32,
}


def test_layers_that_have_nothing_to_do_with_a_trick_go_on_sharing() -> None:
    """Gemma 4 E2B with a latent in three of its layers: without it, the twenty that share still share."""
    changes: dict[str, Any] = {"attention.latent": MLA, "layers.0.of": ["latent", "3 local", "global"]}
    model = changed(load_model("gemma-4-e2b"), changes)
    plain = without(model, "latent")
    assert sum(layer.reuses is not None for layer in plain.plan) == 20
    assert "sharing" not in tricks(model)["latent"]


def test_layers_that_share_a_latent_share_its_heads_without_it() -> None:
    groups = [{"of": ["latent"], "feedforward": "mlp"}, {"of": ["34 latent"], "feedforward": "wide", "reuse": {"latent": 0}}]
    changes: dict[str, Any] = {"attention.latent": MLA, "attention.local": None, "attention.global": None, "layers": groups}
    model = changed(load_model("gemma-4-e2b"), changes)
    plain = without(model, "latent")
    assert sum(layer.reuses is not None for layer in plain.plan) == 34
    assert ledger(plain, AT_128K).totals.state_bytes == 8 * (48 + 32) * 2 * N


def test_layers_whose_rows_differ_once_a_trick_is_gone_share_no_more() -> None:
    """64 and 48 query heads over the same 8 KV heads: with a KV head for each they keep 64 and 48."""
    changes: dict[str, Any] = {
        "attention.reader": load_model("laguna-xs.2").attention["local"].model_dump() | {"num_attention_heads": 48},
        "layers.2.of": ["global", "reader", "2 local"],
        "layers.2.reuse": {"reader": 1},
    }
    model = changed(load_model("laguna-xs.2"), changes)
    assert sum(layer.reuses is not None for layer in model.plan) == 9
    plain = without(model, "gqa")
    assert all(layer.reuses is None for layer in plain.plan)
    assert "the sharing between layers" in tricks(model)["gqa"]


# -- what is printed ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("context", [1, 5000, 1 << 20])
def test_every_model_and_trick_prints_at_every_context(context: int) -> None:
    for name in VARIED:
        model, scenario = load_model(name), Scenario(context=context)
        before = ledger(model, scenario)
        for trick in tricks(model):
            shown = WRITERS["text"](report.whatif(Change(before, ledger(without(model, trick), scenario), (trick,))))
            assert trick in shown
        shown = WRITERS["text"](report.ladder(ladder(model, scenario)))
        assert ("beyond the model's maximum" in shown) == (context > model.max_context)


@pytest.mark.parametrize(
    "value", [Fraction(1591), Fraction(10**7), Fraction(1, 10**6), Fraction(1), Fraction(10004, 10000), 1.0000001]
)
def test_a_factor_of_any_size_can_be_printed(value: Fraction) -> None:
    shown = times(Fraction(value))
    assert (shown == "1") == (value == 1)
    assert shown in ("1,591", "10,000,000", "0.00000100", "1", "1.0004", "1.00")


def test_a_thousand_times_the_state_is_printed() -> None:
    """DeepSeek-V4-Flash against plain attention at 128K: 688 GiB against 443 MiB."""
    names = ("compression", "window", "gqa", "key-is-value")
    shown = run("deepseek-v4-flash", *(word for name in names for word in ("--without", name)), "-c", "128K", "--format", "text")
    assert shown.returncode == 0 and "1,591" in shown.stdout and "688 GiB" in shown.stdout


def test_one_plan_for_all_lines_that_of_the_model_as_shipped() -> None:
    """DeepSeek-V4-Flash on eight devices at 1M: the first line cannot fit, and its speed is marked so."""
    model = load_model("deepseek-v4-flash")
    document = report.ladder(ladder(model, Scenario(context=1 << 20)), (H200, 8, None))
    text = WRITERS["text"](document)
    assert "8 x NVIDIA H200" in text and "plan    tp 8: that of the model as shipped, on every line" in text
    first, second = tables(document.parts)
    fits = [row["fits"] for row in first.rows]
    assert fits[0] == "no" and fits[-1] == "yes"
    speeds = [row["tokens_per_second"] for row in first.rows]
    whole = first.footer[0]["speed_factor"]
    assert product(first.rows[1:], "speed_factor") == whole == Fraction(speeds[-1]) / Fraction(speeds[0])  # type: ignore[arg-type]
    assert first.footer[0]["state_saved"] == 5504 * 2**30 - ledger(model, Scenario(context=1 << 20)).totals.state_bytes
    assert sum(row["flops_saved"] for row in second.rows[1:]) == second.footer[0]["flops_saved"]  # type: ignore[misc]


def test_a_line_that_the_plan_does_not_divide_takes_its_own_and_says_so() -> None:
    """Laguna XS.2 on two devices: 48 heads in each layer divide, 63 do not."""
    changes = {"num_attention_heads": 48, "num_key_value_heads": 6}
    wide = {"num_attention_heads": 63, "num_key_value_heads": 9}
    local = changed(load_model("laguna-xs.2"), {f"attention.local.{field}": value for field, value in changes.items()})
    model = changed(local, {f"attention.global.{field}": value for field, value in changes.items()})
    odd = changed(local, {f"attention.global.{field}": value for field, value in wide.items()})
    change = Change(ledger(model, AT_128K), ledger(odd, AT_128K), ("heads",))
    shown = WRITERS["text"](report.whatif(change, (H200, 2, Plan(tp=2))))
    assert "note: after: plan pp 2, as tp=2 does not divide laguna-xs.2" in shown


def test_published_figures_stand_beside_the_difference() -> None:
    """The article says 2.7 GB for E2B at 128K; as built sharing saves 1.08 GB."""
    model = load_model("gemma-4-e2b")
    assert len(checks(model, ["kv-sharing"])) == 2 and checks(model, ["window"]) == []
    shown = run("gemma-4-e2b", "--without", "kv-sharing", "-c", "128K", "--kv-format", "bf16", "--format", "text").stdout
    assert "+1.01 GiB" in shown and shown.count("published: kv-sharing saves 2.7 GB at 128K") == 2
    assert "2.68 GB, agrees" in shown and "1.08 GB, differs: as built" in shown


# -- the command line ---------------------------------------------------------------------------------------------------------------


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*KVCALC, "whatif", *arguments], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["deepseek-v3.2", "--set", "attention.dsa.kind=mla"], 0, "as mla has no such fields: index_n_heads"),
        (["gpt-oss-20b", "--set", "storage.weights.routed_experts=null"], 0, "changed"),
        (["gemma-4-e2b", "--set", "layers.1.reuse={}", "--set", "layers.0.of=[4 local, global]"], 0, "changed"),
        (["deepseek-v4-pro", "--without", "window"], 2, "--without compression --without window"),
        (["deepseek-v4-pro", "--without", "window", "--without", "compression"], 0, "gone together with compression"),
        (["gemma-4-e2b", "--set", "attention.local.window=1K", "--set", "attention.local.window=2K"], 2, "set twice"),
        (["gemma-4-e2b", "--set", "layers.0.of=[4 local"], 2, "not valid YAML"),
        (["gemma-4-e2b", "--ladder", "--without", "window"], 2, "leave out"),
        (["gemma-4-e2b"], 2, "nothing is changed"),
        (["gemma-4-e2b", "--without", "windw"], 2, "did you mean 'window'?"),
        (["llama-2-7b", "--ladder", "--on", "rtx-4090"], 0, "NVIDIA GeForce RTX 4090"),
    ],
)
def test_exit_codes_and_no_traceback(arguments: list[str], code: int, says: str) -> None:
    result = run(*arguments)
    assert result.returncode == code and says in result.stderr and "Traceback" not in result.stderr
    assert code == 0 or (result.stdout == "" and len(result.stderr.strip().splitlines()) <= 2)


def test_an_uneven_model_from_a_file(tmp_path: Path) -> None:
    text = (Path(__file__).parent.parent / "specs" / "laguna-xs.2.yaml").read_text()
    file = tmp_path / "uneven.yaml"
    text = text.replace("num_attention_heads: 48, num_key_value_heads: 8", "num_attention_heads: 48, num_key_value_heads: 6")
    file.write_text(text[: text.index("checks:")])
    assert run(str(file), "--without", "window").returncode == 0
    assert run(str(file), "--ladder").returncode == 0
    asked = run(str(file))
    assert asked.returncode == 2 and "--without one of: gqa, window, head-budget" in asked.stderr


def test_programs_get_every_saving() -> None:
    rows = [
        json.loads(line) for line in run("gemma-4-e2b", "--ladder", "--on", "rtx-4090", "--format", "jsonl").stdout.splitlines()
    ]
    assert rows[0]["name"] == "plain attention" and (rows[0]["fits"], rows[-1]["fits"]) == ("no", "yes")
    keys = {
        "state_bytes",
        "state_saved",
        "traffic_bytes",
        "traffic_saved",
        "flops",
        "flops_saved",
        "tokens_per_second",
        "meaning",
    }
    assert keys <= rows[-1].keys()


@pytest.mark.parametrize(
    "arguments",
    [
        ["deepseek-v4-flash", "--ladder", "-c", "1M", "--on", "8xh200-sxm"],
        ["deepseek-v4.1-flash", "--ladder", "-c", "1M"],
        ["deepseek-v4.1-flash", "--without", "compression", "--on", "8xh200-sxm"],
    ],
)
def test_80_columns_hold_it(arguments: list[str]) -> None:
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "dumb", "COLUMNS": "80", "LINES": "50"}
    with subprocess.Popen([*KVCALC, "whatif", *arguments], stdout=theirs, stderr=subprocess.DEVNULL, env=environment) as process:
        os.close(theirs)
        chunks = []
        while True:
            try:
                chunks.append(os.read(ours, 65536))
            except OSError:
                break
            if not chunks[-1]:
                break
        assert process.wait(60) == 0
    os.close(ours)
    shown = b"".join(chunks).decode().replace("\r\n", "\n")
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= 80
    assert "…" not in shown and "\x1b" not in shown


def test_a_layer_with_a_recurrent_state_stands_in_for_none() -> None:
    """Zamba2's layers with a block keep a state of their own: no layer of the model is attention alone."""
    assert "linear-attention" not in tricks(load_model("zamba2-2.7b"))
    assert "linear-attention" in tricks(load_model("nemotron-h-8b"))


def test_shared_indexers_undone_give_every_layer_its_index_keys() -> None:
    """GLM-5.2: 21 of 78 layers have an indexer; GLM-5, which is the same otherwise, has one in each."""
    shared, whole = load_model("glm-5.2"), without(load_model("glm-5.2"), "index-sharing")
    scenario = Scenario(context=5000, kv_format="bf16")
    assert ledger(whole, scenario).totals.state_bytes - ledger(shared, scenario).totals.state_bytes == 57 * 128 * 2 * 5000
    assert ledger(whole, scenario).totals.state_bytes == ledger(load_model("glm-5"), scenario).totals.state_bytes
    assert list(tricks(shared)) == ["indexer", "index-sharing"]
