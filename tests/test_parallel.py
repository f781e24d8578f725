"""Plans: one device is no plan at all, nothing is lost over many, and engines' own figures per rank come out."""

from dataclasses import replace
from itertools import combinations, pairwise
from random import Random

import conftest
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvcalc.catalog import load_device, load_model
from kvcalc.errors import PlanError
from kvcalc.ledger import ledger
from kvcalc.parallel import Plan, shard, share, usual
from kvcalc.roofline import answer, stage_bound, step_bound
from kvcalc.scenario import Scenario
from kvcalc.spec import ModelSpec

MODELS = ["llama-3.1-8b", "deepseek-v3", "deepseek-v4-flash", "gemma-4-e2b", "qwen3-next-80b-a3b", "zaya1-8b", "gpt-oss-20b"]


@pytest.mark.parametrize("name", conftest.MODELS)
@pytest.mark.parametrize("phase", ["decode", "prefill"])
def test_one_device_is_no_parallelism(name: str, phase: str) -> None:
    model = load_model(name)
    scenario = Scenario(phase, min(3000, model.max_context), 3)  # type: ignore[arg-type]
    (stage,) = shard(model, scenario, Plan())
    assert sorted(stage.ledger.entries) == sorted(ledger(model, scenario).entries) and stage.collectives == ()


plans = st.builds(
    lambda tp, pp, dp, ep: Plan(tp, pp, ep if (tp * dp) % ep == 0 and (tp % ep == 0 or ep % tp == 0) else 1, dp),
    st.sampled_from([1, 2, 4, 8, 16]),
    st.integers(1, 6),
    st.sampled_from([1, 2, 3, 8]),
    st.sampled_from([1, 2, 4, 8]),
)


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(MODELS), plans, st.integers(1, 40), st.integers(1, 9000), st.sampled_from(["decode", "prefill"]))
def test_nothing_is_lost(name: str, plan: Plan, batch: int, context: int, phase: str) -> None:
    """Devices times the fullest of each stage hold and do at least what the model holds and does; pieces add up on each."""
    model, scenario = load_model(name), Scenario(phase, context, batch)  # type: ignore[arg-type]
    try:
        stages = shard(model, scenario, plan)
    except PlanError:
        return
    whole = ledger(model, scenario).totals
    per_stage = plan.tp * plan.dp
    for field in ("weight_bytes", "state_bytes", "flops", "written_bytes", "parameters"):
        assert per_stage * sum(getattr(stage.ledger.totals, field) for stage in stages) >= getattr(whole, field), field
    assert [layer for stage in stages for layer in stage.layers] == list(range(model.num_hidden_layers))
    for stage in stages:
        parts = [sum(entry.weight_bytes + entry.state_bytes for entry in part) for part in stage.ledger.by("piece").values()]
        assert sum(parts) == stage.held_bytes


def test_kv_heads_split_until_one_is_left_and_latents_do_not() -> None:
    """vLLM 0.33.0 on Llama-3.1-8B, 131,072 tokens: 2,147.5 MB on each GPU at TP 8 and at TP 16; on DeepSeek-V3 9,210.7 MB at TP 1 and 8
    (vllm/v1/kv_cache_interface.py, FullAttentionSpec and MLAAttentionSpec)."""
    llama, deepseek = load_model("llama-3.1-8b"), load_model("deepseek-v3")
    scenario = Scenario(context=131072, kv_format="bf16")
    held = [shard(llama, scenario, Plan(tp=tp))[0].ledger.totals.state_bytes for tp in (1, 8, 16, 32)]
    assert held == [8 * 2147483648, 2147483648, 2147483648, 2147483648]
    assert {shard(deepseek, scenario, Plan(tp=tp))[0].ledger.totals.state_bytes for tp in (1, 8)} == {9210691584}


def test_sglang_pool_of_one_rank() -> None:
    """SGLang, Qwen3-235B at TP 4: K pool of 8.23 GB (2^30) for 367,404 tokens (github.com/vllm-project/vllm/issues/21348)."""
    (stage,) = shard(load_model("qwen3-235b-a22b"), Scenario(context=367404, kv_format="bf16"), Plan(tp=4))
    key = sum(entry.state_bytes for entry in stage.ledger.state if entry.name == "key")
    assert round(key / 2**30, 2) == 8.23


def test_experts_are_dealt_out_and_their_devices_see_all_tokens() -> None:
    model, scenario = load_model("deepseek-v3"), Scenario(context=1000, batch=64)

    def experts(plan: Plan) -> tuple[int, int]:
        part = shard(model, scenario, plan)[0].ledger.by("piece")["routed_experts"]
        return sum(e.weight_bytes for e in part), sum(e.flops for e in part)

    whole = experts(Plan())
    assert experts(Plan(dp=8, ep=8)) == (whole[0] // 8, whole[1] // 8)
    assert experts(Plan(tp=8)) == experts(Plan(tp=8, ep=8))
    assert experts(Plan(dp=8))[0] == whole[0] and experts(Plan(dp=8))[1] == whole[1] // 8


@pytest.mark.parametrize(
    ("name", "context", "batch", "pp"),
    [("gemma-4-e2b", 131072, 4, 2), ("gemma-4-e2b", 4096, 300, 2), ("deepseek-v4.1-flash", 8192, 64, 2), ("gemma-3-270m", 32768, 900, 3)],
)
def test_stages_hold_the_least_that_the_fullest_can(name: str, context: int, batch: int, pp: int) -> None:
    """Against every cut of the layers, copies of borrowed rows and all."""
    model, scenario = load_model(name), Scenario(context=context, batch=batch)
    best = max(stage.held_bytes for stage in shard(model, scenario, Plan(pp=pp)))
    layers = model.num_hidden_layers
    found = []
    for cuts in combinations(range(1, layers), pp - 1):
        edges = (0, *cuts, layers)
        runs = tuple(tuple(range(one, other)) for one, other in pairwise(edges))
        found.append(max(stage.held_bytes for stage in shard(model, scenario, Plan(pp=pp), runs)))
    assert best == min(found)


@pytest.mark.parametrize("pp", [2, 4, 8])
def test_more_sequences_and_tokens_never_hold_less(pp: int) -> None:
    model, held = load_model("gemma-4-e2b"), []
    for batch, context in ((1, 512), (16, 512), (16, 78848), (16, 82944), (20, 131072), (21, 131072), (22, 131072), (24, 131072)):
        held.append(max(stage.held_bytes for stage in shard(model, Scenario(context=context, batch=batch), Plan(pp=pp))))
    assert held == sorted(held)


def test_replicas_without_a_sequence_bring_no_tokens_to_the_experts() -> None:
    """DeepSeek-V3, one sequence on 8 replicas: 8 experts of 256 are read in each of 58 layers, wherever they stand."""
    model = load_model("deepseek-v3")
    (stage,) = shard(model, Scenario(context=8192), Plan(dp=8, ep=8))
    read = sum(entry.read_bytes for entry in stage.ledger.entries if entry.experts)
    whole = sum(entry.read_bytes for entry in ledger(model, Scenario(context=8192)).entries if entry.experts)
    assert read == pytest.approx(whole / 8, rel=1e-6)


def test_products_of_what_is_copied_are_shared_out_by_tokens() -> None:
    """DeepSeek-V3.2's indexer stands whole on every device, and a prompt's tokens are dealt out over them; its keys are held by all."""
    model, scenario = load_model("deepseek-v3.2"), Scenario("prefill", 65536)
    (stage,) = shard(model, scenario, Plan(tp=8))
    mine, whole = stage.ledger.by("piece")["indexer"], ledger(model, scenario).by("piece")["indexer"]
    for field, part in (("flops", 8), ("weight_bytes", 1), ("state_bytes", 1)):
        assert sum(getattr(entry, field) for entry in mine) == pytest.approx(sum(getattr(entry, field) for entry in whole) / part)


def test_a_tied_embedding_stands_at_both_ends_and_shared_rows_in_both_stages() -> None:
    model, scenario = load_model("gemma-4-e2b"), Scenario(context=4096)
    whole = ledger(model, scenario).totals
    first, last = shard(model, scenario, Plan(pp=2))
    tied = 262144 * 1536 * 2
    borrowed = first.ledger.totals.state_bytes + last.ledger.totals.state_bytes - whole.state_bytes
    assert first.held_bytes + last.held_bytes == whole.weight_bytes + whole.state_bytes + tied + borrowed
    assert borrowed >= 0


def test_all_reduce_by_hand() -> None:
    """Llama-3.1-8B, one token, TP 8: two all-reduces a layer and one of the embedding, 4,096 x 2 bytes each, 2 x 7/8 of it in a ring."""
    (stage,) = shard(load_model("llama-3.1-8b"), Scenario(context=100), Plan(tp=8))
    sent = {collective.name: collective.bytes for collective in stage.collectives}
    assert sent == {"all-reduce": 65 * 8192 * 2 * 7 // 8}


def test_no_block_sends_nothing() -> None:
    """Mamba has no feed-forward blocks: one all-reduce a layer and one of the embedding."""
    (stage,) = shard(load_model("mamba-2.8b"), Scenario(context=100), Plan(tp=8))
    assert [collective.bytes for collective in stage.collectives] == [65 * 2560 * 2 * 2 * 7 // 8]


@pytest.mark.parametrize(
    ("name", "tp", "elements"),
    [
        # Mamba-2: heads are cut; the one group's B and C, 2 x 128 elements, stand on every device (vLLM 0.33.0 mamba2_state_shape)
        ("granite-4.0-h-tiny", 4, {"recurrent": 48 * 64 * 128 // 4, "conv": 48 * 64 // 4, "conv_bc": 256}),
        ("nemotron-h-8b", 16, {"recurrent": 128 * 64 * 128 // 16, "conv": 128 * 64 // 16, "conv_bc": 256}),
        # KV heads and their index heads are cut, then repeated; the index key is common to all (vLLM 0.33.0 models/minimax_m3, step5)
        ("minimax-m3", 8, {"key": 128, "index_key": 128}),
        ("step-5-preview", 2, {"key": 2 * 192, "index_summary": 256}),
    ],
)
def test_what_a_device_holds_of_a_slot(name: str, tp: int, elements: dict[str, int]) -> None:
    model = load_model(name)
    (stage,) = shard(model, Scenario(context=100), Plan(tp=tp))
    for row, expected in elements.items():
        assert {entry.elements for entry in stage.ledger.state if entry.name == row} == {expected}


@pytest.mark.parametrize(("name", "heads", "width"), [("minimax-m3", 4, 128), ("step-5-preview", 16, 256)])
def test_index_heads_go_with_kv_heads(name: str, heads: int, width: int) -> None:
    """4 KV heads on 8 devices: a device has the index heads of one of them, and scores with these."""
    model = load_model(name)
    (stage,), whole = shard(model, Scenario(context=4096), Plan(tp=8)), ledger(model, Scenario(context=4096))
    (queries,) = [entry for entry in stage.ledger.entries if entry.name == "index_q_proj"]
    assert queries.parameters == queries.layers * heads // 4 * width * model.hidden_size
    scores = [sum(entry.flops for entry in book.entries if entry.name == "index scores") for book in (stage.ledger, whole)]
    assert 4 * scores[0] == scores[1]


def test_a_matrix_from_a_narrower_embedding_stands_before_the_first_layer() -> None:
    data = load_model("llama-3.2-1b").model_dump()
    model = ModelSpec.model_validate(data | {"embedding": data["embedding"] | {"dim": 512}})
    first, last = shard(model, Scenario(context=100), Plan(pp=2))
    names = [{entry.name for entry in stage.ledger.entries if entry.group == "embedding"} for stage in (first, last)]
    assert names == [{"embedding_projection", "token_embedding"}, {"head_projection", "token_embedding"}]


def test_shared_weights_stand_in_one_stage() -> None:
    with pytest.raises(PlanError, match="runs some weights more than once"):
        shard(load_model("zamba2-2.7b"), Scenario(context=100), Plan(pp=2))


def test_all_to_all_and_hand_over_by_hand() -> None:
    """DeepSeek-V3, 64 tokens on 8 replicas: each of 8 tokens a replica goes to the distinct ones of 8 devices among its 8 experts, one
    byte an element there and two back (58 layers, hidden size 7,168); 7 of 8 are other devices. A hand-over is one vector a token."""
    (stage,) = shard(load_model("deepseek-v3"), Scenario(context=100, batch=64), Plan(dp=8, ep=8))
    (sent,) = stage.collectives
    assert sent.bytes == pytest.approx(58 * 8 * 7168 * 3 * 8 * (1 - (7 / 8) ** 8) * 7 / 8, abs=1)
    first, last = shard(load_model("llama-3.1-8b"), Scenario(context=100, batch=5), Plan(pp=2))
    assert [collective.bytes for collective in first.collectives] == [5 * 4096 * 2] and last.collectives == ()


def schedule(model: ModelSpec, scenario: Scenario, plan: Plan, runs: tuple[tuple[int, ...], ...], parts: int) -> float:
    """Seconds in which a pipeline makes a token of every sequence: as its slowest stage with all microbatches, or one through all."""
    device = load_device("h100-sxm-80gb")
    sizes = [scenario.batch // parts + (place < scenario.batch % parts) for place in range(parts)]
    each = [
        [stage_bound(stage, device).lower for stage in shard(model, replace(scenario, batch=size), plan, runs)] for size in sizes
    ]
    return max(max(sum(times) for times in each), max(sum(stage) for stage in zip(*each, strict=True)))


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(["llama-3.1-8b", "gemma-4-e2b", "gpt-oss-20b"]), st.integers(2, 4), st.integers(1, 40), st.integers(1, 8), st.randoms()
)
def test_no_schedule_of_a_pipeline_beats_its_bound(name: str, pp: int, batch: int, parts: int, chance: Random) -> None:
    """Any cut of the layers, any number of microbatches."""
    model, scenario, plan = load_model(name), Scenario(context=4096, batch=batch), Plan(pp=pp)
    edges = (0, *sorted(chance.sample(range(1, model.num_hidden_layers), pp - 1)), model.num_hidden_layers)
    runs = tuple(tuple(range(one, other)) for one, other in pairwise(edges))
    bound = step_bound(ledger(model, scenario), load_device("h100-sxm-80gb"), plan).lower
    assert bound <= schedule(model, scenario, plan, runs, min(parts, batch)) * (1 + 1e-9)


def test_a_prompt_runs_through_a_pipeline_in_chunks() -> None:
    """Four stages at work on one prompt take a fourth of its time, as four devices that share each layer would, links aside."""
    book, device = ledger(load_model("llama-3.1-70b"), Scenario("prefill", 32768)), load_device("h100-sxm-80gb")
    one = step_bound(book, device, Plan()).lower
    assert step_bound(book, device, Plan(pp=4)).lower == pytest.approx(one / 4, rel=0.01)


@pytest.mark.parametrize(("device", "count", "rate"), [("mi300x", 2, 64e9), ("mi300x", 4, 192e9), ("h100-sxm-80gb", 8, 450e9)])
def test_a_mesh_gives_a_pair_one_link_and_more_devices_more(device: str, count: int, rate: float) -> None:
    assert load_device(device).link_rate(count) == rate


@pytest.mark.parametrize(("device", "count"), [("h100-nvl-94gb", 8), ("gh200-96gb", 2), ("gb200-nvl72-rack", 2), ("a100-sxm-80gb", 16)])
def test_no_time_is_counted_where_no_link_joins(device: str, count: int) -> None:
    assert load_device(device).link_rate(count) is None
    book = ledger(load_model("llama-3.1-8b"), Scenario(context=100))
    assert any("no time counted" in note for note in answer(book, load_device(device), count, Plan(tp=count)).notes)


def test_more_devices_are_never_slower_than_perfect_and_links_take_time() -> None:
    model, device = load_model("llama-3.1-70b"), load_device("h100-sxm-80gb")
    book = ledger(model, Scenario(context=8192, batch=16))
    one = answer(book, device).bound.lower
    for plan in (Plan(tp=2), Plan(tp=8), Plan(pp=4), Plan(tp=2, pp=2), Plan(dp=2), Plan(tp=16)):
        assert answer(book, device, plan.devices, plan).bound.lower >= one / plan.devices * (1 - 1e-12)
    eight = step_bound(book, device, Plan(tp=8))
    assert 0 < eight.link_seconds < eight.lower


@pytest.mark.parametrize(
    ("model", "plan", "words"),
    [
        ("llama-3.1-8b", {"tp": 3}, "tp that divides everything: 1, 2, 4, 8, 16, 32"),
        ("llama-3.1-8b", {"pp": 33}, None),
        ("llama-3.1-8b", {"ep": 2, "tp": 2}, "leave out --ep"),
        ("gpt-oss-20b", {"ep": 64, "dp": 64}, None),
        ("deepseek-v4-flash", {"tp": 16}, "tp that divides everything: 1, 2, 4, 8"),
        ("iquest-coder-v1-40b-loop", {"pp": 2}, "leave out --pp"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(model: str, plan: dict[str, int], words: str | None) -> None:
    with pytest.raises(PlanError) as caught:
        shard(load_model(model), Scenario(context=100), Plan(**plan))
    assert words is None or caught.value.hint == words


def test_sizes_that_do_not_fit_each_other() -> None:
    with pytest.raises(PlanError, match="ep=3 does not go with the 4 devices"):
        Plan(tp=4, ep=3)
    with pytest.raises(PlanError, match="must be between"):
        Plan(tp=0)
    with pytest.raises(PlanError, match="6 devices, but 8"):
        answer(ledger(load_model("llama-3.1-8b"), Scenario(context=10)), load_device("h100-sxm-80gb"), 8, Plan(tp=2, pp=3))


def test_the_usual_plan_uses_all_devices_and_stays_in_a_node() -> None:
    for name in MODELS:
        for count in (1, 2, 3, 6, 8, 16, 24):
            plan = usual(load_model(name), count, 8)
            assert plan.devices == count and plan.tp <= 8


@pytest.mark.parametrize(
    ("split", "uneven", "tp", "part"),
    [(8, "repeat", 4, "1/4"), (8, "repeat", 16, "1/8"), (8, "repeat", 3, None), (32, "refuse", 64, None), (10, "pad", 4, "3/10")],
)
def test_share(split: int, uneven: str, tp: int, part: str | None) -> None:
    found = share(split, uneven, tp)
    assert (None if found is None else str(found)) == part
