"""What engines reserve: the real engines' figures, every rule's worked number, and what is refused."""

import json
import re
from collections import Counter
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from test_kinds import calculate

from kvcalc import allocator
from kvcalc.allocator import NotModelled, applied, asked, documentation, engine, names, settings
from kvcalc.allocator.sglang import Pools, Sglang
from kvcalc.allocator.vllm import Cache, Vllm, grouped, least_padding, paged_cache, width_of
from kvcalc.catalog import load_model
from kvcalc.errors import ScenarioError, UnknownName
from kvcalc.kind import Row
from kvcalc.ledger import ledger
from kvcalc.published import Check
from kvcalc.scenario import Scenario
from kvcalc.slots import EveryNth, LastBlock, Law, Window
from kvcalc.spec import Block
from kvcalc.units import GIB, MIB
from kvcalc.verify import evaluate

TRUTH = json.loads((Path(__file__).parent / "truth" / "engines.json").read_text())
HEADINGS = ["Reserves", "Formula", "Worked", "Omits", "Assumes", "Source"]
WORKED = re.compile(r"^Worked +(?P<model>[a-z0-9.-]+), (?P<t>[\d,]+) tokens.*?: (?P<sum>.+) = (?P<value>[\d,]+) bytes", re.M)
LONG = 131072


def by_case(section: str) -> list[Any]:
    return [pytest.param(case, id=case["case"]) for case in TRUTH[section]]


def reserve(name: str, model: str, context: int = LONG, batch: int = 1, kv_format: str = "native", **chosen: Any) -> Any:
    scenario = Scenario(context=context, batch=batch, kv_format=kv_format)
    return allocator.allocator(name, chosen).reserve(load_model(model), scenario)


# -- the contract of an engine ------------------------------------------------------------------------------------------------------


def test_engines_are_files() -> None:
    assert names() == ("ideal", "ik-llama-cpp", "llama-cpp", "sglang", "vllm")
    assert engine("llama.cpp") is engine("llama_cpp") is engine("Llama-cpp")


@pytest.mark.parametrize("name", names())
def test_an_engine_says_what_it_reserves(name: str) -> None:
    cls = engine(name)
    assert re.findall(r"^([A-Z][a-z]+) {2,}", documentation(cls), re.M) == HEADINGS
    assert cls.about
    assert all(meaning for _, meaning in settings(cls).values())
    found = WORKED.search(documentation(cls))
    assert found, "Worked: MODEL, T tokens, FORMAT: SUM = VALUE bytes"
    value = int(found["value"].replace(",", ""))
    assert calculate(found["sum"].replace(",", "").replace(" x ", " * ")) == value
    assert reserve(name, found["model"], int(found["t"].replace(",", ""))).total_bytes == value


# -- llama.cpp ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", by_case("llama.cpp"))
def test_llama_cpp_allocates_these_cells_and_bytes(case: dict[str, Any]) -> None:
    reservation = reserve("llama.cpp", case["model"], case["context"], case["batch"], **case["settings"])
    cells: Counter[tuple[int, int, str]] = Counter()
    states: list[Fraction] = []
    for line in reservation.rows:
        if line.role == "buffer":
            states += [Fraction(line.bytes, MIB)] if line.bytes else []
        else:
            cells[line.slots, line.copies, "V" if line.row == "value" else "K"] += line.bytes
    logged: Counter[tuple[int, int, str]] = Counter()
    lines: Counter[tuple[int, int, str]] = Counter()
    for slots, streams, _, key, value in case["caches"]:
        for name, printed in (("K", key), ("V", value)):
            if printed:
                logged[slots, streams, name] += Fraction(str(printed))
                lines[slots, streams, name] += 1
    assert set(cells) == set(logged)
    for place, size in cells.items():
        assert abs(Fraction(size, MIB) - logged[place]) <= Fraction(lines[place], 200), place
    assert len(states) == len(case["states"])
    for found, printed in zip(sorted(states), sorted(case["states"]), strict=True):
        assert abs(found - Fraction(str(printed))) <= Fraction(1, 200)
    if len(case["caches"]) == 1:
        layers = sum(line.layers for line in reservation.rows if line.row in ("key", "latent"))
        assert layers == case["caches"][0][2]


@pytest.mark.parametrize(
    ("model", "context", "batch", "chosen", "rows", "mib"),
    [
        ("gemma-3-270m", 256, 4, {"n_ctx": 1024}, {}, 18),  # github.com/unslothai/unsloth/pull/7530
        ("gemma-3-270m", 341, 3, {"n_ctx": 1024}, {}, 27),
        ("gemma-4-e4b", 4096, 1, {"ubatch": 1024}, {"groups": ["local"]}, 60),  # github.com/qualcomm/GenieX/pull/1346
        ("gemma-4-e4b", 4096, 1, {"swa_full": True}, {"groups": ["local"]}, 160),
        ("gemma-4-e4b", 4096, 1, {}, {"groups": ["global"]}, 64),
        ("mistral-7b-v0.1", 32768, 1, {}, {}, 4096),  # every layer a window: full length
    ],
)
def test_llama_cpp_prints_these_buffers(
    model: str, context: int, batch: int, chosen: dict[str, Any], rows: dict[str, Any], mib: int
) -> None:
    assert reserve("llama.cpp", model, context, batch, **chosen).bytes_of(**rows) == mib * MIB


def test_llama_cpp_keeps_recurrent_states_in_fp32() -> None:
    states = reserve("llama.cpp", "qwen3-next-80b-a3b", batch=4, context=4096)
    recurrent = 32 * 128 * 128
    assert states.bytes_of(roles=["recurrent"]) == 4 * 36 * recurrent * 4
    assert states.bytes_of(roles=["conv"]) == 4 * 36 * 3 * 8192 * 4
    logged = reserve("llama.cpp", "qwen3.5-27b", batch=3, context=4096)  # github.com/ggml-org/llama.cpp/pull/23792: 448.88 MiB
    assert logged.bytes_of(roles=["recurrent", "conv"]) == Fraction("448.875") * MIB
    unified = reserve("llama.cpp", "qwen3-next-80b-a3b", batch=4, context=4096, kv_unified=True)
    assert unified.bytes_of(roles=["recurrent"]) == states.bytes_of(roles=["recurrent"])


@pytest.mark.parametrize(
    ("mla", "context", "kv_format", "mib"),
    [(0, 2048, "native", 9760), (1, 163840, "native", 20740), (2, 163840, "native", 10980), (3, 163840, "q8_0", 5833.125)],
)
def test_ik_llama_cpp_stores_a_latent_in_three_ways(mla: int, context: int, kv_format: str, mib: float) -> None:
    assert reserve("ik-llama-cpp", "deepseek-v3", context, kv_format=kv_format, mla=mla).total_bytes == mib * MIB


# -- vLLM ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", by_case("vllm"))
def test_vllm_holds_and_demands_these_bytes(case: dict[str, Any]) -> None:
    assert reserve("vllm", case["model"], case["context"], **case["settings"]).total_bytes == case["held"]
    assert reserve("vllm", case["model"], case["context"], moment="start", **case["settings"]).total_bytes == case["needed"]


@pytest.mark.parametrize("case", by_case("vllm layouts"))
def test_vllm_groups_these_layers_so(case: dict[str, Any]) -> None:
    caches = [
        Cache(sort, layers, block, page, span, spare, rows=(place,))
        for place, (sort, layers, block, page, span, spare) in enumerate(case["kinds"])
    ]
    groups = list(grouped(caches, packed=False))
    assert max(map(width_of, groups)) == case["width"]
    assert Counter(sum(layers for _, layers in group) for group in groups) == Counter(case["layers"])
    for moment, known in (("decode", case["held"]), ("start", case["needed"])):
        rules = Vllm(moment=moment, max_in_flight_tokens=case["max_in_flight_tokens"])
        blocks = sum(max(rules._blocks(cache, case["context"]) for cache, _ in group) for group in groups)
        assert known in (None, blocks * case["width"])


@pytest.mark.parametrize(
    ("chosen", "block"),
    [
        ({}, 576),
        ({"enable_prefix_caching": False}, 544),
        ({"tensor_parallel_size": 4}, 320),
        ({"kv_cache_dtype": "fp8"}, 1088),
    ],
)
def test_vllm_grows_blocks_until_a_page_holds_a_state(chosen: dict[str, Any], block: int) -> None:
    reservation = reserve("vllm", "qwen3-next-80b-a3b", **chosen)
    slots = {line.slots for line in reservation.rows if line.row == "key"}
    assert slots == {-(-LONG // block) * block}


def test_vllm_holds_qwen3_next_so() -> None:
    page, groups, blocks = 576 * 2048, 3, 228  # 576 tokens of 2 heads x (256 + 256) x 2 bytes; 36 linear layers in groups of 12
    assert reserve("vllm", "qwen3-next-80b-a3b").total_bytes == 12 * page * (groups + blocks)
    assert reserve("vllm", "qwen3-next-80b-a3b", moment="start").total_bytes == 12 * page * (3 * groups + blocks)
    drafted = reserve("vllm", "qwen3-next-80b-a3b", num_speculative_tokens=3)
    assert drafted.total_bytes == 12 * page * (4 * groups + blocks)


def test_vllm_said_this_at_start() -> None:
    said = reserve("vllm", "gpt-oss-120b", moment="start", max_in_flight_tokens=1024)  # github.com/vllm-project/vllm/issues/27508
    assert round(Fraction(said.total_bytes, GIB), 2) == Fraction("4.54")


def test_vllm_holds_one_block_more_for_a_window_off_the_edge() -> None:
    for t, slots in ((LONG, 128), (LONG - 1, 144), (100, 112)):
        rows = [line for line in reserve("vllm", "gpt-oss-20b", t).rows if line.slots < LONG // 2]
        assert {line.slots for line in rows} == {slots}


def test_vllm_batch_is_as_many_requests_but_only_one_must_fit_at_start() -> None:
    for moment, times in (("decode", 4), ("start", 1)):
        one, four = (reserve("vllm", "gemma-4-31b", 5000, batch, moment=moment) for batch in (1, 4))
        assert four.total_bytes == times * one.total_bytes


@pytest.mark.parametrize(("per_token", "block"), [(1152, 1920), (576, 3840)])
def test_vllm_aligns_latents_beside_states_to_128_tokens(per_token: int, block: int) -> None:
    state = 32 * 128 * 128 * 4 + 3 * 3 * 4096 * 2  # Kimi-Linear: the matrix in fp32, three convolutions of four taps in 16 bits
    caches = [Cache("state", 20, 16, state, spare=1), Cache("full", 7, 16, 16 * per_token, latent=True)]
    aligned = Vllm()._aligned(caches, {"kda", "mla"})
    assert {(cache.block, cache.page) for cache in aligned} == {(block, block * per_token)}


def test_vllm_keeps_some_states_in_fp32_whatever_the_config() -> None:
    model, scenario = load_model("qwen3-next-80b-a3b"), Scenario()
    block, row = next((block, row) for block, row in allocator.owned(model, scenario) if row.role == "recurrent")
    formats = [Vllm()._format(model, scenario, block._replace(kinds=(kind,)), row).name for kind in ("gdn", "kda")]
    assert formats == ["bf16", "fp32"]


def test_vllm_sees_the_kinds_that_stand_in_one_layer() -> None:
    """Falcon-H1's Mamba-2 exports states from inside a prefill, also beside attention: a state more at start than Mamba would need."""
    model, scenario = load_model("falcon-h1-0.5b"), Scenario(context=4096)
    caches = Vllm()._caches(model, scenario, allocator.owned(model, scenario))
    (states,) = {cache.spare for cache in caches if cache.sort == "state"}
    assert states == 2


@pytest.mark.parametrize(("name", "family"), [("zamba2-2.7b", "Zamba"), ("recurrentgemma-2b", "RecurrentGemma")])
def test_llama_cpp_says_what_it_has_no_architecture_for(name: str, family: str) -> None:
    with pytest.raises(NotModelled, match=rf"no architecture for {family} "):
        engine("llama-cpp")().reserve(load_model(name), Scenario())


@pytest.mark.parametrize(
    ("name", "row", "layers", "elements"),
    [
        ("qwen3.8-flash-next", "index_key", 12, 128),  # a key for each token, pooled as it is read
        ("glm-5.3-flash", "index_key", 11, 3 * 128),  # key, gate and pooled key
        ("minimax-m3", "index_value", 57, 128),  # its index cache is made with a V
        ("hy-v4-preview", "index_key", 21, 128),
    ],
)
def test_llama_cpp_has_a_cell_for_each_token_of_index_keys(name: str, row: str, layers: int, elements: int) -> None:
    (line,) = [entry for entry in reserve("llama-cpp", name).entries if entry.row == row]
    assert (line.layers, line.elements, line.slots, line.bytes) == (layers, elements, LONG, layers * LONG * elements * 2)


@pytest.mark.parametrize(("t", "held", "needed"), [(8192, 512, 512), (8193, 1, 513), (LONG, 512, 1536), (LONG + 17, 2, 1536)])
def test_vllm_keeps_the_chunk_of_local_attention(t: int, held: int, needed: int) -> None:
    chunk = Cache("chunk", 1, 16, 1, span=8192)
    assert (Vllm()._blocks(chunk, t), Vllm(moment="start")._blocks(chunk, t)) == (held, needed)


def test_vllm_pads_least_and_prefers_fewer_groups() -> None:
    assert least_padding([4, 6], 1) == 2
    assert least_padding([43, 21, 20], 21) == 22


def test_vllm_pages_of_latents_are_not_padded() -> None:
    with pytest.raises(NotModelled, match="MLA"):
        list(grouped([Cache("full", 4, 16, 300, latent=True), Cache("window", 4, 16, 400, span=64)], packed=False))


# -- SGLang -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "context", "chosen", "rows", "printed"),
    [
        ("qwen3-235b-a22b", 367404, {"tp_size": 4}, {"rows": ["key"]}, "8.23"),  # github.com/vllm-project/vllm/issues/21348
        (
            "mimo-v2-flash",  # github.com/sgl-project/sglang/pull/18039
            300288,
            {"tp_size": 4, "page_size": 64, "swa_full_tokens_ratio": "1"},
            {"groups": ["local"], "rows": ["key"]},
            "8.38",
        ),
        (
            "mimo-v2-flash",
            300288,
            {"tp_size": 4, "page_size": 64, "swa_full_tokens_ratio": "1"},
            {"groups": ["local"], "rows": ["value"]},
            "5.59",
        ),
    ],
)
def test_sglang_printed_these_pools(model: str, context: int, chosen: dict[str, Any], rows: Any, printed: str) -> None:
    size = reserve("sglang", model, context, **chosen).bytes_of(**rows)
    assert round(Fraction(size, GIB), 2) == Fraction(printed)


def test_sglang_sizes_pools_by_tokens_and_spare_pages() -> None:
    sparse = reserve("sglang", "deepseek-v3.2", 1000, kv_format="fp8")
    assert {line.slots for line in sparse.rows} == {1024 + 64}
    assert sparse.total_bytes == 61 * (656 + 132) * (1024 + 64)
    states = reserve("sglang", "qwen3-next-80b-a3b", 4096, batch=2)
    assert states.bytes_of(roles=["recurrent"]) == 36 * (2 * 3 + 1) * 32 * 128 * 128 * 4
    fixed = reserve("sglang", "qwen3-next-80b-a3b", 4096, max_mamba_cache_size=8)
    assert fixed.bytes_of(roles=["recurrent"]) == 36 * 9 * 32 * 128 * 128 * 4
    capped = reserve("sglang", "gemma-4-31b", disable_radix_cache=True)
    assert {line.slots for line in capped.rows if line.group == "local"} == {1024 + 128 + 2 + 2 * 8192 + 1 + 1}


# -- the ledger with what is reserved -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("model", ["gemma-4-31b", "llama-3.1-8b", "deepseek-v3"])
@pytest.mark.parametrize("phase", ["decode", "prefill"])
def test_the_ledger_holds_what_is_reserved_and_moves_what_it_moved(name: str, model: str, phase: Any) -> None:
    spec, scenario = load_model(model), Scenario(phase=phase, context=5000, batch=3, chunk=2048 if phase == "prefill" else None)
    before = ledger(spec, scenario)
    reservation = allocator.allocator(name).reserve(spec, scenario)
    after = applied(before, reservation)
    assert after.totals.state_bytes == reservation.total_bytes >= before.totals.state_bytes
    assert after.totals._replace(state_bytes=0) == before.totals._replace(state_bytes=0)
    assert (name == "ideal") == (reservation.total_bytes == before.totals.state_bytes)
    assert [(e.group, e.name) for e in after.state][: len(before.state)] == [(e.group, e.name) for e in before.state]


@pytest.mark.parametrize("name", ["llama-cpp", "vllm", "sglang"])
@pytest.mark.parametrize("model", ["llama-3.1-8b", "deepseek-v3", "gemma-3-27b"])
@pytest.mark.parametrize("context", [1999, 2000, 4097, LONG])
def test_every_live_slot_has_a_place(name: str, model: str, context: int) -> None:
    needed = reserve("ideal", model, context).rows
    kept = reserve(name, model, context).rows
    assert [(n.row, n.layers) for n in needed] == [(k.row, k.layers) for k in kept]
    assert all(k.slots * k.copies >= n.slots * n.copies for n, k in zip(needed, kept, strict=True))


# -- what is refused ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "model", "kind"),
    [
        ("llama-cpp", "deepseek-v4.1-flash", "DeepSeek-V4.1"),
        ("llama-cpp", "zaya1-8b", "ZAYA1"),
        ("llama-cpp", "mistral-large-4", "Mistral Large 4"),
        ("llama-cpp", "minicpm-sala", "InfLLM v2"),
        ("llama-cpp", "ring-mini-sparse-2.0", "MoBA"),
        ("vllm", "minimax-m3", "MiniMax-M3"),
        ("vllm", "phi-3-small-8k", "Phi-3-small"),
        ("vllm", "mistral-large-4", "Mistral Large 4"),
        ("sglang", "minimax-m3", "MiniMax-M3"),
        ("sglang", "dots3-note-prev", "dots3-note"),
        ("sglang", "deepseek-v4-flash", "DeepSeek-V4"),
        ("ik-llama-cpp", "deepseek-v4-flash", "csa_hca"),
    ],
)
def test_what_is_not_modelled_is_refused_by_name(name: str, model: str, kind: str) -> None:
    with pytest.raises(NotModelled, match=kind):
        reserve(name, model)


@pytest.mark.parametrize(
    ("name", "chosen", "words"),
    [
        ("llama-cpp", {"parallel": 2, "n_ctx": 4096}, "cells do not hold"),
        ("llama-cpp", {"flash_attn": "false", "cache_type_v": "q8_0"}, "flash attention"),
        ("llama-cpp", {"cache_type_k": "mxfp4"}, "no cache type"),
        ("llama-cpp", {"cache_type_k": "q9"}, "unknown format"),
        ("llama-cpp", {"swafull": True}, "no setting 'swafull'"),
        ("vllm", {"tensor_parallel_size": 3}, "does not divide"),
        ("vllm", {"block_size": 0}, "block_size"),
        ("sglang", {"max_total_tokens": 1000}, "does not hold"),
        ("sglang", {"max_total_tokens": "many"}, "max_total_tokens"),
    ],
)
def test_settings_that_cannot_be_are_refused(name: str, chosen: dict[str, Any], words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        reserve(name, "llama-3.1-8b", **chosen)


def changed_row(block: Block, row: Row, law: Law) -> Block:
    return block._replace(rows=tuple(other._replace(held=law) if other.name == row.name else other for other in block.rows))


@pytest.mark.parametrize("law", [Window(1024, 4), EveryNth(4), LastBlock(4)])
def test_laws_without_a_rule_are_refused(law: Law) -> None:
    block, row = allocator.owned(load_model("llama-3.1-8b"), Scenario())[0]
    changed = changed_row(block, row, law)
    for attempt in (
        lambda: paged_cache(changed, changed.rows[0], 16, 64, (0,)),
        lambda: Sglang()._line(load_model("llama-3.1-8b"), Scenario(), Pools(1, 1, 1), changed, changed.rows[0]),
    ):
        with pytest.raises(NotModelled):
            attempt()


def test_latents_per_head_are_refused() -> None:
    with pytest.raises(ScenarioError, match="no latents"):
        reserve("vllm", "deepseek-v3", kv_cache_dtype="int8_per_token_head")


def test_a_window_pool_too_small_to_start_is_refused() -> None:
    with pytest.raises(ScenarioError, match="does not start"):
        reserve("sglang", "gemma-4-31b", 1024)


def test_formats_that_an_engine_has_not_are_refused() -> None:
    for name in ("vllm", "sglang", "llama-cpp"):
        with pytest.raises(ScenarioError, match=r"no .*cache"):
            reserve(name, "llama-3.1-8b", kv_format="q6_k" if name == "llama-cpp" else "q8_0")


def test_a_published_figure_may_be_an_engine_s() -> None:
    said = {
        "what": "state_bytes",
        "equals": Decimal("5.59"),
        "unit": "GiB",
        "source": "https://",
        "convention": "",
        "rows": ["value"],
    }
    asked_of = {"engine": "sglang", "settings": {"tp_size": 4, "page_size": 64, "swa_full_tokens_ratio": "1"}}
    figure = Check.model_validate(said | asked_of | {"groups": ["local"], "context": 300288, "format": "bf16"})
    assert evaluate(load_model("mimo-v2-flash"), figure, load_model).agrees
    with pytest.raises(ValidationError, match="an engine belongs to state_bytes"):
        Check.model_validate(said | asked_of | {"what": "parameters"})


def test_an_engine_is_asked_for_in_one_line() -> None:
    assert asked("vllm:moment=start, block-size=32") == allocator.allocator("vllm", {"moment": "start", "block_size": 32})
    assert asked("llama.cpp:n_ctx=8K,kv_unified=true") == allocator.allocator("llama-cpp", {"n_ctx": 8192, "kv_unified": True})
    with pytest.raises(ScenarioError, match="cannot read 'start'"):
        asked("vllm:start")


def test_layers_are_cut_over_devices_by_engines_that_do() -> None:
    assert asked("vllm").cut(8) == allocator.allocator("vllm", {"tensor_parallel_size": 8})
    with pytest.raises(ScenarioError, match="follows from the plan"):
        asked("vllm:tensor_parallel_size=8")
    assert asked("sglang").cut(4) == allocator.allocator("sglang", {"tp_size": 4})
    assert asked("llama-cpp").cut(1) == asked("llama-cpp")
    with pytest.raises(ScenarioError, match="does not cut"):
        asked("llama-cpp").cut(2)


def test_unknown_engines_are_refused() -> None:
    with pytest.raises(UnknownName, match="vlm") as refused:
        engine("vlm")
    assert refused.value.hint == "did you mean 'vllm'?"
