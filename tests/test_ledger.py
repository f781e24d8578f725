"""The ledger: parts sum to totals, decode and prefill agree with counting by hand, batches touch the expected experts."""

from fractions import Fraction
from itertools import product

import pytest
from conftest import MODELS, VARIED
from hypothesis import given
from hypothesis import strategies as st

from kvcalc.catalog import load_model
from kvcalc.errors import ScenarioError
from kvcalc.ledger import Totals, expected_distinct, ledger, state_bytes, state_terms, total
from kvcalc.scenario import Scenario
from kvcalc.spec import ModelSpec


@given(
    st.sampled_from(MODELS),
    st.sampled_from(["decode", "prefill"]),
    st.integers(1, 2**21),
    st.integers(1, 4096),
    st.sampled_from(["native", "bf16", "fp8", "q8_0"]),
    st.sampled_from(["native", "bf16", "q4_0", "nvfp4"]),
)
def test_the_parts_sum_to_the_totals_whatever_the_cut(
    name: str, phase: str, context: int, batch: int, kv: str, weights: str
) -> None:
    book = ledger(load_model(name), Scenario(phase, context, batch, kv, weights))  # type: ignore[arg-type]
    for key in ("piece", "kind", "row", "group", "format", "math"):
        sums = [total(entries) for entries in book.by(key).values()]
        assert Totals(*(sum(column) for column in zip(*sums, strict=True))) == book.totals
    assert book.totals.state_bytes == batch * state_bytes(state_terms(book.model, kv), context)
    assert book.totals.attention_flops <= book.totals.flops


def test_totals_are_whole_numbers(model: ModelSpec) -> None:
    for phase, batch in product(("decode", "prefill"), (1, 7)):
        assert all(type(value) is int for value in ledger(model, Scenario(phase, 1000, batch)).totals)  # type: ignore[arg-type]


def test_prefill_flops_are_the_sum_of_decode_steps() -> None:
    """Of a dense GQA model; the head, which a prefill runs once, apart."""
    model = load_model("mistral-7b-v0.1")
    steps = [ledger(model, Scenario("decode", t)).totals.flops for t in range(1, 200)]
    head = total(ledger(model, Scenario("decode", 1)).by("piece")["lm_head"]).flops
    assert ledger(model, Scenario("prefill", 199)).totals.flops == sum(steps) - 198 * head


def test_a_prefill_of_an_encoder_decoder_split_runs_the_decoder_for_the_last_tokens() -> None:
    """DeepSeek-V4.1: beyond 128 tokens the decoder half costs the same, the encoder half grows with the prompt."""
    model = load_model("deepseek-v4.1-flash")
    short, long = (ledger(model, Scenario("prefill", t)).totals.flops for t in (1024, 2048))
    whole_step = ledger(model, Scenario("decode", 2048)).totals.flops
    assert Fraction(long - short, 1024) < Fraction(6, 10) * whole_step


def test_mla_decodes_absorbed_and_prefills_expanded() -> None:
    """arXiv:2405.04434: 128 heads over 512 + 64 and 512, against 192 and 128."""
    model = load_model("deepseek-v3")
    assert ledger(model, Scenario("decode", 1000)).totals.attention_flops == 61 * 1000 * 2 * 128 * (576 + 512)
    assert ledger(model, Scenario("prefill", 1000)).totals.attention_flops == 61 * (1000 * 1001 // 2) * 2 * 128 * (192 + 128)


@pytest.mark.parametrize(("experts", "chosen"), [(8, 2), (5, 1), (6, 3)])
@pytest.mark.parametrize("tokens", [1, 2, 3])
def test_expected_experts_equal_enumeration(experts: int, chosen: int, tokens: int) -> None:
    from itertools import combinations

    choices = list(combinations(range(experts), chosen))
    touched = [len(set().union(*picks)) for picks in product(choices, repeat=tokens)]
    assert expected_distinct(experts, chosen, tokens) == Fraction(sum(touched), len(touched))


def test_expected_experts_at_the_ends() -> None:
    assert expected_distinct(256, 8, 1) == 8
    assert expected_distinct(256, 8, 10**9) == 256
    assert 255 < expected_distinct(256, 8, 200) < 256
    assert expected_distinct(4, 4, 10**6) == 4
    assert float(expected_distinct(65536, 1, 5000)) == pytest.approx(65536 * (1 - (1 - 1 / 65536) ** 5000))


def test_batch_scales_state_and_not_dense_weights() -> None:
    model = load_model("llama-3.1-8b")
    one, many = (ledger(model, Scenario(context=4096, batch=b)).totals for b in (1, 64))
    assert many.state_bytes == 64 * one.state_bytes
    assert many.weight_bytes == one.weight_bytes
    assert many.flops == 64 * one.flops
    embedding_rows = 63 * 4096 * 2
    assert many.read_bytes - one.read_bytes == 63 * one.state_bytes + embedding_rows


def test_sharing_saves_storage_and_not_reads() -> None:
    """Gemma 4 E2B: 35 layers read, 15 keep (transformers models/gemma4: kv_sharing_modes)."""
    book = ledger(load_model("gemma-4-e2b"), Scenario(context=131072))
    read = sum(entry.read_bytes for entry in book.entries if entry.role)
    assert read == 28 * 512 * 2 * 256 * 2 + 7 * 131072 * 2 * 512 * 2
    assert book.totals.state_bytes == 12 * 512 * 2 * 256 * 2 + 3 * 131072 * 2 * 512 * 2


def test_formats_that_do_not_fit_are_refused_or_named() -> None:
    with pytest.raises(ScenarioError, match="whole number"):
        ledger(load_model("gpt-oss-20b"), Scenario(kv_format="q4_k")).totals and ledger(
            load_model("gemma-4-e2b"), Scenario(kv_format="fp8-448+bf16-64")
        )
    book = ledger(load_model("gpt-oss-20b"), Scenario(weight_format="q4_k"))  # rows of 2,880: no whole blocks of 256, but of 32
    assert any("so in q5_0, as llama.cpp stores them" in note for note in book.notes)
    assert {entry.format for entry in book.by("piece")["routed_experts"] if entry.parameters} == {"q5_0", "bf16"}
    book = ledger(load_model("gemma-3n-e4b"), Scenario(weight_format="q4_k"))
    assert any("kept native: correction_coefs" in note for note in book.notes)  # rows of 4


def test_weight_format_leaves_vectors_alone() -> None:
    book = ledger(load_model("qwen3-8b"), Scenario(weight_format="q4_0"))
    formats = {entry.name: entry.format for entry in book.entries if entry.parameters}
    assert formats["q_proj"] == "q4_0" and formats["layer_norms"] == "bf16"


def test_beyond_the_models_context_is_said() -> None:
    assert any("beyond" in note for note in ledger(load_model("gpt2-large"), Scenario(context=4096)).notes)


def test_growth_counts_what_is_included() -> None:
    model = load_model("deepseek-v4-flash-0731")
    alone, drafted = (ledger(model, Scenario(context=100, include=include)) for include in ((), ("draft",)))
    assert (drafted.state_bytes_per_token - alone.state_bytes_per_token) == 3 * 584
    assert drafted.totals.state_bytes - alone.totals.state_bytes == 3 * 584 * 100


@pytest.mark.parametrize("name", VARIED)
def test_growth_is_the_average_of_the_last_4096_tokens(name: str) -> None:
    model = load_model(name)
    for context in (1, 100, 4096, 5000, 131072):
        span = min(4096, context)
        now = ledger(model, Scenario(context=context)).totals.state_bytes
        before = ledger(model, Scenario(context=context - span)).totals.state_bytes if context > span else 0
        fixed = sum(term.bytes_per_slot * term.law.count(0) for term in state_terms(model)) if context == span else 0
        assert ledger(model, Scenario(context=context)).state_bytes_per_token == (2 * (now - before - fixed) + span) // (2 * span)


def test_you_only_cache_once() -> None:
    """A decoder-decoder model (YOCO, arXiv:2405.05254): the second half reads the one full layer of the first and keeps nothing."""
    full = {"kind": "gqa", "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64}
    model = ModelSpec.model_validate(
        {
            "id": "yoco",
            "name": "YOCO",
            "family": "yoco",
            "sources": {"paper": "https://arxiv.org/abs/2405.05254"},
            "max_context": 131072,
            "hidden_size": 512,
            "num_hidden_layers": 16,
            "embedding": {"vocab_size": 1000, "tied": True},
            "attention": {"local": {**full, "window": 128}, "full": full, "cross": full},
            "feedforward": {"mlp": {"kind": "mlp", "intermediate_size": 2048}},
            "residual": {"kind": "plain"},
            "layers": [{"of": ["7 local", "full"], "feedforward": "mlp"}, {"of": ["8 cross"], "feedforward": "mlp", "reuse": {"cross": 7}}],
        }
    )
    slot = 2 * 2 * 64 * 2
    book = ledger(model, Scenario(context=5000))
    assert book.totals.state_bytes == slot * (5000 + 7 * 128)
    assert sum(entry.read_bytes for entry in book.entries if entry.role) == slot * (9 * 5000 + 7 * 128)
    assert not any(entry.name == "k_proj" and "reads layer 7" in entry.group for entry in book.entries)
