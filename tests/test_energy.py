"""Energy and money of a step: by hand, piece by piece, beside what was measured, and as the command prints it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kvcalc.catalog import load_assumptions, load_device, load_model
from kvcalc.efficiency import efficiency
from kvcalc.energy import completed, energy, shares, with_speeds
from kvcalc.errors import ScenarioError
from kvcalc.ledger import ledger
from kvcalc.parallel import Plan
from kvcalc.report.energy import energy as report
from kvcalc.roofline import answer
from kvcalc.scenario import Scenario
from tests.conftest import DEVICES

H100 = load_device("h100-sxm-80gb")
LLAMA = load_model("llama-3.1-70b")
DEFAULT = load_assumptions()
ON_H100 = completed(DEFAULT, H100)
PARAMETERS, KV_BYTES, HIDDEN, VOCABULARY, LAYERS = 70_553_706_496, 327_680, 8192, 128_256, 80
"""Of Llama 3.1 70B: parameters, and bytes of K and V per token in bf16 (2 x 80 layers x 8 heads x 128 x 2 bytes)."""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "kvcalc", *arguments], capture_output=True, text=True, timeout=120)


def test_a_decode_by_hand() -> None:
    """4 x 700 W for the time in which 4 x 3.35 TB/s read the weights and 8 caches of 8,192 tokens; 3.99 USD an hour each."""
    book = ledger(LLAMA, Scenario(context=8192, batch=8))
    found = energy(book, answer(book, H100, 4), ON_H100)
    read = 2 * (PARAMETERS - HIDDEN * VOCABULARY) + 8 * 8192 * KV_BYTES
    seconds = read / (4 * 3.35e12)
    each = 4 * 700 * seconds / 8
    assert found.joules_per_token == pytest.approx(each, rel=1e-3)
    assert found.idle_joules_per_token == pytest.approx(each / 10, rel=1e-3)
    assert found.building_joules_per_token == pytest.approx(each * 1.31 * 1.2, rel=1e-3)
    assert found.usd_per_million_tokens == pytest.approx(4 * 3.99 / 3600 * seconds / 8 * 1e6, rel=1e-3)
    half = energy(book, answer(book, H100, 4), ON_H100, efficiency=0.5)
    assert half.joules_per_token == pytest.approx(2 * (found.joules_per_token or 0))


def test_a_prefill_by_hand_is_dealt_over_its_tokens() -> None:
    book = ledger(LLAMA, Scenario("prefill", 4096))
    found = energy(book, answer(book, H100, 4), ON_H100)
    matrices = PARAMETERS - 2 * HIDDEN * VOCABULARY
    flops = 2 * matrices * 4096 + 2 * HIDDEN * VOCABULARY + 4 * 64 * 128 * LAYERS * 4096 * 4097 // 2
    assert found.joules_per_token == pytest.approx(4 * 700 * flops / (4 * 989.4e12) / 4096, rel=1e-3)


@pytest.mark.parametrize("phase", ["prefill", "decode"])
@pytest.mark.parametrize("count", [1, 4])
def test_shares_are_the_whole(phase: str, count: int) -> None:
    scenario = Scenario("decode", 8192, 8) if phase == "decode" else Scenario("prefill", 8192)
    verdict = answer(ledger(LLAMA, scenario), H100, count)
    parts = dict(shares(verdict))
    assert sum(parts.values()) == pytest.approx(1) and parts["dense_mlp"] > parts["attention"] > parts["norms"]
    assert ("links" in parts) == (count > 1)


def test_a_prefill_bound_by_its_links_is_dealt_out_in_full() -> None:
    """80 layers send 2 all-reduces of 8,192 x 8,192 bf16 numbers and the embedding one: 2 x 3/4 of them leave each device at 31.5 GB/s."""
    l40s = load_device("l40s")
    verdict = answer(ledger(LLAMA, Scenario("prefill", 8192)), l40s, 4, Plan(tp=4))
    sent = 2 * 3 / 4 * (2 * LAYERS + 1) * 8192 * HIDDEN * 2 / 31.5e9
    assert verdict.bound.bound_by == "link" and verdict.bound.lower == pytest.approx(sent, rel=0.01)
    parts = dict(shares(verdict))
    math = 2 * (PARAMETERS - 2 * HIDDEN * VOCABULARY) * 8192 + 4 * 64 * 128 * LAYERS * 8192 * 8193 // 2
    alone = math / 4 / float(l40s.sizes["peak.bf16"])
    assert parts["links"] == pytest.approx(sent / (sent + alone), rel=0.02)
    document, _ = report(LLAMA, verdict_scenario("prefill"), verdict_scenario("decode"), l40s, 4, Plan(tp=4), DEFAULT)
    phases, pieces = document.tables[:2]
    assert sum(float(str(row.get("prefill_joules_per_token") or 0)) for row in pieces.rows) == pytest.approx(
        phases.rows[0]["joules_per_token"]
    )


def verdict_scenario(phase: str) -> Scenario:
    return Scenario("prefill", 8192) if phase == "prefill" else Scenario("decode", 8192)


def test_a_measured_energy_lies_where_it_can() -> None:
    """ML.ENERGY v3: Llama 3.1 70B in bf16, tp 4 of H100, 898 sequences of 175 tokens: 2,548 W and 0.3731 J a token.

    https://github.com/ml-energy/leaderboard/blob/master/public/data/models/meta-llama__Llama-3.1-70B-Instruct__lm-arena-chat.json
    """
    book = ledger(LLAMA, Scenario(context=175, batch=898, steady=True))
    verdict = answer(book, H100, 4, Plan(tp=4))
    drawn = energy(book, verdict, DEFAULT.changed(power=f"{2548 / 4} W", idle_power="70 W"))
    assert drawn.joules_per_token is not None and 0.2 < drawn.joules_per_token / 0.3731 < 1
    reached = drawn.joules_per_token / 0.3731
    at = energy(book, verdict, ON_H100, reached)
    assert at.idle_joules_per_token is not None and at.joules_per_token is not None
    assert at.idle_joules_per_token < 0.3731 < at.joules_per_token


def test_a_given_power_stands_for_the_device_and_is_not_called_tdp() -> None:
    given = completed(DEFAULT.changed(power="350 W", price="1.00 USD/h", pue=1.0, host_overhead=1.0), H100)
    book = ledger(LLAMA, Scenario(context=8192))
    verdict = answer(book, H100, 4)
    cheap, usual = energy(book, verdict, given), energy(book, verdict, ON_H100)
    assert cheap.joules_per_token == pytest.approx((usual.joules_per_token or 0) / 2) == cheap.building_joules_per_token
    assert cheap.usd_per_million_tokens == pytest.approx((usual.usd_per_million_tokens or 0) / 3.99)
    heads = run("energy", "llama-3.1-70b", "--on", "4xh100-sxm", "-c", "8K", "--power", "350W").stdout.splitlines()[0]
    assert "TDP" not in heads and "at work [J/token]" in heads
    assert "TDP [J/token]" in run("energy", "llama-3.1-70b", "--on", "4xh100-sxm", "-c", "8K").stdout.splitlines()[0]


def test_more_power_at_rest_than_at_work_is_refused() -> None:
    with pytest.raises(ScenarioError, match="idle_power 70 W is more than the power at work, 50 W"):
        completed(DEFAULT.changed(power="50 W"), H100)
    assert completed(DEFAULT.changed(power="50 W", idle_power="10 W"), H100).idle_watts == 10


@pytest.mark.parametrize("name", ["gb300-nvl72-rack", "apple-m5-ultra-80gpu", "cerebras-wse3", "raspberry-pi-5-8gb"])
def test_a_host_that_is_in_the_power_does_not_count_twice(name: str) -> None:
    device = load_device(name)
    found = completed(DEFAULT, device)
    assert found.number("host_overhead") == 1 and "the host is in it" in found.host_overhead.source
    assert found.surroundings == pytest.approx(1.2)
    assert completed(DEFAULT.changed(host_overhead=1.1), device).number("host_overhead") == 1.1


@pytest.mark.parametrize("name", DEVICES)
def test_every_device_completes_the_assumptions(name: str) -> None:
    device = load_device(name)
    found = with_speeds(completed(DEFAULT, device), load_model("llama-3.1-8b"), Scenario(context=1024, batch=8), device)
    assert found.power_watts == (None if device.watts is None else float(device.watts))
    assert found.idle_watts == (None if device.idle_watts is None else float(device.idle_watts))
    assert found.price_usd_per_hour == (None if device.usd_per_hour is None else float(device.usd_per_hour))
    assert completed(found, device) == found
    assert found.power_watts is None or found.rack_watts >= found.power_watts * found.number("host_overhead")


def test_speeds_are_given_or_measured_or_the_bound() -> None:
    batched = Scenario(context=4096, batch=64)
    measured = with_speeds(DEFAULT, LLAMA, batched, H100)
    assert measured.decode_efficiency is not None and measured.prefill_efficiency is not None
    known = efficiency(H100, "decode", 64, "16-bit")
    assert known is not None and measured.number("decode_efficiency") == pytest.approx(known.median)
    assert measured.decode_efficiency.evidence == "measured" and known.label in measured.decode_efficiency.source
    alone = with_speeds(DEFAULT, LLAMA, Scenario(context=4096), H100)
    assert alone.decode_efficiency is not None and "decode at batch 1" in alone.decode_efficiency.source
    bare = with_speeds(DEFAULT, LLAMA, batched, H100, measured=False)
    assert (bare.number("decode_efficiency"), bare.number("prefill_efficiency")) == (1, 1)
    given = with_speeds(DEFAULT.changed(decode_efficiency=0.4), LLAMA, batched, H100)
    assert given.number("decode_efficiency") == 0.4
    with pytest.raises(ScenarioError, match=r"--speed bound and decode_efficiency 0.4 contradict"):
        with_speeds(DEFAULT.changed(decode_efficiency=0.4), LLAMA, batched, H100, measured=False)


def test_a_batch_is_taken_in_the_mean() -> None:
    """At 8,192 tokens every open block of DeepSeek-V4 closes: a batch of many sequences does not stand there all at once."""
    model = load_model("deepseek-v4-flash")
    at_once = ledger(model, Scenario(context=8192, batch=64)).totals.read_bytes
    mean = ledger(model, Scenario(context=8192, batch=64, steady=True)).totals.read_bytes
    result = run("energy", "deepseek-v4-flash", "--on", "8xh200-sxm", "-c", "8K", "-b", "64", "--format", "json")
    row = next(row for row in json.loads(result.stdout)["parts"][1]["rows"] if row["phase"] == "decode")
    device = load_device("h200-sxm-141gb")
    book = ledger(model, Scenario(context=8192, batch=64, steady=True))
    assert row["joules_per_token"] == pytest.approx(
        energy(book, answer(book, device, 8), completed(DEFAULT, device)).joules_per_token
    )
    assert mean < at_once


def test_the_command_says_what_fits_and_all_notes() -> None:
    result = run("energy", "llama-3.1-70b", "--on", "rtx-4090", "-c", "200K", "--format", "text")
    assert result.returncode == 1
    assert "decode fits   no: " in result.stdout and "prefill fits  no: " in result.stdout
    assert "beyond the model's maximum of 131,072" in result.stdout
    result = run("energy", "deepseek-v4-flash", "--on", "8xh100-sxm", "-c", "8K", "-b", "4", "--format", "text")
    assert result.returncode == 0
    assert "decode fits   yes: " in result.stdout and "note: plan tp 8" in result.stdout
    assert "has no fp4 arithmetic" in result.stdout


def test_the_table_of_assumptions_has_all_that_was_used() -> None:
    data = json.loads(run("energy", "llama-3.1-70b", "--on", "4xh100-sxm", "-c", "8K", "-b", "64", "--format", "json").stdout)
    rows = {row["name"]: row for row in data["parts"][3]["rows"]}
    assert set(rows) == {"decode_efficiency", "prefill_efficiency", "power", "idle_power", "host_overhead", "pue", "price"}
    assert rows["power"]["value"] == "700 W" and rows["power"]["source"].startswith("TDP, http") and rows["power"]["date"]
    assert rows["price"]["value"] == "3.99 USD/h" and rows["price"]["date"] == "2026-09-17"
    assert "batched decode" in rows["decode_efficiency"]["source"] and rows["decode_efficiency"]["evidence"] == "measured"
    assert 0 < rows["prefill_efficiency"]["value"] <= 1
    assert rows["host_overhead"]["value"] == 1.31 and rows["pue"]["value"] == 1.2


def test_efficiencies_of_a_file_count(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("decode_efficiency: 0.25\nprefill_efficiency: {value: 0.5, evidence: measured, source: our logs}\n")
    result = run("energy", "llama-3.1-70b", "--on", "4xh100-sxm", "-c", "8K", "--assumptions", str(mine), "--format", "json")
    phases = json.loads(result.stdout)["parts"][1]["rows"]
    assert [(row["phase"], row["speed"]) for row in phases] == [("prefill", 1), ("prefill", 0.5), ("decode", 1), ("decode", 0.25)]
    assert phases[3]["joules_per_token"] == pytest.approx(4 * phases[2]["joules_per_token"])
    assert "our logs" in result.stdout


def test_an_unknown_power_or_price_is_said() -> None:
    result = run("energy", "llama-3.1-8b", "--on", "mi300x", "-c", "8K", "--format", "json")
    rows = {row["name"]: row for row in json.loads(result.stdout)["parts"][3]["rows"]}
    assert result.returncode == 0 and rows["idle_power"]["value"] is None
    text = run("energy", "llama-3.1-8b", "--on", "gb300-nvl72-rack", "-c", "8K", "--format", "text").stdout
    assert "no price of gb300-nvl72-rack is known: give it with --price" in text
