"""Time to first token, time per token, throughput, speculation: by hand where a hand can, exact where a search is."""

from dataclasses import replace

import pytest

from kvcalc.catalog import load_device, load_model
from kvcalc.errors import ScenarioError
from kvcalc.ledger import ledger
from kvcalc.parallel import Plan
from kvcalc.roofline import bound, in_turn
from kvcalc.scenario import Scenario
from kvcalc.serving import UNLIMITED, Speculation, curve, decode_bound, point, ttft

H100 = load_device("h100-sxm-80gb")
LLAMA = load_model("llama-3.1-8b")


@pytest.mark.parametrize("name", ["llama-3.1-8b", "deepseek-v3", "gemma-4-e2b", "deepseek-v4-flash", "qwen3-next-80b-a3b"])
@pytest.mark.parametrize("chunk", [1, 100, 512, 999, 5000])
def test_chunks_do_the_same_work_and_read_the_weights_anew(name: str, chunk: int) -> None:
    model = load_model(name)
    whole = ledger(model, Scenario("prefill", 2000)).totals
    parts = ledger(model, Scenario("prefill", 2000, chunk=chunk))
    passes = -(-2000 // chunk)
    assert len(parts.passes) == passes
    assert parts.totals.flops == whole.flops and parts.totals.attention_flops == whole.attention_flops
    assert parts.totals.state_bytes == whole.state_bytes
    if passes > 1:
        assert parts.totals.read_bytes > whole.read_bytes


@pytest.mark.parametrize("name", ["llama-3.1-8b", "deepseek-v4-flash", "gemma-4-e2b"])
def test_a_cached_prefix_leaves_the_work_of_the_rest(name: str) -> None:
    """Prefix and rest together do what the whole does, the head of the prefix's last token aside."""
    model = load_model(name)
    whole, prefix, rest = (
        ledger(model, scenario).totals
        for scenario in (Scenario("prefill", 3000), Scenario("prefill", 1200), Scenario("prefill", 3000, cached=1200))
    )
    head = 2 * model.embedding.vocab_size * model.hidden_size
    assert prefix.flops + rest.flops - whole.flops == head
    assert prefix.attention_flops + rest.attention_flops == whole.attention_flops
    assert rest.state_bytes == whole.state_bytes


def test_time_of_chunks_adds_up() -> None:
    scenario = Scenario("prefill", 4096, chunk=512)
    book = ledger(LLAMA, scenario)
    each = [bound(entries, H100) for entries in book.passes]
    assert ttft(LLAMA, scenario, H100, Plan()).lower == pytest.approx(sum(one.lower for one in each))
    assert in_turn(each).lower >= bound(book.entries, H100).lower


def test_verifying_reads_once_and_computes_for_every_token() -> None:
    one, four = (ledger(LLAMA, Scenario(context=1000, draft_tokens=drafted)).totals for drafted in (0, 3))
    assert one.read_bytes + 3 * 4096 * 2 == four.read_bytes  # three more rows of the embedding
    assert four.written_bytes == 4 * one.written_bytes
    weights = one.flops - one.attention_flops
    assert four.flops - four.attention_flops == 4 * weights
    assert four.attention_flops == sum(ledger(LLAMA, Scenario(context=t)).totals.attention_flops for t in range(997, 1001))


def test_expected_tokens_of_a_step() -> None:
    """Leviathan et al. 2023, arXiv:2211.17192, equation 1: (1 - a^(k+1)) / (1 - a)."""
    for drafted, accepted in ((3, 0.7), (5, 0.8), (1, 0.0), (8, 0.99)):
        closed = (1 - accepted ** (drafted + 1)) / (1 - accepted)
        assert Speculation(drafted, accepted).tokens_per_step == pytest.approx(closed)
    assert Speculation(4, 1.0).tokens_per_step == 5


def test_speculation_pays_where_guesses_are_taken() -> None:
    model, scenario = load_model("llama-3.1-70b"), Scenario(context=4096)
    plain = point(model, scenario, H100, Plan(tp=4)).tokens_per_second
    drafted = Speculation(4, 0.8, load_model("llama-3.2-1b"))
    assert point(model, scenario, H100, Plan(tp=4), drafted).tokens_per_second > 2 * plain
    never = Speculation(4, 0.0, load_model("llama-3.2-1b"))
    assert point(model, scenario, H100, Plan(tp=4), never).tokens_per_second < plain
    free = Speculation(4, 0.8, free=True)
    assert (
        decode_bound(model, scenario, H100, Plan(tp=4), free).lower
        < decode_bound(model, scenario, H100, Plan(tp=4), drafted).lower
    )


def test_a_model_drafts_with_its_own_layers_or_says_that_it_has_none() -> None:
    own = load_model("deepseek-v4-flash-0731")
    plain = point(own, Scenario(context=8192), H100, Plan(tp=4))
    drafting = point(own, Scenario(context=8192), H100, Plan(tp=4), Speculation(3, 0.7))
    assert drafting.bound.lower > plain.bound.lower and drafting.tokens_per_second > plain.tokens_per_second
    with pytest.raises(ScenarioError, match="carries no draft layers"):
        point(LLAMA, Scenario(context=100), H100, Plan(), Speculation(3, 0.7))


def test_what_drafts_takes_room() -> None:
    """Llama-3.1-70B on two H100: of what the weights leave, the drafting model's weights and keys go too."""
    model, scenario, plan = load_model("llama-3.1-70b"), Scenario(context=8192), Plan(tp=2)
    drafted = Speculation(4, 0.8, LLAMA)
    most = curve(model, scenario, H100, plan, drafted).largest_batch
    free = 2 * (H100.usable_bytes or 0) - 2 * 70553706496 - 2 * 8030261248
    assert most == free // (8192 * (327680 + 131072)) == 3
    assert curve(model, scenario, H100, plan, Speculation(4, 0.8, free=True)).largest_batch == 11


def test_a_draft_must_speak_the_same_tokens() -> None:
    with pytest.raises(ScenarioError, match="a vocabulary of 151,936"):
        curve(LLAMA, Scenario(context=100), H100, Plan(), Speculation(3, 0.5, load_model("qwen3-0.6b")))


@pytest.mark.parametrize("name", ["deepseek-v3.2", "deepseek-v4-flash", "gemma-4-e2b", "llama-3.1-8b"])
def test_the_last_token_of_a_cached_prompt_reads_what_a_decode_step_reads(name: str) -> None:
    model = load_model(name)
    cached, step = ledger(model, Scenario("prefill", 65601, cached=65600)), ledger(model, Scenario(context=65601))
    read = [sum(entry.read_bytes for entry in book.entries if entry.role) for book in (cached, step)]
    assert read[0] == read[1]


def test_the_mean_step_is_the_mean_over_a_period() -> None:
    """DeepSeek-V4 closes blocks of 4 and 128: the mean of 128 exact steps, the growth of what all tokens add in that time aside."""
    model = load_model("deepseek-v4-flash")
    steps = [ledger(model, Scenario(context=t)).totals for t in range(8192 - 127, 8193)]
    mean = ledger(model, Scenario(context=8192, steady=True)).totals
    assert mean.read_bytes == pytest.approx(sum(step.read_bytes for step in steps) / 128, rel=1e-5)
    assert mean.written_bytes == pytest.approx(sum(step.written_bytes for step in steps) / 128, rel=1e-5)
    assert mean.flops == pytest.approx(sum(step.flops for step in steps) / 128, rel=1e-3)
    assert mean.read_bytes < 0.9999 * steps[-1].read_bytes
    plain = load_model("llama-3.1-8b")
    assert ledger(plain, Scenario(steady=True)).entries == ledger(plain, Scenario()).entries


def test_knee_and_target_are_exact() -> None:
    target = 0.012
    found = curve(LLAMA, Scenario(context=4096), H100, Plan(), target_seconds=target)

    def at(batch: int) -> float:
        return point(LLAMA, Scenario(context=4096, batch=batch), H100, Plan()).tpot_seconds

    assert found.within_target is not None and found.knee is not None and found.largest_batch is not None
    assert at(found.within_target) <= target < at(found.within_target + 1)
    half = UNLIMITED / at(UNLIMITED) / 2
    assert (found.knee - 1) / at(found.knee - 1) < half <= found.knee / at(found.knee)
    speeds = [each.tokens_per_second for each in found.points]
    assert speeds == sorted(speeds) and found.points[-1].batch == found.largest_batch


def test_the_knee_of_a_dense_model_is_where_state_takes_the_time_of_the_weights() -> None:
    """Bound by memory a step takes (weights + batch x state) / bandwidth: the knee is weights over state."""
    book = ledger(LLAMA, Scenario(context=32768)).totals
    state = 131072 * (32768 + 1) + 2 * 4096
    knee = curve(LLAMA, Scenario(context=32768), H100, Plan()).knee
    weights = book.read_bytes + book.written_bytes - state
    assert knee == -(-weights // state)


def test_more_microbatches_fill_a_pipeline() -> None:
    """Two equal stages: one sequence takes the time of the whole model, two take no longer."""
    one, two = (decode_bound(LLAMA, Scenario(context=1024, batch=batch), H100, Plan(pp=2)).lower for batch in (1, 2))
    alone = decode_bound(LLAMA, Scenario(context=1024), H100, Plan()).lower
    assert one == pytest.approx(alone, rel=0.01) and two == pytest.approx(one, rel=0.1)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"phase": "decode", "chunk": 512}, "belong to a prefill"),
        ({"phase": "decode", "cached": 5}, "belong to a prefill"),
        ({"phase": "prefill", "draft_tokens": 2}, "belong to a decode"),
        ({"phase": "prefill", "context": 10, "cached": 10}, "leave nothing to prefill"),
        ({"phase": "prefill", "context": 1 << 30, "chunk": 1}, "more than 65,536"),
        ({"phase": "prefill", "chunk": 0}, "at least 1"),
        ({"draft_tokens": 100}, "between 0 and 64"),
        ({"context": 3, "draft_tokens": 3}, "do not fit"),
        ({"math": "fp7"}, "unknown arithmetic"),
    ],
)
def test_a_question_that_makes_no_sense(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        Scenario(**wrong)  # type: ignore[arg-type]


def test_nonsense_speculation() -> None:
    with pytest.raises(ScenarioError, match="between 0 and 1"):
        Speculation(3, 1.2)
    with pytest.raises(ScenarioError, match="at least 1"):
        Speculation(0, 0.5)


def test_a_plain_scenario_has_one_pass() -> None:
    assert Scenario(context=10).spans == [(9, 10)] and Scenario("prefill", 10).spans == [(0, 10)]
    assert Scenario("prefill", 10, chunk=4, cached=3).spans == [(3, 7), (7, 10)]
    assert replace(Scenario(context=10, batch=3), draft_tokens=2).tokens == 9
