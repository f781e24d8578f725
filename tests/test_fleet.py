"""Fleets: every line by hand from published numbers, assumptions in sight and changed, nonsense refused."""

import json
import subprocess
import sys
from math import ceil
from pathlib import Path

import pytest

from kvcalc.assumptions import Assumptions
from kvcalc.catalog import load_assumptions, load_device, load_model
from kvcalc.efficiency import efficiency
from kvcalc.errors import KvcalcError, ScenarioError, SpecError
from kvcalc.fleet import Fleet, fleet
from kvcalc.ledger import ledger
from kvcalc.parallel import Plan
from kvcalc.scenario import Scenario
from kvcalc.serving import Speculation, decode_bound
from kvcalc.solve import held_bytes

H100, H200 = load_device("h100-sxm-80gb"), load_device("h200-sxm-141gb")
LLAMA, SMALL = load_model("llama-3.1-70b"), load_model("llama-3.1-8b")
FLASH, DRAFTED = load_model("deepseek-v4-flash"), load_model("deepseek-v4-flash-0731")
DEFAULT = load_assumptions()
SPEEDS = {"decode_efficiency": 0.5, "prefill_efficiency": 0.6}
PARAMETERS, KV_BYTES, HIDDEN, VOCABULARY, LAYERS = 70_553_706_496, 327_680, 8192, 128_256, 80
"""Of Llama 3.1 70B: parameters, and bytes of K and V per token in bf16 (2 x 80 layers x 8 heads x 128 x 2 bytes)."""


def on_h100(users: int = 10_000_000, **changes: object) -> Fleet:
    """Llama 3.1 70B on replicas of four H100, at given speeds."""
    return fleet(LLAMA, Scenario(context=1), H100, users, DEFAULT.changed(**(SPEEDS | changes)), count=4)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "kvcalc", *arguments], capture_output=True, text=True, timeout=120)


def test_a_dense_fleet_by_hand() -> None:
    """10 M users, 4,000 tokens in and 1,000 out, on 4 x H100: memory, step, replicas, racks, power and money from the data sheets."""
    found = on_h100()
    # memory: 92 % of what nvidia-smi shows; norms are copied, all else is cut in four
    norms = (2 * LAYERS + 1) * HIDDEN * 2
    weights = (2 * PARAMETERS - norms) / 4 + norms
    batch = int((0.92 * 81_559 * 2**20 - weights) / (KV_BYTES * 8192 / 4))
    assert (found.plan, found.batch) == (Plan(tp=4), batch)
    # decode: weights without the embedding and 8,192 tokens of each sequence at 3.35 TB/s, at half the bound
    read = 2 * (PARAMETERS - HIDDEN * VOCABULARY) + batch * 8192 * KV_BYTES
    tpot = read / (4 * 3.35e12) / 0.5
    decode, reading, power = found.decode, found.reading, found.power
    assert decode is not None and reading is not None and power is not None
    assert decode.seconds == pytest.approx(tpot, rel=1e-3) and decode.tokens_per_second == pytest.approx(batch / tpot, rel=1e-3)
    out_rate = 10_000_000 * 1000 * 2 / 86_400
    assert decode.needed == pytest.approx(out_rate)
    assert decode.replicas == ceil(out_rate / (0.8 * batch / tpot))
    # prompts: causal FLOPs at 989.4 TFLOP/s, at 60 %
    matrices = PARAMETERS - 2 * HIDDEN * VOCABULARY
    flops = 2 * matrices * 4096 + 2 * HIDDEN * VOCABULARY + 4 * 64 * 128 * LAYERS * 4096 * 4097 // 2
    seconds = flops / (4 * 989.4e12) / 0.6
    prompts = 10_000_000 * 4000 / 4096 * 2 / 86_400
    assert reading.seconds == pytest.approx(seconds, rel=1e-3) and found.prompts == pytest.approx(prompts)
    assert reading.replicas == ceil(prompts * seconds / 0.8)
    # devices, racks, power, money
    working = decode.replicas + reading.replicas
    assert found.spare_replicas == ceil(working / 10) and found.devices == 4 * (working + ceil(working / 10))
    server = 8 * 700 * 1.31
    assert power.devices_per_rack == 8 * int(40_800 / server) == 40 and power.racks == ceil(found.devices / 40)
    peak = found.devices * 700 * 1.31 * 1.2
    busy = (out_rate / 2 * tpot / batch + prompts / 2 * seconds) * 4 / found.devices
    mean = peak * (70 + 630 * busy) / 700
    assert power.peak_watts == pytest.approx(peak) and power.data_centres == pytest.approx(peak / 100e6)
    assert power.mean_watts == pytest.approx(mean, rel=1e-3) and found.busy == pytest.approx(busy, rel=1e-3)
    assert power.kwh_per_day == pytest.approx(mean * 24 / 1000, rel=1e-3)
    usd = found.devices * 3.99 * 24
    assert found.usd_per_day == pytest.approx(usd)
    generated, served = found.tokens_out, found.tokens_in + found.tokens_out
    assert (generated, served) == (10e9, 50e9)
    assert found.usd_per_million(generated) == pytest.approx(usd / 10_000)
    assert found.usd_per_million(served) == pytest.approx(usd / 50_000)
    assert found.kwh_per_million(generated) == pytest.approx(mean * 24 / 1000 / 10_000, rel=1e-3)


def test_a_sparse_fleet_by_hand() -> None:
    """DeepSeek-V4-Flash on 8 x H200: latents on every device, experts cut in eight; power at rest unknown; 4.59 USD an hour."""
    given = DEFAULT.changed(**SPEEDS)
    found = fleet(FLASH, Scenario(context=1), H200, 100_000_000, given, count=8)
    # one sequence at 8,192 tokens: 43 windows of 128 entries of 584 B; 21 layers with 2,048 entries and index keys of 68 B; 20 with
    # 64 entries; open blocks up to 127 tokens of 2 x 512 fp32 numbers (20 layers) and 7 of 2 x 1,280 (21 layers, keys too)
    window, sparse, heavy = 43 * 128 * 584, 21 * 2048 * (584 + 68), 20 * 64 * 584
    opened = 20 * 127 * 2 * 512 * 4 + 21 * 7 * 2 * 1280 * 4
    weights = ledger(FLASH, Scenario(context=1)).totals.weight_bytes / 8
    most = (0.92 * 143_771 * 2**20 - weights) / (window + sparse + heavy + opened)
    assert found.plan == Plan(tp=8) and found.batch == pytest.approx(most, rel=0.02)
    # a step reads all experts, 512 of the entries and all index keys of each sequence; streams of hyper-connections and the compressors'
    # tails, which come on top, are less than an eighth
    read = weights + found.batch * (window + 21 * (512 * 584 + 2048 * 68) + heavy)
    decode, reading, power = found.decode, found.reading, found.power
    assert decode is not None and reading is not None and power is not None
    assert 1 < decode.seconds / (read / 4.8e12 / 0.5) < 1.125
    rate = found.batch / decode.seconds
    out_rate, prompts = 100e6 * 1000 * 2 / 86_400, 100e6 * 4000 / 4096 * 2 / 86_400
    assert decode.replicas == ceil(out_rate / (0.8 * rate)) and reading.replicas == ceil(prompts * reading.seconds / 0.8)
    working = decode.replicas + reading.replicas
    assert found.devices == 8 * (working + ceil(working / 10))
    peak = found.devices * 700 * 1.31 * 1.2
    assert power.peak_watts == pytest.approx(peak) == power.mean_watts  # at rest: unknown, so at work throughout
    assert power.kwh_per_day == pytest.approx(peak * 24 / 1000) and power.racks == ceil(found.devices / 40)
    assert found.usd_per_day == pytest.approx(found.devices * 4.59 * 24)


def test_compressors_of_a_batch_do_not_close_all_at_once() -> None:
    given = DEFAULT.changed(**SPEEDS)
    there = fleet(FLASH, Scenario(context=1), H200, 1000, given, count=8)
    beside = fleet(FLASH, Scenario(context=1), H200, 1000, given.changed(context=8192 + 50), count=8)
    assert there.decode is not None and beside.decode is not None
    per_sequence = there.decode.seconds / there.batch, beside.decode.seconds / beside.batch
    assert per_sequence[0] == pytest.approx(per_sequence[1], rel=0.02)
    assert there.scenario.steady


def test_twice_the_users_take_twice_the_devices_and_slower_systems_more() -> None:
    assert on_h100(20_000_000).devices == pytest.approx(2 * on_h100().devices, rel=0.02)
    slower = on_h100(decode_efficiency=0.25, prefill_efficiency=0.3)
    assert slower.devices > 1.9 * on_h100().devices
    assert on_h100(utilisation=0.4).devices == pytest.approx(2 * on_h100().devices, rel=0.02)
    assert on_h100(memory_utilisation=0.8).batch < on_h100().batch


def test_the_batch_is_the_largest_within_the_target_at_the_measured_speed() -> None:
    found = on_h100(1000, tpot="30 ms")
    assert found.decode is not None and found.decode.seconds <= 0.030

    def tpot(batch: int) -> float:
        return decode_bound(LLAMA, Scenario(context=8192, batch=batch, steady=True), H100, Plan(tp=4)).lower / 0.5

    assert tpot(found.batch) == pytest.approx(found.decode.seconds) and tpot(found.batch + 1) > 0.030


def test_what_is_cached_is_not_read_again() -> None:
    """Of a prompt of 64K with nine tenths cached, 6,554 tokens are read."""
    cold, warm = (on_h100(context="128K", prompt="64K", ttft="60 s", cached_share=share) for share in (0, 0.9))
    assert cold.reading is not None and warm.reading is not None
    assert warm.cached == 58_982 and cold.prompts == warm.prompts
    assert warm.reading.needed == pytest.approx(cold.reading.needed * (65_536 - 58_982) / 65_536)
    matrices = 2 * (PARAMETERS - 2 * HIDDEN * VOCABULARY)
    scores = 4 * 64 * 128 * LAYERS * (65_536 * 65_537 - 58_982 * 58_983) // 2
    assert warm.reading.seconds == pytest.approx((matrices * 6554 + scores) / (4 * 989.4e12) / 0.6, rel=1e-3)
    assert warm.tokens_in == cold.tokens_in  # cached tokens are served too
    assert on_h100(cached_share=1).cached == 4095  # the last token is read anyhow


@pytest.mark.parametrize(("spare", "expected"), [(0, 0), (0.07, 7), (0.1, 10), (0.071, 8)])
def test_spare_replicas_are_whole_and_exact(spare: float, expected: int) -> None:
    users = 3_230_000
    found = on_h100(users, spare=spare, tokens_in=0)
    decode = found.decode
    assert decode is not None
    found = on_h100(round(users * 99.5 / (decode.needed / decode.tokens_per_second / 0.8)), spare=spare, tokens_in=0)
    assert found.decode is not None and found.decode.replicas == 100
    assert found.spare_replicas == expected and found.devices == 4 * (100 + expected)


def test_a_small_fleet_is_one_replica_of_each() -> None:
    found = on_h100(1)
    assert found.decode is not None and found.reading is not None
    assert (found.decode.replicas, found.reading.replicas, found.spare_replicas, found.devices) == (1, 1, 1, 12)
    assert found.busy < 1e-3 and found.power is not None and found.power.racks == 1


def test_only_prompts_or_only_answers() -> None:
    answers = on_h100(tokens_in=0, ttft="1 ms")
    assert answers.reading is None and answers.decode is not None and answers.tokens_in == 0
    prompts = on_h100(tokens_out=0, tpot="1 ms")
    assert prompts.decode is None and prompts.reading is not None and prompts.usd_per_million(prompts.tokens_out) is None


def test_without_a_number_a_replica_is_the_fewest_devices_that_hold_a_sequence() -> None:
    found = fleet(LLAMA, Scenario(context=1), H100, 1000, DEFAULT.changed(**SPEEDS), count=1)
    assert found.plan.devices == 2 and any("the fewest" in note for note in found.notes)
    crowded = fleet(
        LLAMA, Scenario(context=1), H100, 1000, DEFAULT.changed(**SPEEDS, memory_utilisation=0.7, tpot="1 s"), count=1
    )
    assert crowded.plan.devices > 2


def test_drafts_speed_up_and_take_room() -> None:
    plain = on_h100(1000, tpot="1 s")
    given = DEFAULT.changed(**SPEEDS, tpot="1 s")

    def drafted(speculation: Speculation) -> Fleet:
        return fleet(LLAMA, Scenario(context=1), H100, 1000, given, count=4, speculation=speculation)

    free, small = drafted(Speculation(3, 0.7, free=True)), drafted(Speculation(3, 0.7, SMALL))
    assert plain.decode is not None and free.decode is not None and small.decode is not None
    assert free.batch == plain.batch and free.decode.seconds < plain.decode.seconds / 2
    weights, state = 2 * 8_030_261_248, 2 * 32 * 8 * 128 * 2 * 8192  # of Llama 3.1 8B, which 4 devices share
    room = 0.92 * 81_559 * 2**20
    for batch, fitting in ((small.batch, True), (small.batch + 1, False)):
        held = held_bytes(LLAMA, Scenario(context=8192, batch=batch), Plan(tp=4)) + (weights + batch * state) / 4
        assert (held <= room) is fitting
    assert small.batch < plain.batch


def test_layers_that_draft_are_held() -> None:
    given = DEFAULT.changed(**SPEEDS, tpot="1 s")
    plain, drafted = (
        fleet(DRAFTED, Scenario(context=1), H200, 1000, given, count=8, speculation=speculation)
        for speculation in (None, Speculation(3, 0.7))
    )
    assert drafted.batch < plain.batch
    with pytest.raises(ScenarioError, match="carries no draft layers"):
        fleet(LLAMA, Scenario(context=1), H100, 1000, given, count=4, speculation=Speculation(3, 0.7))


def test_a_node_that_draws_more_than_a_rack() -> None:
    gb200 = load_device("gb200-gpu")
    found = fleet(SMALL, Scenario(context=1), gb200, 10_000_000, DEFAULT.changed(**SPEEDS), count=1)
    assert (
        found.power is not None
        and found.power.devices_per_rack == 72
        and "a rack of its own" in found.assumptions.rack_power.source
    )
    with pytest.raises(ScenarioError, match=r"a rack of 20 kW does not hold one node of 72 x gb200-gpu, which draws 113,184 W"):
        fleet(SMALL, Scenario(context=1), gb200, 1000, DEFAULT.changed(rack_power="20 kW"), count=1)
    with pytest.raises(ScenarioError, match=r"a rack of 7 kW does not hold one node of 8 x h100-sxm-80gb, which draws 7,336 W"):
        on_h100(rack_power="7 kW")
    found = on_h100(rack_power="15 kW")
    assert found.power is not None and found.power.devices_per_rack == 16


@pytest.mark.parametrize(
    ("users", "changes", "words"),
    [
        (0, {}, "at least one user"),
        (-5, {}, "at least one user"),
        (5, {"tokens_in": 0, "tokens_out": 0}, "needs tokens"),
        (5, {"tpot": "1 ms"}, "one sequence alone takes"),
        (5, {"ttft": "1 ms"}, "the target is 1.00 ms"),
        (5, {"context": 2048}, "context 2,048 is less than the prompt of 4,096"),
        (5, {"memory_utilisation": 0.1}, "does not fit"),
    ],
)
def test_a_fleet_that_cannot_be(users: int, changes: dict[str, object], words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        on_h100(users, **changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pue": 0.9}, "between 1 and 5"),
        ({"pue": float("nan")}, "pue"),
        ({"peak_factor": 0.5}, "between 1 and 1000"),
        ({"price": "2.50"}, "price: cannot read"),
        ({"price": "0 USD/h"}, "more than zero"),
        ({"price": "-2 USD/h"}, "price: cannot read"),
        ({"power": "0 W"}, "more than zero"),
        ({"power": 700}, "has no unit"),
        ({"tpot": "50"}, "with its unit"),
        ({"tpot": "0 s"}, "more than zero"),
        ({"context": 8192.5}, "not a whole number"),
        ({"context": 0}, "between 1 and"),
        ({"prompt": "4KB"}, "cannot read"),
        ({"tokens_in": -1}, "between 0 and"),
        ({"tokens_out": "many"}, "cannot read"),
        ({"tokens_in": "1/0"}, "cannot read"),
        ({"tokens_in": "1e999999999"}, "cannot read"),
        ({"spare": float("inf")}, "not a number"),
        ({"cached_share": 1.5}, "between 0 and 1"),
        ({"decode_efficiency": 0}, "more than 0 and at most 1"),
        ({"prefill_efficiency": 1.1}, "more than 0 and at most 1"),
        ({"utilisation": 0}, "more than 0 and at most 1"),
        ({"memory_utilisation": 1.01}, "more than 0 and at most 1"),
        ({"pue": "high"}, "not a number"),
        ({"pue": True}, "neither a number nor text"),
    ],
)
def test_assumptions_that_make_no_sense(changes: dict[str, object], words: str) -> None:
    with pytest.raises(KvcalcError, match=words):
        DEFAULT.changed(**changes)


def test_a_file_reads_like_the_flags_and_errors_have_a_place(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "pue: 1.1\ncontext: 16K\nprompt: 2K\ntokens_in: 4K\ntokens_out: {value: 3000.5, evidence: measured, source: logs}\n"
    )
    found = load_assumptions(str(mine))
    assert found.number("pue") == 1.1 and found.tokens("tokens_out") * 2 == 6001
    assert (found.tokens("context"), found.tokens("prompt"), found.tokens("tokens_in")) == (16_384, 2048, 4096)
    assert found.number("host_overhead") == DEFAULT.number("host_overhead")
    for text, where in (
        ("pue: 1.1\npuee: 1.2\n", r"mine.yaml:2:"),
        ("pue: 1.1\ndecode_efficiency: 0\n", r"mine.yaml:2:1: decode_efficiency: 0 must be more than 0"),
        ("pue: null\n", r"mine.yaml:1:1: pue: null gives no value"),
        ("- pue\n", "mapping"),
    ):
        mine.write_text(text)
        with pytest.raises(SpecError, match=where):
            load_assumptions(str(mine))


CHANGED = {
    "tokens_in": "8K",
    "tokens_out": "500",
    "cached_share": "0.25",
    "peak_factor": "3",
    "context": "12K",
    "prompt": "2K",
    "tpot": "30 ms",
    "ttft": "3 s",
    "memory_utilisation": "0.85",
    "utilisation": "0.7",
    "decode_efficiency": "0.45",
    "prefill_efficiency": "0.35",
    "spare": "0.2",
    "power": "650 W",
    "idle_power": "80 W",
    "host_overhead": "1.4",
    "pue": "1.3",
    "rack_power": "50 kW",
    "data_centre_power": "20 MW",
    "price": "2.5 USD/h",
}


def test_every_assumption_is_printed_and_changed_by_a_file(tmp_path: Path) -> None:
    command = ("fleet", "llama-3.1-70b", "--on", "4xh100-sxm", "--users", "10M", "--format", "json", "--assumptions")
    assert set(CHANGED) == set(Assumptions.model_fields)
    mine = tmp_path / "mine.yaml"

    def shown(**values: object) -> tuple[list[dict[str, object]], dict[str, dict[str, object]]]:
        mine.write_text("".join(f"{name}: {value}\n" for name, value in (SPEEDS | values).items()))
        parts = json.loads(run(*command, str(mine)).stdout)["parts"]
        return parts[1]["rows"], {row["name"]: row for row in parts[2]["rows"]}

    usual, assumed = shown()
    assert list(assumed) == list(Assumptions.model_fields)
    assert all(row["value"] is not None and row["source"] and row["evidence"] != "-" for row in assumed.values())
    assert assumed["power"]["date"] and assumed["price"]["date"]
    for name, value in CHANGED.items():
        steps, now = shown(**{name: value})
        assert str(now[name]["value"]) == value and now[name]["evidence"] == "as asked", name
        assert name == "ttft" or steps != usual, f"{name} changes nothing"  # ttft only refuses


def test_measured_speeds_say_where_they_come_from() -> None:
    found = fleet(LLAMA, Scenario(context=1), H100, 1000, DEFAULT.changed(tpot="1 s", ttft="60 s"), count=4)
    for name, phase in (("decode_efficiency", "decode"), ("prefill_efficiency", "prefill")):
        known, taken = efficiency(H100, phase, 2, "16-bit"), getattr(found.assumptions, name)
        assert taken.value == (1 if known is None else known.median)
        assert ("no measurement" if known is None else known.label) in taken.source


def test_every_shipped_assumption_says_who_says_so() -> None:
    for name in Assumptions.model_fields:
        given = getattr(DEFAULT, name)
        assert given is None or (given.source and (given.evidence == "given" or ("https://" in given.source and given.date))), (
            name
        )


def test_the_command_in_a_pipe(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("decode_efficiency: 0.57\n")
    result = run("fleet", "llama-3.1-70b", "--on", "4xh100-sxm", "--users", "10M", "--assumptions", str(mine))
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert result.returncode == 0 and lines[0] == ["what", "value", "unit", "speed"]
    assert all(unit for _, _, unit, _ in lines[1:]), "a number without its unit"
    speeds = {what: speed for what, _, _, speed in lines}
    assert speeds["TPOT in that batch"] == "57 % of bound" and "idle_power" in result.stderr
    bound = run("fleet", "llama-3.1-70b", "--on", "4xh100-sxm", "--users", "10M", "--speed", "bound")
    marked = {line.split("\t")[0] for line in bound.stdout.splitlines() if line.endswith("\tbound")}
    assert {"TTFT of a prompt that need not wait", "TPOT in that batch", "full speed of a reading replica"} <= marked
    assert "prefill at the bound" in bound.stderr and "decode at the bound" in bound.stderr
    for name in ("cost of a million tokens generated", "cost of a million tokens served", "energy of a million tokens generated"):
        assert name in speeds


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("llama-3.1-70b", "--on", "4xh100-sxm", "--tpot", "1ms"), "tpot: one sequence alone"),
        (("llama-3.1-70b", "--on", "4xh100-sxm", "--ttft", "1ms"), "ttft: a prompt of"),
        (("llama-3.1-405b", "--on", "rtx-4090", "--tp", "1"), "does not fit"),
    ],
)
def test_the_answer_no_is_exit_code_1(arguments: tuple[str, ...], words: str) -> None:
    result = run("fleet", *arguments)
    assert result.returncode == 1 and words in result.stderr and result.stdout == ""


def test_the_command_refuses_in_one_line(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("decode_efficiency: 0.4\n")
    on = ("fleet", "llama-3.1-70b", "--on", "4xh100-sxm")
    for arguments, words in (
        ((*on, "--users", "0"), "at least one user"),
        ((*on, "--speed", "bound", "--assumptions", str(mine)), "--speed bound and decode_efficiency"),
        ((*on, "--draft-tokens", "3"), "both --draft-tokens and --acceptance"),
        ((*on, "--draft", "none"), "--draft needs --draft-tokens"),
        ((*on, "--tokens-in", "-4"), "tokens_in"),
        (("fleet", "llama-3.1-8b", "--on", "tensor-g5"), "is not known"),
        (("fleet", "llama-3.1-8b"), "needs a device"),
    ):
        result = run(*arguments)
        assert result.returncode == 2 and words in result.stderr and "Traceback" not in result.stderr, arguments
        assert result.stderr.startswith("error: ") and len(result.stderr.splitlines()) <= 2 and result.stdout == ""


@pytest.mark.parametrize("users", ["1000000000000000", "999999999999999999999999999999B"])
def test_absurdly_many_users_are_a_number(users: str) -> None:
    result = run("fleet", "llama-3.1-70b", "--on", "4xh100-sxm", "--users", users, "--format", "json")
    steps = {row["key"]: row["value"] for row in json.loads(result.stdout)["parts"][1]["rows"]}
    assert result.returncode == 0 and steps["devices"] > 1e9


def test_what_the_model_is_not_made_for_is_said() -> None:
    text = run("fleet", "llama-3.1-70b", "--on", "8xh200-sxm", "-c", "200K", "--format", "text").stdout
    assert "beyond the model's maximum of 131,072" in text
    assert "power at work throughout" in text and "idle_power          not known" in text
