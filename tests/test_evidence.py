"""The evidence: every row is read, has a public address, and comes out as the data say; factors hold what they claim."""

import csv
import re
from collections import defaultdict
from collections.abc import Callable, Hashable
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from pydantic import ValidationError

from kvcalc.catalog import data_folder, device_ids, load_device, load_model
from kvcalc.efficiency import (
    CLAIM,
    LEAST_CLAIM,
    LEAST_SYSTEMS,
    Sample,
    cut,
    efficiency,
    of_class,
    of_device,
    samples,
    systems,
    weight_width,
)
from kvcalc.errors import SpecError
from kvcalc.evidence import ENERGIES, LIMITS, SIZES, SPEEDS, Figure, figures, place
from kvcalc.fitting import fitted
from kvcalc.hardware import Device
from kvcalc.judge import (
    UNPUBLISHED_8_BIT,
    Judged,
    arithmetics,
    devices_of,
    fastest,
    judge,
    judge_all,
    ledger_of,
    lower_bound,
    request_seconds,
    scenario_of,
)
from kvcalc.ledger import ledger
from kvcalc.report.reached import efficiency_table
from kvcalc.report.verdicts import of_evidence, verdicts
from kvcalc.scenario import Scenario
from kvcalc.spec import ModelSpec

FIGURES = figures()


@pytest.fixture(scope="module")
def judged() -> dict[str, Judged]:
    return {one.figure.id: one for one in judge_all(FIGURES, load_model, load_device)}


def test_rows_are_whole_and_public() -> None:
    assert len(FIGURES) > 750 and len({figure.id for figure in FIGURES}) == len(FIGURES)
    for figure in FIGURES:
        text = " ".join(str(value) for value in figure.model_dump().values())
        assert not re.search(r"store id|corpus|file://", text), figure.id
        assert figure.expect == "agrees" or figure.because, figure.id
        assert figure.what != "other" or figure.expect == "unjudged", figure.id
        assert "context" not in figure.check, figure.id


def test_every_figure_comes_out_as_the_data_says(judged: dict[str, Judged]) -> None:
    wrong = [(one.figure.id, one.computed, one.word) for one in judged.values() if not one.as_said]
    assert wrong == []


def test_most_kinds_of_figures_are_judged(judged: dict[str, Judged]) -> None:
    words = defaultdict(list)
    for one in judged.values():
        words[one.figure.category].append(one.word)
    for category in ("kv_log", "decode", "prefill", "energy", "server latency", "server throughput", "batched decode"):
        found = words[category]
        assert found.count("cannot judge") <= len(found) / 2, category
    assert all(one.reason for one in judged.values() if one.word == "cannot judge")


@pytest.mark.parametrize("name", ["KS014", "KS015", "KS016", "KS006", "KS200", "KS066", "KS105", "KL073", "SV053"])
def test_known_errors_of_the_literature_differ(name: str, judged: dict[str, Judged]) -> None:
    """405B tables with 16 KV heads, 93.3 % that needs 6 bits, a latent counted twice, a batch-1 speed above the bandwidth."""
    assert judged[name].word == "differs" and judged[name].reason


def test_no_measured_speed_beats_its_bound(judged: dict[str, Judged]) -> None:
    for one in judged.values():
        if one.figure.what in SPEEDS and one.ratio is not None and one.ratio > 1:
            assert one.figure.expect == "differs" and one.figure.because


def row(name: str, **changes: Any) -> Figure:
    """A row of the evidence, with some of its fields changed."""
    return next(figure for figure in FIGURES if figure.id == name).model_copy(update=changes)


def word(name: str, **changes: Any) -> str:
    return judge(row(name, **changes), load_model, load_device).word


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("DE018", {"published": "67.5"}),  # a decode above its bound
        ("PF019", {"published": "30000"}),  # a prefill of 16-bit weights above the 16-bit peak, though below that of fp8
        ("DE321", {"published": "4.4"}),  # a step shorter than reading the weights
        ("DE319", {"published": "3.8e-05"}),  # a slope below the traffic of one token
        ("SV012", {"published": "1200"}),  # answers faster than their prompts can be read
        ("SV009", {"published": "8000"}),
        ("SV060", {"published": "15000"}),
        ("SV071", {"published": "8000"}),
        ("KL031", {"published": "10241.0"}),
        ("KS073", {"published": "2.1"}),
        ("WT001", {"published": "14.97"}),
        ("WT002", {"published": "4.10"}),  # below the narrower of its two formats
        ("WT002", {"published": "6.30"}),  # above the wider
        ("ME008", {"published": "60000"}),  # less memory than the file
        ("WT084", {"published": "470"}),
        ("HW002", {"published": "2100"}),  # more than the peak bandwidth
        ("EN041", {"published": "13.66"}),  # ten times the energy, at the same tokens per second: 3.2 kW in one device
        ("EN041", {"watts": "1001"}),
        ("EN047", {"published": "0.07061"}),  # a tenth: less than at rest
        ("EN186", {"published": "0.5"}),  # a server above its nameplate
        ("EN001", {"published": "0.05"}),  # a computer below the card at rest
        ("EN007", {"published": "30"}),  # above what its supply can give
    ],
)
def test_every_rule_can_fail(name: str, wrong: dict[str, Any]) -> None:
    """The row agrees; the same row with another number differs, and that is not as the data say."""
    assert word(name) == "agrees"
    changed = judge(row(name, **wrong), load_model, load_device)
    assert changed.word == "differs" and not changed.as_said


def test_a_row_that_cannot_be_judged_must_say_so() -> None:
    for name, lost in (
        ("DE018", {"weight_format": None}),
        ("DE018", {"device": None}),
        ("KL031", {"model": None}),
        ("KL031", {"model": "no-such-model"}),
        ("EN041", {"rate": None}),
    ):
        found = judge(row(name, **lost), load_model, load_device)
        assert found.word == "cannot judge" and found.reason and not found.as_said
        document, as_said = verdicts([of_evidence(found)], "wrong")
        assert not as_said and document.tables[0].rows[0]["verdict"] == "cannot judge (not as the data says)"
        assert replace(found, figure=found.figure.model_copy(update={"expect": "unjudged"})).as_said
    assert not judge(row("DE018", expect="unjudged", because="x"), load_model, load_device).as_said
    bare = judge(row("EN004"), load_model, load_device)
    assert bare.word == "cannot judge" and bare.as_said and "neither" in bare.reason


def test_a_broken_row_is_an_error_and_no_silence() -> None:
    for name, broken in (
        ("KL031", {"check": {"engine": "no-such-engine"}}),
        ("KL031", {"check": {"no such field": 1}}),
        ("KL031", {"unit": "parsecs"}),
        ("DE018", {"check": {"set": {"no.such.path": 1}}}),
        ("WT002", {"check": {"upto": "no-such-format"}}),
    ):
        with pytest.raises(SpecError, match=f"evidence {name}: cannot be evaluated"):
            judge(row(name, **broken), load_model, load_device)
    fields = row("DE018").model_dump()
    for broken in (
        {"published": "fast"},
        {"rate": "-1"},
        {"expect": "differs"},
        {"expect": "unjudged"},
        {"what": "other"},
        {"check": {"engine": "vllm"}},
        {"prompt": 5, "output": 5},
        {"no": "such field"},
    ):
        with pytest.raises(ValidationError):
            Figure.model_validate(fields | broken)


def test_16_bit_operands_run_no_faster_than_the_16_bit_peaks() -> None:
    h100, strix, turing = load_device("h100-sxm"), load_device("strix-halo"), load_device("rtx-3090")
    sixteen, eight = h100.sizes["peak.bf16"], h100.sizes["peak.fp8"]
    assert fastest(h100, ["bf16"]) == sixteen < eight == fastest(h100, ["bf16", "fp8"]) == fastest(h100, ["int4"])
    assert fastest(turing, ["fp16"]) == turing.sizes["peak_fp16_accumulate.fp16"]
    assert fastest(turing, ["q4_k"]) == turing.sizes["peak.int8"]
    assert "fp8" not in arithmetics(["q8_0"]) and "fp4" in arithmetics(["nvfp4"]) and "fp4" not in arithmetics(["int4", "mxfp8"])
    assert fastest(strix, ["fp16"]) == strix.sizes["peak.fp16"]
    assert fastest(strix, ["q4_0"]) == UNPUBLISHED_8_BIT * strix.sizes["peak.fp16"]
    assert fastest(load_device("apple-m2-ultra"), ["fp16"]) is None


def test_no_device_of_the_catalogue_has_more_in_8_bits_than_what_is_taken_where_it_is_not_published() -> None:
    ratios = []
    for device in map(load_device, device_ids()):
        halves = [device.sizes[f"peak.{name}"] for name in ("bf16", "fp16") if name in device.peak]
        eights = [device.sizes[f"peak.{name}"] for name in ("fp8", "int8") if name in device.peak]
        ratios += [max(eights) / max(halves)] if halves and eights else []
    assert len(ratios) > 20 and max(ratios) <= Fraction(UNPUBLISHED_8_BIT)


def test_the_work_of_a_prompt_by_hand() -> None:
    """Llama-3.3-70B in fp8 on two H100, 1,000 in and 1,000 out: two FLOPs for each of 68.45 B parameters and each token of the prompt,
    the head once, its causal attention of 64 heads of 128 in 80 layers; then 999 tokens through all of 69.5 B parameters."""
    figure, model, device = row("SV009"), load_model("llama-3.1-70b"), load_device("h100-sxm")
    attention = 80 * 4 * 64 * 128
    prompt = 2 * 68.45e9 * 1000 + 2 * 1.05e9 + attention * 1000 * 1001 / 2
    answer = 999 * (2 * 69.5e9 + attention * 1001)
    least = request_seconds(figure, model, device)
    assert least == pytest.approx((prompt + answer) / (2 * 1978.9e12), rel=2e-3)
    bound = float(judge(figure, load_model, load_device).computed.split(" ")[1].replace(",", ""))
    assert bound == pytest.approx(1000 / least / 2, rel=1e-3)
    without = judge(row("SV009", prompt=None, output=None), load_model, load_device).computed
    assert float(without.split(" ")[1].replace(",", "")) > 1.1 * bound
    assert request_seconds(row("SV060"), load_model("llama-2-70b"), load_device("h200-sxm")) == 0


def test_energy_by_hand() -> None:
    """Qwen3-14B on one H100: 627 tokens/s by the latency table, 0.7061 J by the energy table; 70 W at rest, 700 W at the most."""
    found = judge(row("EN047"), load_model, load_device)
    assert row("EN047").rate == "627" and found.computed == "0.112 to 1.12 J"
    assert float(row("EN047").published) * 627 == pytest.approx(float(row("EN047").watts or 0), rel=2e-3)


def test_rows_left_out_of_the_fit_say_by_which_rule() -> None:
    """An fp8 row is unfit only where the same source gives the same model, devices, task and batch in bf16, and faster."""
    unfit = {figure.id: figure.unfit for figure in FIGURES if figure.unfit}
    assert {name for name, reason in unfit.items() if reason and "in bf16" in reason} == {"SL013", "SL027", "SL073"}
    for slow, fast in (("SL013", "SL019"), ("SL027", "SL033")):
        assert (row(slow).weight_format, row(fast).weight_format) == ("fp8", "bf16")
        assert float(row(slow).published) > float(row(fast).published) and fast in (unfit[slow] or "")
        assert (row(slow).devices, row(slow).batch) == (row(fast).devices, row(fast).batch)
    assert all(f"DE{number}" in unfit for number in (302, 303, 304, 305, 310, 311, 312, 313))


def test_experts_of_alike_sequences_are_counted_once() -> None:
    """llama-batched-bench runs like sequences: they beat the bound of independent choices, so that no bound can rest on those."""
    for name in ("BD004", "BD005", "BD006"):
        found = judge(row(name), load_model, load_device)
        assert found.word == "agrees" and "alike" in found.reason


def test_the_bound_of_a_row_by_hand() -> None:
    """Llama-3-8B F16 on an RTX 4090 at 512 tokens: 14.96 GiB of which the embedding is not read, and 128 KiB a token."""
    figure = row("DE018")
    model, device = load_model("llama-3-8b"), load_device("rtx-4090")
    embedding = 128256 * 4096 * 2
    moved = 14.96 * 2**30 - embedding + 131072 * 512
    found = judge(figure, load_model, load_device)
    assert found.ratio == pytest.approx(54.34 * moved / 1008e9, rel=1e-3)
    assert devices_of(figure) == 1
    assert lower_bound(figure, ledger(model, Scenario(context=512, kv_format="fp16")), device) > 0


def sweeps() -> dict[tuple[str, str, str, str], list[tuple[int, float]]]:
    found = defaultdict(list)
    for one in judge_all([f for f in FIGURES if f.what == "decode_tokens_per_second" and f.batch == 1], load_model, load_device):
        figure = one.figure
        if one.ratio is not None and figure.device in ("strix-halo-395-128gb", "dgx-spark-gb10"):
            found[
                (figure.device, figure.model_name, figure.engine or "", figure.quote or "" if not figure.context else "")
            ].append((figure.context or 1, one.ratio))
    return {key: sorted(rows) for key, rows in found.items() if len({context for context, _ in rows}) >= 3}


LATENT = "GLM-4.7-Flash UD-Q8_K_XL"


def test_depth_sweeps_are_flat() -> None:
    """Measured over bound at the deepest context against the shallowest, on Strix Halo and DGX Spark: if the bound lacked traffic that
    grows with the context, the ratio would fall with it; if it counted too much, rise. Llama-2-7B ends at nine times as much KV as
    weights. Files of mixed widths that keep attention wider than the experts rise: the bound spreads the file's bytes evenly, and a
    token of an MoE reads more of the wide ones than their share, which counts most where there is no KV yet. A latent falls: every
    head multiplies every byte of it, and at the rates that the engine reaches those products take longer than the reading."""
    found = sweeps()
    assert len(found) >= 10
    mixed = ("MiniMax-M2.7 UD-Q3_K_S", "Qwen3.6-35B-A3B UD-Q4_K_XL", "gemma-4-26B-A4B UD-Q4_K_XL")
    for (device, name, *_), rows in found.items():
        (_, first), (deepest, last) = rows[0], rows[-1]
        assert deepest >= 32768, (device, name)
        low, high = (1.1, 1.45) if name in mixed else (0.65, 0.9) if name == LATENT else (0.9, 1.1)
        assert low < last / first < high, (device, name, rows)
    llama = next(rows for key, rows in found.items() if "llama-2-7b" in key[1])
    model = load_model("llama-2-7b")
    book = ledger(model, Scenario(context=llama[-1][0], weight_format="q4_0", kv_format="fp16")).totals
    assert book.state_bytes > 8 * book.weight_bytes
    assert 0.9 < llama[-1][1] / llama[0][1] < 1.1


def test_the_products_of_a_latent_explain_its_sweep() -> None:
    """GLM-4.7-Flash on Strix Halo at a depth of 65,536: what its prefill reaches there, 4.6 TFLOP/s, against the products that 20 heads
    of a decode step have with the latent, 134 GFLOP: 29 of the 38 ms by which the step is longer than one without a context."""
    prefill, deep, shallow = row("PF054"), row("DE157"), row("DE155")
    model = load_model("glm-4.7-flash")
    read = ledger_of(prefill, model, scenario_of(prefill))
    rate = read.totals.flops * float(prefill.published) / read.scenario.tokens
    products = ledger_of(deep, model, scenario_of(deep)).totals.attention_flops
    assert rate == pytest.approx(4.6e12, rel=0.01) and products == pytest.approx(134e9, rel=0.01)
    longer = 1 / float(deep.published) - 1 / float(shallow.published)
    assert 0.7 < products / rate / longer < 1


# -- efficiency ---------------------------------------------------------------------------------------------------------------------


def test_the_samples_beside_the_evidence_are_the_fitted_ones() -> None:
    fresh = fitted(load_model, load_device)
    assert [sample.id for sample in fresh] == [sample.id for sample in samples()], "run: python tools/generate.py"
    for one, other in zip(fresh, samples(), strict=True):
        assert other.ratio == pytest.approx(one.ratio, rel=1e-3) and replace(other, ratio=one.ratio) == one


def sample(number: int, ratio: float, device: str = "d", **changes: str) -> Sample:
    plain = Sample(str(number), "decode at batch 1", device, "c", "w", "2025", "e", f"m{number}", "s", ratio)
    return replace(plain, **changes)  # type: ignore[arg-type]


def test_a_range_of_order_statistics_by_hand() -> None:
    assert cut(6) == (1, 5 / 7) and cut(9) == (1, 0.8) and cut(19) == (2, 0.8) and cut(29) == (3, 0.8)
    assert cut(LEAST_SYSTEMS)[1] >= CLAIM > cut(LEAST_SYSTEMS - 1)[1]
    found = of_device("these", [sample(n, n / 10) for n in range(1, 10)])
    assert found is not None and (found.low, found.median, found.high, found.rows) == (0.1, 0.5, 0.9, 9)
    assert found.claim == 0.8 and found.engines == ("e",)
    assert of_device("these", [sample(n, n / 10) for n in range(1, 9)]) is None


def test_a_sweep_counts_once() -> None:
    """Eight rows of one system, and one of another: two systems, whatever the number of rows."""
    sweep = [sample(n, n / 10, model="m") for n in range(1, 9)]
    other = sample(9, 0.9)
    assert [one.ratio for one in systems([*sweep, other])] == [pytest.approx(0.45), 0.9]
    assert of_device("these", [*sweep, other]) is None


def test_a_class_claims_what_its_devices_or_the_device_itself_allow() -> None:
    three = [sample(n, n / 10, device=f"d{n % 3}") for n in range(1, 7)]
    other = of_class("these", three, "unknown")
    assert other is not None and other.claim == 0.5 and "unknown itself not among them" in other.label
    assert (other.low, other.high, other.systems, other.devices) == (0.1, 0.6, 6, 3)
    own = of_class("these", [*three, *(sample(n, 0.3, device="d0") for n in range(7, 12))], "d0")
    assert own is not None and own.claim == 6 / 8 and "d0 in 7 of them" in own.label
    assert of_class("these", [one for one in three if one.device != "d1"], "unknown") is None
    assert Fraction(1, 2) == LEAST_CLAIM


BATCH = {"prefill": ("prefill", 1), "decode at batch 1": ("decode", 1), "batched decode": ("decode", 64)}


def held_back(key: Callable[[Sample], Hashable]) -> dict[str, tuple[float, float, int]]:
    """Groups held back one by one, their systems asked of the ladder that `efficiency` climbs with all the rest: the share inside, the
    mean claim, and how many, for factors of the device itself and of its class."""
    groups = defaultdict(list)
    for one in samples():
        groups[key(one)].append(one)
    found: dict[str, list[tuple[bool, float]]] = defaultdict(list)
    for held, rows in groups.items():
        rest = [one for one in samples() if key(one) != held]
        for system in systems(rows):
            first = system.rows[0]
            factor = efficiency(load_device(first.device), *BATCH[first.phase], first.width, rest)
            if factor is not None:
                level = "class" if first.device_class in factor.label else "device"
                found[level].append((factor.low <= system.ratio <= factor.high, factor.claim))
    return {
        level: (sum(inside for inside, _ in rows) / len(rows), sum(claim for _, claim in rows) / len(rows), len(rows))
        for level, rows in found.items()
    }


@pytest.mark.parametrize(
    ("key", "levels"),
    [
        (lambda one: (one.phase, one.device, one.width, one.model, one.source), {"device": 30, "class": 30}),
        (lambda one: one.model, {"device": 30, "class": 30}),
        (lambda one: one.device, {"class": 30}),
        (lambda one: one.source, {"class": 20}),
    ],
    ids=["a system", "a model", "a device", "a publication"],
)
def test_what_is_held_back_falls_inside_as_often_as_the_range_claims(
    key: Callable[[Sample], Hashable], levels: dict[str, int]
) -> None:
    """Of systems, models, devices and publications never seen, through the whole ladder. Tolerance: two standard errors."""
    found = held_back(key)
    for level, least in levels.items():
        inside, claim, count = found[level]
        assert count >= least
        assert inside >= claim - 2 * (claim * (1 - claim) / count) ** 0.5, (level, inside, claim, count)


def test_single_rows_scatter_more_than_systems() -> None:
    """A range is over systems; a single row, at the end of a sweep, falls outside more often. `explain conventions` says systems."""
    inside, claim, count = held_back(lambda one: one.id)["device"]
    assert count >= 60 and claim - 0.12 < inside < claim + 0.05


def test_the_width_is_that_of_the_format_whatever_some_tables_are_kept_in() -> None:
    model = load_model("gemma-3-270m")
    for name, width in (("q8_0", "8-bit"), ("int8", "8-bit"), ("q6_k", "8-bit"), ("q4_k", "4-bit"), ("fp16", "16-bit")):
        assert weight_width(ledger(model, Scenario(context=512, weight_format=name))) == width
    assert weight_width(ledger(model, Scenario(context=512))) == "16-bit"
    assert weight_width(ledger(load_model("gpt-oss-120b"), Scenario(context=512))) == "4-bit"
    widths = {one.id: one.width for one in samples()}
    assert {widths[name] for name in ("DE170", "DE188", "PF089") if name in widths} == {"8-bit"}


def test_factors_name_what_they_rest_on_and_there_is_none_without_evidence() -> None:
    own = efficiency(load_device("strix-halo"), "decode", 1, "4-bit")
    assert own is not None and own.label == "decode at batch 1, strix-halo-395-128gb, 4-bit weights"
    assert own.claim >= CLAIM and own.rows == len(own.ids) > own.systems >= LEAST_SYSTEMS and own.devices == 1
    few = efficiency(load_device("h100-sxm"), "decode", 1, "16-bit")
    assert few is not None and "datacenter-gpu" in few.label and "h100-sxm-80gb in 1 of them, too few alone" in few.label
    assert few.high > 0.6 and "DE321" in few.ids and "vLLM" in few.engines
    wider = efficiency(load_device("mi300x"), "decode", 1, "4-bit")
    assert wider is not None and "mi300x itself not among them" in wider.label and LEAST_CLAIM <= wider.claim < CLAIM
    assert efficiency(load_device("tpu-v5e"), "decode", 1, "4-bit") is None


def test_newer_software_is_preferred_where_it_is_enough() -> None:
    device = load_device("strix-halo")
    like = {"phase": "decode at batch 1", "device": device.id, "device_class": device.device_class, "width": "4-bit"}
    old = [replace(sample(n, 0.2), **like, era="2024") for n in range(20)]  # type: ignore[arg-type]
    new = [replace(sample(n, 0.6), **like, era="2026") for n in range(20, 29)]  # type: ignore[arg-type]
    enough = efficiency(device, "decode", 1, "4-bit", [*old, *new])
    assert enough is not None and enough.eras == "2026" and enough.median == 0.6
    few = efficiency(device, "decode", 1, "4-bit", [*old, *new[1:]])
    assert few is not None and few.eras == "2024 to 2026" and few.systems == 28


def test_the_table_of_factors_has_all_samples_once() -> None:
    document = efficiency_table([load_device("h100-sxm"), load_device("strix-halo"), load_device("tpu-v5e")])
    groups, factors = document.tables
    assert sum(int(str(group["rows"])) for group in groups.rows) == len(samples())
    assert {"median", "low", "high", "year", "engines"} <= set(groups.rows[0])
    assert any("strix-halo" in str(factor["of"]) for factor in factors.rows) and all(factor["claim"] for factor in factors.rows)


def test_independent_sources_are_counted_by_place() -> None:
    assert place("https://github.com/a/b/blob/main/c.md") == place("log in https://github.com/a/b/issues/3") == "github.com/a/b"
    assert place("https://arxiv.org/abs/2405.04434") == place("Table 1, arXiv:2405.04434") == "arXiv:2405.04434"
    assert place("https://huggingface.co/org/name/blob/main/config.json") == "huggingface.co/org/name"


def test_the_file_has_one_kind_of_line() -> None:
    with (data_folder("evidence") / "published.csv").open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert {None} not in [set(row) for row in rows] and all(None not in row for row in rows)
    assert {line["what"] for line in rows} <= {*SIZES, *SPEEDS, *ENERGIES, *LIMITS, "other"}
    assert all(Decimal(line["published"]) >= 0 for line in rows if line["what"] != "other")


def test_models_and_devices_of_rows_exist() -> None:
    for figure in FIGURES:
        if figure.model:
            assert isinstance(load_model(figure.model), ModelSpec)
        if figure.device:
            assert isinstance(load_device(figure.device), Device)
