"""Devices: every value says where it comes from; the traps of data sheets are refused; bounds follow from published numbers by hand."""

import re
from datetime import date, timedelta
from fractions import Fraction
from pathlib import Path

import pytest
from conftest import DEVICES

from kvcalc.catalog import check_file, data_folder, load_device, load_model
from kvcalc.errors import KvcalcError, ScenarioError, SpecError
from kvcalc.hardware import BITS, Arithmetic
from kvcalc.ledger import ledger
from kvcalc.report.devices import Wanted, devices
from kvcalc.roofline import answer, bound
from kvcalc.scenario import Scenario
from kvcalc.units import BYTES, parse_quantity


@pytest.mark.parametrize("name", DEVICES)
def test_every_value_has_source_evidence_and_date(name: str) -> None:
    device = load_device(name)
    for value, _, what in device.quantities():
        assert value.source and value.date, what


def test_the_label_is_binary_and_the_visible_part_smaller() -> None:
    h100 = load_device("h100-sxm-80gb")
    assert h100.memory_bytes == 80 * 2**30 and h100.usable_bytes == 81559 * 2**20


def test_missing_arithmetic_falls_to_the_next() -> None:
    a100, h100, phone = (load_device(name) for name in ("a100-sxm-80gb", "h100-sxm-80gb", "snapdragon-8-elite-gen-5"))
    assert [device.rate("fp8") and device.rate("fp8")[0] for device in (a100, h100, phone)] == ["bf16", "fp8", None]
    four = h100.rate("fp4")
    assert four is not None and four == ("fp8", Fraction("1978.9") * 10**12, "absent") and h100.rate("none") is None


# (device, arithmetic, arithmetic whose peak counts, in TFLOP/s, how it is known)
RATES = [
    ("h100-sxm-80gb", "bf16", "bf16", 989.4, "native"),
    ("t4", "bf16", "fp16", 65, "absent"),
    ("mi355x", "int4", "fp4", 10066, "unpublished"),
    ("rubin-gpu", "int8", "fp4", 35000, "unpublished"),
    ("rtx-pro-6000-blackwell-ws", "int8", "fp4", 2015, "unpublished"),
    ("strix-halo-395-128gb", "bf16", "fp16", 59, "unpublished"),
    ("tpu-v5e", "fp16", "int8", 393, "unpublished"),
    ("rx-7900-xtx", "fp8", "bf16", 122.8, "absent"),
    ("a100-sxm-80gb", "tf32", "tf32", 156, "native"),
    ("b300-sxm-270gb", "int8", "int8", 153.5, "native"),
]


@pytest.mark.parametrize(("name", "arithmetic", "counts", "tera", "how"), RATES)
def test_rates(name: str, arithmetic: str, counts: str, tera: float, how: str) -> None:
    rate = load_device(name).rate(arithmetic)
    assert rate == (counts, Fraction(str(tera)) * 10**12, how)
    assert rate is not None and (rate.arithmetic, rate.per_s, rate.how) == tuple(rate)


@pytest.mark.parametrize(
    ("name", "arithmetic"),
    [
        ("snapdragon-8-elite-gen-5", "fp8"),
        ("rx-7900-xtx", "int8"),
        ("mi300x", "int4"),
        ("epyc-9654-2s", "bf16"),
        ("h100-sxm-80gb", "no"),
    ],
)
def test_without_a_ceiling_there_is_no_rate(name: str, arithmetic: str) -> None:
    assert load_device(name).rate(arithmetic) is None


@pytest.mark.parametrize("name", DEVICES)
def test_a_rate_is_a_bound(name: str) -> None:
    """What is unknown is at least as fast as anything that is known to run in as many bits or fewer, and no absent one is named."""
    device = load_device(name)
    for arithmetic, bits in BITS.items():
        rate = device.rate(arithmetic)
        if rate is None:
            continue
        assert rate.per_s == device.sizes[f"peak.{rate.arithmetic}"] and rate.arithmetic not in device.absent
        assert (rate.how == "native") == (device.support(arithmetic) == "native") == (rate.arithmetic == arithmetic)
        if device.support(arithmetic) in ("unpublished", "rate unpublished"):
            narrow = [device.sizes[f"peak.{other}"] for other in device.peak if BITS[other] <= bits]
            assert rate.how == "unpublished" and rate.per_s == max(narrow)
        elif rate.how != "native":
            assert device.support(arithmetic) == "absent"


def test_words_of_support() -> None:
    phone = load_device("snapdragon-8-elite-gen-5")
    words: dict[Arithmetic, str] = {"fp16": "rate unpublished", "fp8": "rate unpublished", "fp4": "absent", "bf16": "absent"}
    assert {name: phone.support(name) for name in words} == words
    assert load_device("h100-sxm").support("fp8") == "native" and load_device("mi355x").support("int4") == "unpublished"
    assert phone.lacks("fp4") and not phone.lacks("fp8") and not phone.lacks("bf16")


# (device, how many, GB/s of one direction)
LINKS = [
    ("h100-sxm-80gb", 2, 450),
    ("h100-sxm-80gb", 8, 450),
    ("h100-sxm-80gb", 9, None),
    ("h100-nvl-94gb", 2, 300),
    ("h100-nvl-94gb", 3, None),
    ("mi300x", 2, 64),
    ("mi300x", 4, 192),
    ("mi300x", 8, 448),
    ("mi250x", 8, 350),
    ("gaudi3", 2, 75),
    ("gaudi3", 8, 525),
    ("tpu-v4", 2, 45),
    ("tpu-v4", 4, 135),
    ("tpu-v5e", 8, 200),
    ("tpu-v5p", 4, 270),
    ("tpu-v7x", 4, 300),
    ("trainium2", 2, 128),
    ("trainium2", 16, 640),
    ("gb200-gpu", 72, 900),
    ("gb200-nvl72-rack", 2, None),
    ("gb300-nvl72-rack", 2, None),
    ("gh200-96gb", 2, None),
    ("mi210", 2, None),
    ("rtx-4090", 4, 31.5),
]


@pytest.mark.parametrize(("name", "count", "giga"), LINKS)
def test_what_a_device_can_send_to_so_many(name: str, count: int, giga: float | None) -> None:
    rate = load_device(name).link_rate(count)
    assert rate == (None if giga is None else Fraction(str(giga)) * 10**9)


@pytest.mark.parametrize("name", DEVICES)
def test_more_devices_never_have_less_of_the_link(name: str) -> None:
    device = load_device(name)
    rates = [rate for count in range(1, (device.max_per_node or 8) + 1) if (rate := device.link_rate(count)) is not None]
    assert rates == sorted(rates) and all(rate <= (device.link_bytes_per_s or 0) for rate in rates)


def test_a_share_that_was_asked_for_may_be_small() -> None:
    assert load_device("h100-sxm").with_usable("8GiB").usable_bytes == 8 * 2**30


def test_the_list_names_the_condition_that_nothing_meets() -> None:
    items = [load_device(name) for name in DEVICES]
    memory = parse_quantity("80 GiB", BYTES, "memory")
    assert len(devices(items, Wanted(device_class="TPU")).rows) == 5
    assert {row["id"] for row in devices(items, Wanted(device_class="phone-soc-npu", arithmetic="fp8")).rows} == {
        "snapdragon-8-elite-gen-5"
    }
    large = devices(items, Wanted(least_usable=memory)).rows
    assert large and all(float(str(row["usable_bytes"])) >= memory for row in large)
    priced = devices(items, Wanted())
    assert "2024-12-23 to 2026-10-09" in " ".join(priced.notes) and "price_date" in priced.more
    none = devices(items, Wanted(least_memory=memory * 10**4))
    assert not none.rows and "no device meets --min-memory" in " ".join(none.notes)
    both = devices(items, Wanted(device_class="tpu", arithmetic="fp4"))
    assert "no device meets --class tpu and --has fp4 together; without --class tpu 15, without --has fp4 5" in both.notes


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


def test_published_decode_speeds_do_not_beat_the_bound() -> None:
    """llama.cpp, Llama-3-8B F16 on an RTX 4090: 54.34 tokens/s (github.com/XiongjieDai/GPU-Benchmarks-on-LLM-Inference, 2024-05-12);
    Llama-3.1-8B has the same sizes. Qualcomm AI Hub, Llama-3-8B w4a16 on Snapdragon 8 Elite Gen 5: 15.31 tokens/s (2026-02-12)."""
    model = load_model("llama-3.1-8b")
    gpu = answer(ledger(model, Scenario(context=512)), load_device("rtx-4090"))
    phone = answer(ledger(model, Scenario(context=1, weight_format="int4")), load_device("snapdragon-8-elite-gen-5"))
    assert 0.5 * gpu.tokens_per_second < 54.34 < gpu.tokens_per_second
    assert 0.5 * phone.tokens_per_second < 15.31 < phone.tokens_per_second


# Values that stand on the vendors' own pages, by class: (device, property, value, where).
FACTS = [
    ("h200-sxm-141gb", "bandwidth_bytes_per_s", 4.8e12, "nvidia.com H200 data sheet"),
    ("b200-sxm-180gb", "bandwidth_bytes_per_s", 7.7e12, "NVIDIA DGX B200 data sheet, one GPU"),
    ("mi300x", "bandwidth_bytes_per_s", 5.3e12, "AMD Instinct MI300X data sheet"),
    ("mi300x", "memory_bytes", 192 * 2**30, "AMD Instinct MI300X data sheet"),
    ("mi355x", "memory_bytes", 288 * 2**30, "AMD Instinct MI355X data sheet"),
    ("l4", "watts", 72, "NVIDIA L4 data sheet"),
    ("l40s", "watts", 350, "NVIDIA L40S data sheet"),
    ("rtx-3090", "bandwidth_bytes_per_s", 936e9, "NVIDIA GA102 white paper"),
    ("rtx-5090", "bandwidth_bytes_per_s", 1792e9, "NVIDIA RTX Blackwell white paper, appendix A"),
    ("rtx-5090", "watts", 575, "NVIDIA RTX Blackwell white paper, appendix A"),
    ("a100-sxm-40gb", "bandwidth_bytes_per_s", 1555e9, "NVIDIA A100 data sheet"),
    ("tpu-v5e", "bandwidth_bytes_per_s", 819e9, "Google Cloud TPU v5e documentation"),
    ("tpu-v5e", "memory_bytes", 16 * 2**30, "16 GB in the documentation; XLA: 'Used 17.14G of 15.75G hbm', more than 16e9 bytes"),
    ("tpu-v5p", "bandwidth_bytes_per_s", 2765e9, "Google Cloud TPU v5p documentation"),
    ("apple-m3-ultra", "bandwidth_bytes_per_s", 819e9, "Apple, Mac Studio 2025 technical specifications"),
    ("apple-m4-max-40gpu", "bandwidth_bytes_per_s", 546e9, "Apple, MacBook Pro 2024 technical specifications"),
    ("dgx-spark-gb10", "bandwidth_bytes_per_s", 273e9, "NVIDIA DGX Spark data sheet"),
    ("strix-halo-395-128gb", "bandwidth_bytes_per_s", 256e9, "LPDDR5X-8000 x 256 bit"),
    ("v100-sxm2-32gb", "bandwidth_bytes_per_s", 900e9, "NVIDIA V100 data sheet"),
]
PEAKS = [
    ("h100-pcie-80gb", "bf16", 756e12, "NVIDIA H100 data sheet, 1513 with sparsity"),
    ("l40s", "bf16", 362.05e12, "NVIDIA L40S data sheet"),
    ("mi300x", "fp8", 2614.9e12, "AMD Instinct MI300X data sheet"),
    ("rtx-5090", "fp4", 1676e12, "NVIDIA RTX Blackwell white paper: 3352 with sparsity"),
    ("tpu-v5p", "bf16", 459e12, "Google Cloud TPU v5p documentation"),
    ("b300-sxm-270gb", "fp4", 14e15, "NVIDIA Blackwell Ultra data sheet: 18 with sparsity"),
]


# Read from a table of public figures, device by device, not from the YAML: memory on the label, bandwidth [GB/s], dense bf16, fp16 and
# fp8 [TFLOP/s], power [W], link of one direction [GB/s]. None: the table leaves it empty.
Golden = tuple[str | None, float | None, float | None, float | None, float | None, float | None, float | None]
GOLDEN: dict[str, Golden] = {
    "a100-pcie-40gb": ("40 GiB", 1555, 312, 312, None, 250, 31.5),
    "a100-pcie-80gb": ("80 GiB", 1935, 312, 312, None, 300, 31.5),
    "a100-sxm-40gb": ("40 GiB", 1555, 312, 312, None, 400, 300),
    "a100-sxm-80gb": ("80 GiB", 2039, 312, 312, None, 400, 300),
    "a10g": ("24 GiB", 600, 70, 70, None, None, 31.5),
    "apple-a17-pro": ("8 GiB", None, None, None, None, None, None),
    "apple-a18-pro": ("8 GiB", None, None, None, None, None, None),
    "apple-a19-pro": ("12 GiB", 76.8, None, None, None, None, None),
    "apple-a20-pro": ("12 GiB", 115.2, None, None, None, None, None),
    "apple-m1-8gpu": ("16 GiB", 68, None, None, None, None, None),
    "apple-m1-max-32gpu": ("64 GiB", 400, None, None, None, None, None),
    "apple-m1-ultra-64gpu": ("128 GiB", 800, None, None, None, None, None),
    "apple-m2-ultra-76gpu": ("192 GiB", 800, None, None, None, None, None),
    "apple-m3-max-40gpu": ("64 GiB", 400, None, None, None, None, None),
    "apple-m3-ultra": ("512 GiB", 819, None, None, None, None, None),
    "apple-m4-10gpu": ("16 GiB", 120, None, None, None, None, None),
    "apple-m4-max-40gpu": ("128 GiB", 546, None, None, None, None, None),
    "apple-m4-pro": ("48 GiB", 273, None, None, None, None, None),
    "apple-m5-10gpu": ("32 GiB", 153, None, None, None, None, None),
    "apple-m5-max-40gpu": ("128 GiB", 614, None, None, None, None, None),
    "apple-m5-pro-20gpu": ("64 GiB", 307, None, None, None, None, None),
    "apple-m5-ultra-80gpu": ("256 GiB", 1229, None, None, None, 370, None),
    "apple-m6-12gpu": ("32 GiB", 170, None, None, None, None, None),
    "arc-b580": ("12 GiB", 456, 117, 117, None, 190, 15.75),
    "b200-sxm-180gb": ("180 GiB", 7700, 2250, 2250, 4500, 1000, 900),
    "b300-sxm-270gb": ("270 GiB", 7700, 2250, 2250, 4500, 1100, 900),
    "cerebras-wse3": ("44 GB", 21000000, None, None, None, 23000, None),
    "dgx-spark-gb10": ("128 GiB", 273, None, None, 250, None, None),
    "dimensity-9300": (None, None, None, None, None, None, None),
    "dimensity-9400": (None, None, None, None, None, None, None),
    "dimensity-9500": (None, None, None, None, None, None, None),
    "epyc-9555-2s": (None, 1229, None, None, None, None, None),
    "epyc-9654-2s": (None, 921.6, None, None, None, None, None),
    "exynos-2500": (None, None, None, None, None, None, None),
    "gaudi3": ("128 GB", 3700, 1677, 459, 1677, 900, 525),
    "gb200-gpu": ("186 GiB", 8000, 2500, 2500, 5000, 1200, 900),
    "gb200-nvl72-rack": ("13392 GiB", 576000, 180000, 180000, 360000, None, 900),
    "gb300-gpu": ("279 GiB", 8000, 2500, 2500, 5000, 1400, 900),
    "gb300-nvl72-rack": ("20088 GiB", 576000, 180000, 180000, 360000, 135000, 900),
    "gh200-144gb": ("144 GiB", 4900, 989.4, 989.4, 1978.9, None, 450),
    "gh200-96gb": ("96 GiB", 4000, 989.4, 989.4, 1978.9, None, 450),
    "grace-cpu-72c": ("480 GB", 384, None, None, None, None, None),
    "groq-lpu-v1": ("0.23 GB", 80000, None, 188, None, 215, None),
    "h100-nvl-94gb": ("94 GiB", 3938, 835.5, 835.5, 1670.5, 400, 300),
    "h100-pcie-80gb": ("80 GiB", 2000, 756, 756, 1513, 350, 63),
    "h100-sxm-80gb": ("80 GiB", 3350, 989.4, 989.4, 1978.9, 700, 450),
    "h200-nvl-141gb": ("141 GiB", 4800, 835.5, 835.5, 1670.5, 600, 450),
    "h200-sxm-141gb": ("141 GiB", 4800, 989.4, 989.4, 1978.9, 700, 450),
    "inferentia2": ("32 GiB", 880.5, 190, 190, 190, None, 103),
    "jetson-agx-orin-64gb": ("64 GB", 204.8, None, None, None, 60, None),
    "jetson-orin-nano-super-8gb": ("8 GB", 102, None, None, None, 25, None),
    "jetson-thor-t5000": ("128 GB", 273, None, None, None, 130, None),
    "kirin-9050-pro": (None, None, None, None, None, None, None),
    "l40": ("48 GiB", 864, 181, 181, 362, 300, 31.5),
    "l40s": ("48 GiB", 864, 362.05, 362.05, 733, 350, 31.5),
    "l4": ("24 GiB", 300, 121, 121, 242, 72, 31.5),
    "mi210": ("64 GiB", 1638.4, 181, 181, None, 300, None),
    "mi250x": ("128 GiB", 3276.8, 383, 383, None, 560, 350),
    "mi300x": ("192 GiB", 5300, 1307.4, 1307.4, 2614.9, 750, 448),
    "mi325x": ("256 GiB", 6000, 1307.4, 1307.4, 2614.9, 1000, 448),
    "mi355x": ("288 GiB", 8000, 2516.6, 2516.6, 5033, 1400, 535.5),
    "raspberry-pi-5-8gb": ("8 GiB", 17.1, None, None, None, 27, None),
    "rtx-3060-12gb": ("12 GiB", 360, 25.5, 25.5, None, 170, 31.5),
    "rtx-3090": ("24 GiB", 936, 71.2, 71.2, None, 350, 31.5),
    "rtx-4060-ti-16gb": ("16 GiB", 288, 44.1, 44.1, 88.3, 165, 15.75),
    "rtx-4070": ("12 GiB", 504, 58.3, 58.3, 116.6, 200, 31.5),
    "rtx-4080": ("16 GiB", 716.8, 97.5, 97.5, 194.9, 320, 31.5),
    "rtx-4090": ("24 GiB", 1008, 165.2, 165.2, 330.3, 450, 31.5),
    "rtx-5080": ("16 GiB", 960, 112.6, 112.6, 225.1, 360, 63),
    "rtx-5090": ("32 GiB", 1792, 209.5, 209.5, 419, 575, 63),
    "rtx-6000-ada": ("48 GiB", 960, 364.2, 364.2, 728.5, 300, 31.5),
    "rtx-pro-6000-blackwell-server": ("96 GiB", 1597, 500, 500, 1000, 600, 63),
    "rtx-pro-6000-blackwell-ws": ("96 GiB", 1792, 503.8, 503.8, 1007.6, 600, 63),
    "rubin-gpu": ("288 GB", 22000, 4000, 4000, 17500, None, 1800),
    "rx-7900-xtx": ("24 GiB", 960, 122.8, 122.8, None, None, 31.5),
    "rx-9070-xt": ("16 GiB", 640, 194.6, 194.6, 389, 304, 63),
    "snapdragon-8-elite-extreme-gen-6": ("24 GiB", 114, None, None, None, None, None),
    "snapdragon-8-elite-gen-5": ("12 GiB", 84.8, None, None, None, None, None),
    "snapdragon-8-elite": ("12 GiB", 84.8, None, None, None, None, None),
    "snapdragon-8-gen-3": ("12 GiB", 76.8, None, None, None, None, None),
    "snapdragon-x-elite": (None, 135, None, None, None, None, None),
    "snapdragon-x2-elite": ("128 GiB", 152, None, None, None, None, None),
    "strix-halo-395-128gb": ("128 GiB", 256, None, 59, None, None, None),
    "t4": ("16 GiB", 320, None, 65, None, 70, 15.75),
    "tensor-g4": (None, None, None, None, None, None, None),
    "tensor-g5": ("12 GiB", None, None, None, None, None, None),
    "tpu-v4": ("32 GiB", 1200, 275, None, None, None, 270),
    "tpu-v5e": ("16 GB", 819, 197, None, None, None, 200),
    "tpu-v5p": ("95 GB", 2765, 459, None, None, None, 540),
    "tpu-v6e": ("32 GB", 1638, 918, None, 918, None, 400),
    "tpu-v7x": ("192 GB", 7380, 2307, None, 4614, None, 600),
    "trainium2": ("96 GiB", 2900, 667, 667, 1299, None, 640),
    "trainium3": ("144 GiB", 4900, 671, 671, 2517, None, 1280),
    "v100-sxm2-32gb": ("32 GiB", 900, None, 125, None, 300, 150),
    "xeon-6980p-2s": (None, 1690, None, None, None, None, None),
}
COLUMNS = (
    ("bandwidth", 10**9),
    ("peak.bf16", 10**12),
    ("peak.fp16", 10**12),
    ("peak.fp8", 10**12),
    ("power", 1),
    ("link", 10**9),
)
BINARY = "the table takes the label for decimal; what programs see is more than that, so the label is binary"
EXCEPTIONS: dict[tuple[str, str], tuple[str, str]] = {
    ("gaudi3", "memory"): ("128 GiB", BINARY),
    ("jetson-agx-orin-64gb", "memory"): ("64 GiB", BINARY),
    ("jetson-orin-nano-super-8gb", "memory"): ("8 GiB", BINARY),
    ("jetson-thor-t5000", "memory"): ("128 GiB", BINARY),
    ("tpu-v5e", "memory"): ("16 GiB", BINARY),
    ("tpu-v5p", "memory"): ("95 GiB", BINARY),
    ("tpu-v6e", "memory"): ("32 GiB", BINARY),
    ("tpu-v7x", "memory"): ("192 GiB", BINARY),
    ("jetson-thor-t5000", "peak.fp16"): ("258.5 TFLOP/s", "read later: NVIDIA's announcement has 517 with sparsity"),
    ("jetson-thor-t5000", "peak.fp8"): ("517 TFLOP/s", "read later, in NVIDIA's announcement"),
    ("rx-7900-xtx", "power"): ("355 W", "read later, on AMD's page"),
}
"""Where the catalogue has another value than the table, and why."""


def test_the_golden_table_has_every_device() -> None:
    assert sorted(GOLDEN) == sorted(DEVICES) and len(GOLDEN) == 95
    assert {name for name, _ in EXCEPTIONS} <= set(GOLDEN)


@pytest.mark.parametrize("name", DEVICES)
def test_values_are_those_of_the_golden_table(name: str) -> None:
    device, (memory, *numbers) = load_device(name), GOLDEN[name]
    expected = {"memory": None if memory is None else parse_quantity(memory, BYTES, name)}
    for (what, scale), number in zip(COLUMNS, numbers, strict=True):
        expected[what] = None if number is None else Fraction(str(number)) * scale
    said = {what: value.value for value, _, what in device.quantities()}
    for what, value in expected.items():
        if (name, what) in EXCEPTIONS:
            assert said.get(what) == EXCEPTIONS[name, what][0] and device.sizes[what] != value, what
        else:
            assert device.sizes.get(what) == value, what


@pytest.mark.parametrize(("name", "what", "value", "where"), FACTS)
def test_values_of_data_sheets(name: str, what: str, value: float, where: str) -> None:
    assert float(getattr(load_device(name), what)) == pytest.approx(value), where


@pytest.mark.parametrize(("name", "arithmetic", "value", "where"), PEAKS)
def test_dense_rates_of_data_sheets(name: str, arithmetic: str, value: float, where: str) -> None:
    rate = load_device(name).rate(arithmetic)
    assert rate is not None and rate[0] == arithmetic and float(rate[1]) == pytest.approx(value), where


def test_the_catalogue_spans_the_field() -> None:
    classes = {load_device(name).device_class for name in DEVICES}
    assert len(DEVICES) >= 95 and len(classes) == 14


@pytest.mark.parametrize("name", DEVICES)
def test_no_measurement_is_far_above_its_peak(name: str) -> None:
    """Cards boost above their rated clock: 10 % is the most that was seen; what is above that is a mistake in one of the two."""
    sizes = load_device(name).sizes
    for what, measured in sizes.items():
        if what.startswith("measured_") and (peak := what.removeprefix("measured_")) in sizes:
            assert 0.2 < float(measured / sizes[peak]) < (1.11 if peak.startswith("peak.") else 1.0001), what


@pytest.mark.parametrize("name", DEVICES)
def test_what_is_unknown_stays_unknown_and_is_said(name: str) -> None:
    from kvcalc.report.devices import device as receipt

    item = load_device(name)
    said = " ".join(receipt(item).notes)
    assert ("no bandwidth is carried" in said) == (item.bandwidth is None)
    assert ("no power is carried" in said) == (item.power is None)
    assert ("no link is carried" in said) == (item.link is None)
    for source in (value.source for value, _, _ in item.quantities()):
        assert not re.search(r"stored|document \d|file://", source)


def test_without_a_bandwidth_there_is_no_time() -> None:
    phone = load_device("dimensity-9300")
    with pytest.raises(KvcalcError, match="no memory bandwidth is carried"):
        _ = phone.bandwidth_bytes_per_s
    with pytest.raises(KvcalcError, match="bandwidth"):
        _ = answer(ledger(load_model("gemma-4-e2b"), Scenario(context=10)), phone).bound


def test_a_format_that_the_device_has_not_is_refused_and_computing_wider_is_not() -> None:
    model, a100 = load_model("llama-3.1-8b"), load_device("a100-sxm-80gb")
    with pytest.raises(ScenarioError, match="has no fp8 arithmetic, in which weights in fp8 run") as caught:
        answer(ledger(model, Scenario(context=10, weight_format="fp8")), a100)
    assert "--math bf16" in (caught.value.hint or "")
    wide = answer(ledger(model, Scenario(context=10, weight_format="fp8", math="bf16")), a100)
    narrow = answer(ledger(model, Scenario(context=10)), a100)
    assert wide.bound.memory_seconds < narrow.bound.memory_seconds
    assert wide.bound.math_seconds == pytest.approx(narrow.bound.math_seconds)


TRAPS = {
    "sparsity taken for dense": ("fp8: {value: 1978.9", "fp8: {value: 3958", "which counts sparsity: give the dense rate"),
    "a headline that is not twice the dense rate": (
        "fp8: {value: 3958 TFLOP/s",
        "fp8: {value: 4958 TFLOP/s",
        "is not twice the dense 1978.9 TFLOP/s",
    ),
    "both directions taken for one": ("link: {value: 450 GB/s", "link: {value: 900 GB/s", "give one direction"),
    "one figure of a link that adds both directions": (
        "link: {value: 450 GB/s, kind: nvlink, both_directions: 900 GB/s",
        "link: {value: 900 GB/s, kind: nvlink",
        "link.both_directions: missing: headlines of nvlink add both directions",
    ),
    "an arithmetic it has not": ("absent: [fp4, int4]", "absent: [fp4, int4, fp8]", "fp8 stands in absent too"),
    "an arithmetic absent twice": ("absent: [fp4, int4]", "absent: [fp4, int4, fp4]", "fp4 stands there twice: leave one"),
    "an arithmetic supported twice": ("absent: [fp4, int4]", "supported: [int4, int4]", "int4 stands there twice: leave one"),
    "an arithmetic absent and supported": (
        "absent: [fp4, int4]",
        "absent: [fp4, int4]\nsupported: [int4]",
        "supported: int4 stands in absent too",
    ),
    "an arithmetic with a peak and without": ("absent: [fp4, int4]", "supported: [fp8]", "supported: fp8 has a peak"),
    "more visible than built in": ("81559 MiB", "83559 MiB", "usable_memory is more than memory"),
    "hardly anything visible": ("81559 MiB", "8155 MiB", "is less than 30 % of 80 GiB"),
    "memory of a rack": ("memory: {value: 80 GiB", "memory: {value: 80 TiB", "is not between 64 MiB and 64 TiB"),
    "memory of a cache": ("memory: {value: 80 GiB", "memory: {value: 50 MiB", "is not between 64 MiB and 64 TiB"),
    "a slow memory": ("bandwidth: {value: 3.35 TB/s", "bandwidth: {value: 3.35 GB/s", "check both units"),
    "a fast memory": ("bandwidth: {value: 3.35 TB/s", "bandwidth: {value: 3.35 EB/s", "check both units"),
    "a power of milliwatts": ("power: {value: 700 W", "power: {value: 700 mW", "idle_power is more than power"),
    "a power plant": ("power: {value: 700 W", "power: {value: 700 MW", "is not between 0.5 W and 300 kW"),
    "more at rest than at work": ("idle_power: {value: 70 W", "idle_power: {value: 701 W", "idle_power is more than power"),
    "a price of a year": ("cloud_price: {value: 3.99", "cloud_price: {value: 34952", "is not between 0.001 USD/h and 1000 USD/h"),
    "a price of a year elsewhere": (
        'Azure ND", value: 12.29',
        'Azure ND", value: 12290',
        "cloud_prices.4.value: 12290 USD/h is not",
    ),
    "more measured than can be": ("bf16: {value: 794.5", "bf16: {value: 1100", "measured_peak.bf16 is more than peak.bf16"),
    "a peak of another prefix": (
        "fp32: {value: 66.9 TFLOP/s",
        "fp32: {value: 66.9 MFLOP/s",
        "is not between 1 GFLOP/s and 1 EFLOP/s",
    ),
    "a bare number": ("bandwidth: {value: 3.35 TB/s", "bandwidth: {value: 3.35", "has no unit"),
    "a negative number": ("bandwidth: {value: 3.35 TB/s", "bandwidth: {value: -3.35 TB/s", "-3.35 TB/s must be more than zero"),
    "a negative bare number": ("bandwidth: {value: 3.35 TB/s", "bandwidth: {value: -3", "-3 must be more than zero"),
    "a negative headline": ("both_directions: 900 GB/s", "both_directions: -900 GB/s", "must be more than zero"),
    "an unknown unit": ("bandwidth: {value: 3.35 TB/s", "bandwidth: {value: 3.35 Tbit/s", "unknown unit"),
    "an unknown class": ("class: datacenter-gpu", "class: gpu", "class"),
    "an unknown kind of link": ("kind: nvlink", "kind: nvlnk", "kind"),
    "an id that reads as a count": ("id: h100-sxm-80gb", "id: 8xh100", "reads as a number of devices: begin with a letter"),
    "a day that does not exist": (
        'launched: "2022-03-22"',
        'launched: "2024-02-31"',
        "'2024-02-31' is no date: write 2025, 2025-01",
    ),
    "a month that does not exist": ('launched: "2022-03-22"', 'launched: "2022-13"', "'2022-13' is no date"),
    "a month zero": ('launched: "2022-03-22"', 'launched: "2022-00"', "'2022-00' is no date"),
    "a date in words": ('launched: "2022-03-22"', 'launched: "March 2022"', "'March 2022' is no date"),
    "a date before there were such devices": ('launched: "2022-03-22"', 'launched: "1922-03-22"', "lies before 1990"),
    "a source that names nothing": ('source: "nvidia-smi in P0', 'source: "---", note: "', "names no source: give a URL"),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_a_trap_of_data_sheets_is_refused_with_its_place(trap: str, tmp_path: Path) -> None:
    good, bad, words = TRAPS[trap]
    text = (data_folder("hardware") / "h100-sxm-80gb.yaml").read_text()
    assert good in text
    file = tmp_path / "card.yaml"
    file.write_text(text.replace(good, bad, 1))
    with pytest.raises(SpecError) as caught:
        check_file(str(file))
    assert re.match(r".*card.yaml:\d+:\d+: ", caught.value.message) and words in caught.value.message + (caught.value.hint or "")


def test_accumulation_cannot_be_swapped(tmp_path: Path) -> None:
    text = (data_folder("hardware") / "rtx-4090.yaml").read_text()
    file = tmp_path / "card.yaml"
    file.write_text(text.replace("fp8: {value: 330.3", "fp8: {value: 660.7", 1))
    with pytest.raises(SpecError, match="fp16 accumulation"):
        check_file(str(file))


def test_two_16_bit_rates_far_apart_need_a_reason(tmp_path: Path) -> None:
    text = (data_folder("hardware") / "rx-7900-xtx.yaml").read_text()
    file = tmp_path / "card.yaml"
    file.write_text(text.replace("fp16: {value: 122.8", "fp16: {value: 50", 1))
    with pytest.raises(SpecError, match=r":\d+:\d+: peak.fp16.value: 50 TFLOP/s is less than half of the rate of bf16"):
        check_file(str(file))
    file.write_text(text.replace("fp16: {value: 122.8 TFLOP/s", 'fp16: {value: 50 TFLOP/s, note: "emulated"', 1))
    check_file(str(file))


@pytest.mark.parametrize("kind", ["infinity-fabric", "ici", "neuronlink", "nvlink-c2c"])
def test_headlines_of_links_are_halved_before_the_eyes(kind: str, tmp_path: Path) -> None:
    text = (data_folder("hardware") / "rtx-4090.yaml").read_text()
    file = tmp_path / "card.yaml"
    file.write_text(text.replace("kind: pcie", f"kind: {kind}", 1))
    with pytest.raises(SpecError, match=f"link.both_directions: missing: headlines of {kind}"):
        check_file(str(file))


def test_a_sparse_headline_that_is_not_twice_may_say_why(tmp_path: Path) -> None:
    text = (data_folder("hardware") / "b300-sxm-270gb.yaml").read_text()
    file = tmp_path / "card.yaml"
    file.write_text(re.sub(r'(fp4: \{value: 18000.*?), note: "[^"]*"', r"\1", text))
    with pytest.raises(SpecError, match="18000 TFLOP/s is not twice the dense 14000 TFLOP/s"):
        check_file(str(file))


def test_a_price_of_tomorrow_is_refused(tmp_path: Path) -> None:
    text = (data_folder("hardware") / "rtx-4090.yaml").read_text()
    tomorrow = (date.today() + timedelta(days=1)).isoformat()
    file = tmp_path / "card.yaml"
    file.write_text(re.sub(r"(cloud_price: .*date: \")2026-09-17", rf"\g<1>{tomorrow}", text))
    with pytest.raises(SpecError, match="lies in the future"):
        check_file(str(file))
