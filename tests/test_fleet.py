"""Energy, money and fleets: arithmetic by hand, assumptions in sight, nonsense refused."""

from pathlib import Path

import pytest

from kvcalc.assumptions import Assumptions
from kvcalc.catalog import load_assumptions, load_device, load_model
from kvcalc.energy import energy, shares
from kvcalc.errors import KvcalcError, ScenarioError, SpecError
from kvcalc.fleet import Speeds, fleet, speeds
from kvcalc.ledger import ledger
from kvcalc.parallel import Plan
from kvcalc.roofline import answer
from kvcalc.scenario import Scenario

H100 = load_device("h100-sxm-80gb")
LLAMA = load_model("llama-3.1-70b")
DEFAULT = load_assumptions()
BOUND = Speeds(1.0, 1.0, "", "")


def test_energy_by_hand() -> None:
    """4 x 700 W for the bound's time over 8 sequences; idle 4 x 70 W; the building 1.31 x 1.2 of it; 4 x 3.99 USD an hour."""
    book = ledger(LLAMA, Scenario(context=8192, batch=8))
    verdict = answer(book, H100, 4)
    found = energy(book, verdict, DEFAULT)
    seconds = verdict.bound.lower
    assert found.joules_per_token == pytest.approx(4 * 700 * seconds / 8)
    assert found.idle_joules_per_token == pytest.approx(4 * 70 * seconds / 8)
    assert found.building_joules_per_token == pytest.approx(4 * 700 * seconds / 8 * 1.31 * 1.2)
    assert found.usd_per_million_tokens == pytest.approx(4 * 3.99 / 3600 * seconds / 8 * 1e6)
    half = energy(book, verdict, DEFAULT, efficiency=0.5)
    assert half.joules_per_token == pytest.approx(2 * (found.joules_per_token or 0))


def test_shares_are_the_whole() -> None:
    verdict = answer(ledger(LLAMA, Scenario(context=8192, batch=8)), H100, 4)
    parts = dict(shares(verdict))
    assert sum(parts.values()) == pytest.approx(1) and parts["dense_mlp"] > parts["attention"] > parts["norms"]


def test_given_power_and_price_stand_for_the_device() -> None:
    book = ledger(LLAMA, Scenario(context=8192))
    verdict = answer(book, H100, 4)
    given = DEFAULT.changed(power="350 W", price="1.00 USD/h", pue=1.0, host_overhead=1.0)
    cheap, usual = energy(book, verdict, given), energy(book, verdict, DEFAULT)
    assert cheap.joules_per_token == pytest.approx((usual.joules_per_token or 0) / 2) == cheap.building_joules_per_token
    assert cheap.usd_per_million_tokens == pytest.approx((usual.usd_per_million_tokens or 0) / 3.99)


def test_a_fleet_by_hand() -> None:
    given = DEFAULT.changed(tokens_in=0, tokens_out=864, peak_factor=2, spare=0, context=8192, tpot="1 s", ttft="60 s")
    found = fleet(LLAMA, Scenario(context=1), H100, 1_000_000, given, BOUND, Plan(tp=4))
    assert found.out_tokens_per_second == pytest.approx(1_000_000 * 864 / 86400 * 2) == 20_000
    rate = found.decode_tokens_per_second
    assert found.decode_replicas == -(-20_000 // rate) and found.prefill_replicas == 0
    assert found.devices == 4 * found.decode_replicas
    assert found.usd_per_day == pytest.approx(found.devices * 3.99 * 24)
    power = found.power
    assert power is not None
    assert power.peak_watts == pytest.approx(found.devices * 700 * 1.31 * 1.2)
    assert power.mean_watts == pytest.approx(power.peak_watts * (70 + 630 / 2) / 700)
    per_rack = int(40800 / (700 * 1.31))
    assert power.racks == -(-found.devices // per_rack) and power.data_centres == pytest.approx(power.peak_watts / 100e6)


def test_twice_the_users_take_twice_the_devices_and_slower_systems_more() -> None:
    def size(users: int, taken: Speeds = BOUND) -> int:
        return fleet(LLAMA, Scenario(context=1), H100, users, DEFAULT, taken, Plan(tp=4)).devices

    assert size(20_000_000) == pytest.approx(2 * size(10_000_000), rel=0.02)
    assert size(10_000_000, Speeds(0.5, 0.5, "", "")) > 1.9 * size(10_000_000)


def test_the_batch_of_a_fleet_is_the_largest_within_the_target() -> None:
    given = DEFAULT.changed(tpot="20 ms")
    found = fleet(LLAMA, Scenario(context=1), H100, 1000, given, BOUND, Plan(tp=4))
    assert found.decode.tpot_seconds <= 0.020
    from kvcalc.serving import point

    beyond = Scenario(context=8192, batch=found.decode.batch + 1)
    after = point(LLAMA, beyond, H100, Plan(tp=4))
    assert after.tpot_seconds > 0.020 or after.fits is False


def test_speeds_are_given_or_measured_or_the_bound() -> None:
    scenario = Scenario(context=1)
    measured = speeds(DEFAULT, LLAMA, scenario, H100, measured=True)
    assert 0.2 < measured.decode < 1 and "median of" in measured.decode_because
    bare = speeds(DEFAULT, LLAMA, scenario, H100, measured=False)
    assert (bare.decode, bare.prefill) == (1.0, 1.0)
    given = speeds(DEFAULT.changed(decode_efficiency=0.4), LLAMA, scenario, H100, measured=True)
    assert given.decode == 0.4


@pytest.mark.parametrize(
    ("users", "changes", "words"),
    [
        (0, {}, "at least one user"),
        (5, {"tokens_in": 0, "tokens_out": 0}, "needs tokens"),
        (5, {"tpot": "1 ms"}, "one sequence alone takes"),
        (5, {"ttft": "1 ms"}, "the target is 1.00 ms"),
    ],
)
def test_a_fleet_that_cannot_be(users: int, changes: dict[str, object], words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        fleet(LLAMA, Scenario(context=1), H100, users, DEFAULT.changed(**changes), BOUND, Plan(tp=4))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pue": 0.9}, "between 1 and 5"),
        ({"peak_factor": 0.5}, "between 1 and 1000"),
        ({"price": "2.50"}, "price: cannot read"),
        ({"tpot": "50"}, "with its unit"),
        ({"context": 8192.5}, "not a whole number"),
        ({"cached_share": 1.5}, "between 0 and 1"),
        ({"pue": "high"}, "not a number"),
    ],
)
def test_assumptions_that_make_no_sense(changes: dict[str, object], words: str) -> None:
    with pytest.raises(KvcalcError, match=words):
        DEFAULT.changed(**changes)


def test_a_file_replaces_what_it_names_and_errors_have_a_place(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("pue: 1.1\ntokens_out: {value: 3000, evidence: measured, source: our logs}\n")
    found = load_assumptions(str(mine))
    assert found.number("pue") == 1.1 and found.number("tokens_out") == 3000
    assert found.number("host_overhead") == DEFAULT.number("host_overhead")
    mine.write_text("pue: 1.1\npuee: 1.2\n")
    with pytest.raises(SpecError, match=r"mine.yaml:2:"):
        load_assumptions(str(mine))
    mine.write_text("- pue\n")
    with pytest.raises(SpecError, match="mapping"):
        load_assumptions(str(mine))


def test_every_assumption_says_who_says_so() -> None:
    for name in Assumptions.model_fields:
        given = getattr(DEFAULT, name)
        assert given is None or given.source
