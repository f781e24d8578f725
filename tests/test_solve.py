"""Inverse questions equal a brute-force search, and the next larger does not fit."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvcalc.catalog import load_device, load_model
from kvcalc.errors import KvcalcError, ScenarioError
from kvcalc.hardware import Device
from kvcalc.ledger import ledger
from kvcalc.parallel import Plan
from kvcalc.roofline import answer
from kvcalc.scenario import Scenario
from kvcalc.slots import Chunk, Closing, EveryNth, LastBlock, OpenTail, Window, cycle
from kvcalc.solve import capacity, fewest_devices, fits, held_bytes, largest, largest_batch, largest_context, remedies
from kvcalc.spec import ModelSpec

H100 = load_device("h100-sxm-80gb")


def with_memory(size: int) -> Device:
    """A device with exactly so many bytes."""
    given = {"value": f"{size} B", "evidence": "given", "source": "this test"}
    plain = H100.model_dump(by_alias=True, exclude_none=True)
    return Device.model_validate(plain | {"memory": given, "usable_memory": given})


@pytest.mark.parametrize("name", ["gemma-4-e2b", "deepseek-v4-flash", "zaya1-8b", "mistral-7b-v0.1", "qwen3-next-80b-a3b"])
@pytest.mark.parametrize("beyond", [1, 40_000_000, 40_300_123, 700_000_000])
def test_largest_context_is_the_last_of_all_that_fit(name: str, beyond: int) -> None:
    """Brute force over every context up to 1,500, with memory for the weights and a little state."""
    model, most = load_model(name), 1500
    device = with_memory(ledger(model, Scenario(context=1)).totals.weight_bytes + beyond)
    scenario = Scenario(context=1)
    every = [t for t in range(1, most + 1) if fits(model, replace(scenario, context=t), device, Plan())]
    assert largest_context(model, scenario, device, Plan(), most) == (every[-1] if every else None)


@settings(deadline=None, max_examples=20)
@given(
    st.sampled_from(["llama-3.1-8b", "gemma-4-e2b", "gpt-oss-20b", "deepseek-v4-flash-0731", "qwen3-next-80b-a3b"]),
    st.integers(1, 300_000),
    st.sampled_from(["bf16", "fp8", "native"]),
    st.sampled_from([Plan(tp=4), Plan(tp=2, pp=2), Plan(tp=4, dp=2), Plan(pp=3)]),
)
def test_the_answer_fits_and_the_next_does_not(name: str, context: int, kv_format: str, plan: Plan) -> None:
    model = load_model(name)
    scenario = Scenario(context=context, kv_format=kv_format)
    batch = largest_batch(model, scenario, H100, plan)
    for size, expected in ((batch, True), ((batch or 0) + 1, False)):
        if size is not None and size > 0:
            assert fits(model, replace(scenario, batch=size), H100, plan) is expected
    longest = largest_context(model, scenario, H100, plan)
    if longest is not None:
        verdicts = [fits(model, replace(scenario, context=t), H100, plan) for t in (longest, longest + 1)]
        assert verdicts == [True, False]
        book = ledger(model, replace(scenario, context=longest))
        assert answer(book, H100, plan.devices, plan).fits is True


@pytest.mark.parametrize("plan", [Plan(pp=8), Plan(pp=3), Plan(tp=2, pp=2), Plan(dp=3)])
def test_largest_batch_and_context_are_the_last_of_all_that_fit_under_a_plan(plan: Plan) -> None:
    """Brute force over batches and contexts, where layers read rows of other stages."""
    model, scenario = load_model("gemma-4-e2b"), Scenario(context=131072)
    device = with_memory(held_bytes(model, replace(scenario, batch=24), plan) + 1)
    every = [batch for batch in range(1, 61) if fits(model, replace(scenario, batch=batch), device, plan)]
    assert largest_batch(model, scenario, device, plan) == every[-1] >= 24
    many = replace(scenario, batch=24)
    longest = largest_context(model, many, device, plan, 131200)
    assert longest == max(t for t in range(131000, 131201) if fits(model, replace(many, context=t), device, plan))


def every_plan(model: ModelSpec, count: int) -> Iterator[Plan]:
    for tp in range(1, min(count, 8) + 1):
        for pp in range(1, count // tp + 1):
            if tp * pp == count:
                yield Plan(tp=tp, pp=pp)
        if count % tp == 0 and tp < count:
            yield Plan(tp=tp, dp=count // tp, ep=count)


@pytest.mark.parametrize(
    ("name", "context", "batch", "device"),
    [
        ("llama-3.1-70b", 32768, 8, "h100-sxm-80gb"),
        ("deepseek-v3", 131072, 16, "h200-sxm-141gb"),
        ("deepseek-v4-flash", 1 << 20, 64, "h100-sxm-80gb"),
        ("gpt-oss-120b", 32768, 8, "rtx-4090"),
        ("qwen3-235b-a22b", 32768, 8, "h100-sxm-80gb"),
    ],
)
def test_fewest_devices_is_the_first_count_that_holds_it_under_any_plan(name: str, context: int, batch: int, device: str) -> None:
    model, scenario, card = load_model(name), Scenario(context=context, batch=batch), load_device(device)
    plan = fewest_devices(model, scenario, card)
    assert plan is not None and fits(model, scenario, card, plan)
    for count in range(1, plan.devices):
        for smaller in every_plan(model, count):
            with suppress(KvcalcError):
                assert not fits(model, scenario, card, smaller), smaller
    assert answer(ledger(model, scenario), card, plan.devices).fits is True  # and estimate takes a plan that fits, too


def test_no_number_of_devices_holds_what_each_must_hold_whole() -> None:
    """One sequence's latent row in one layer is more than a device has: no cut helps, and the search says so at once."""
    assert fewest_devices(load_model("deepseek-v3"), Scenario(context=1 << 40), H100) is None


def test_every_remedy_does_what_it_says() -> None:
    model, scenario = load_model("llama-3.1-70b"), Scenario(context=131072, batch=3)
    found = list(remedies(model, scenario, H100, Plan(tp=2)))
    assert {remedy.what.split(" ")[0] for remedy in found} >= {"weights", "a", "4"}
    for remedy in found:
        assert held_bytes(model, remedy.scenario, remedy.plan) == remedy.held_bytes <= capacity(H100)
    assert not fits(model, scenario, H100, Plan(tp=2))


def test_a_remedy_is_no_format_that_the_device_refuses() -> None:
    a100 = load_device("a100-sxm-80gb")
    for remedy in remedies(load_model("llama-3.1-70b"), Scenario(context=131072), a100, Plan()):
        answer(ledger(load_model("llama-3.1-70b"), remedy.scenario), a100, remedy.plan.devices, remedy.plan)


def test_a_device_without_a_usable_memory_promises_nothing() -> None:
    phone = load_device("snapdragon-8-elite-gen-5")
    with pytest.raises(ScenarioError, match="nothing can be promised"):
        capacity(phone)
    assert capacity(phone.with_usable("8GiB")) == 8 * 2**30
    with pytest.raises(KvcalcError, match="more than the 12 GiB"):
        phone.with_usable("13GiB")


@given(st.integers(1, 10_000), st.integers(0, 10_000))
def test_largest(limit: int, low: int) -> None:
    assert largest(lambda n: n <= limit, low, 20_000) == (limit if low <= limit else None)


@pytest.mark.parametrize("law", [OpenTail(7), Chunk(9), EveryNth(4), Window(5), LastBlock(3)])
def test_a_cycle_is_where_a_law_falls(law: OpenTail | Chunk | EveryNth | Window | LastBlock) -> None:
    """Without a cycle a law never falls; with one it is least at its low, and falls only there."""
    falls = [t for t in range(2, 200) if law.count(t) < law.count(t - 1)]
    found = cycle(law)
    if found is None:
        assert falls == []
    else:
        period, low = found
        assert falls and all(t % period == low for t in falls)
        assert all(law.count(t) <= law.count(t + more) for t in falls for more in range(period))


def test_what_a_compressor_reads_is_no_state() -> None:
    assert cycle(Closing(4, 4)) is None


def test_a_loop_stands_on_devices_without_stages() -> None:
    """Its layers run more than once: only tensor parallelism cuts it."""
    model = load_model("iquest-coder-v1-40b-loop")
    plan = fewest_devices(model, Scenario(context=4096), load_device("rtx-4090"))
    assert plan is not None and plan.pp == 1 and plan.tp > 1
