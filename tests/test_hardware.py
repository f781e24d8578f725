"""Devices: every value says where it comes from; bounds follow from published numbers by hand."""

import pytest
from conftest import DEVICES

from kvcalc.catalog import load_device, load_model
from kvcalc.ledger import ledger
from kvcalc.roofline import answer, bound
from kvcalc.scenario import Scenario


@pytest.mark.parametrize("name", DEVICES)
def test_every_value_has_source_evidence_and_date(name: str) -> None:
    device = load_device(name)
    for value, _, what in device._quantities():
        assert value.source and value.date, what


def test_the_label_is_binary_and_the_visible_part_smaller() -> None:
    h100 = load_device("h100-sxm-80gb")
    assert h100.memory_bytes == 80 * 2**30 and h100.usable_bytes == 81559 * 2**20


def test_missing_arithmetic_falls_to_the_next() -> None:
    a100, h100, phone = (load_device(name) for name in ("a100-sxm-80gb", "h100-sxm-80gb", "snapdragon-8-elite-gen-5"))
    assert [device.rate("fp8") and device.rate("fp8")[0] for device in (a100, h100, phone)] == ["bf16", "fp8", None]
    assert h100.rate("fp4")[0] == "fp8" and h100.rate("none") is None


def test_bounds_by_hand() -> None:
    """Llama-3.1-8B, batch 1, bf16, on an H100: 16.06 GB of weights less the embedding, and 128 KiB of state a token, at 3.35 TB/s."""
    book = ledger(load_model("llama-3.1-8b"), Scenario(context=1024))
    verdict = answer(book, load_device("h100-sxm"))
    moved = 2 * (8030261248 - 525336576 + 4096) + 131072 * 1024 + 131072
    flops = 2 * 7504924672 - 2 * 266240 + 4 * 32 * 32 * 128 * 1024
    assert (verdict.bound.bytes, verdict.bound.flops) == (moved, flops)
    assert verdict.bound.memory_seconds == pytest.approx(moved / 3.35e12)
    assert verdict.bound.math_seconds == pytest.approx(flops / 989.4e12)
    assert verdict.bound.lower == verdict.bound.memory_seconds and verdict.bound.upper == pytest.approx(
        moved / 3.35e12 + flops / 989.4e12
    )
    assert verdict.joules_per_token == pytest.approx(700 * verdict.bound.lower)
    assert verdict.usd_per_million_tokens == pytest.approx(3.99 / 3600 * verdict.bound.lower * 1e6)


def test_a_large_prefill_is_bound_by_compute() -> None:
    verdict = answer(ledger(load_model("llama-3.1-8b"), Scenario("prefill", 8192)), load_device("h100-sxm"))
    assert verdict.bound.bound_by == "compute" and verdict.bound.intensity > 295


def test_the_lower_bound_is_never_above_the_sum_of_the_pieces() -> None:
    book, device = ledger(load_model("deepseek-v4-flash"), Scenario(batch=64)), load_device("h100-sxm")
    pieces = [bound(entries, device).lower for entries in book.by("piece").values()]
    assert bound(book.entries, device).lower <= sum(pieces) + 1e-12


def test_more_devices_split_perfectly_and_say_so() -> None:
    book, device = ledger(load_model("llama-3.1-70b"), Scenario()), load_device("h100-sxm")
    one, eight = answer(book, device), answer(book, device, 8)
    assert one.fits is False and eight.fits is True and eight.bound.lower == pytest.approx(one.bound.lower / 8)
    assert any("perfectly split" in note for note in eight.notes)


def test_published_decode_speeds_do_not_beat_the_bound() -> None:
    """llama.cpp, Llama-3-8B F16 on an RTX 4090: 54.34 tokens/s (github.com/XiongjieDai/GPU-Benchmarks-on-LLM-Inference, 2024-05-12);
    Llama-3.1-8B has the same sizes. Qualcomm AI Hub, Llama-3-8B w4a16 on Snapdragon 8 Elite Gen 5: 15.31 tokens/s (2026-02-12)."""
    model = load_model("llama-3.1-8b")
    gpu = answer(ledger(model, Scenario(context=512)), load_device("rtx-4090"))
    phone = answer(ledger(model, Scenario(context=1, weight_format="int4")), load_device("snapdragon"))
    assert 0.5 * gpu.tokens_per_second < 54.34 < gpu.tokens_per_second
    assert 0.5 * phone.tokens_per_second < 15.31 < phone.tokens_per_second
