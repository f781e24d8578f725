"""Bytes of storage formats, against the layouts their makers publish."""

import pytest

from kvcalc.errors import ScenarioError, UnknownName
from kvcalc.formats import FORMATS, get_format


@pytest.mark.parametrize(
    ("name", "elements", "size", "source"),
    [
        ("q8_0", 32, 34, "ggml-common.h block_q8_0"),
        ("q4_0", 32, 18, "block_q4_0"),
        ("q4_1", 32, 20, "block_q4_1"),
        ("q5_0", 32, 22, "block_q5_0"),
        ("q5_1", 32, 24, "block_q5_1"),
        ("q2_k", 256, 84, "block_q2_K"),
        ("q3_k", 256, 110, "block_q3_K"),
        ("q4_k", 256, 144, "block_q4_K"),
        ("q5_k", 256, 176, "block_q5_K"),
        ("q6_k", 256, 210, "block_q6_K"),
        ("iq4_nl", 32, 18, "block_iq4_nl"),
        ("mxfp4", 32, 17, "OCP MX specification 1.0"),
        ("mxfp8", 512, 528, "DeepSeek-V4.1 window row, arXiv:2609.19969"),
        ("nvfp4", 512, 288, "DeepSeek-V4.1 entry, arXiv:2609.19969"),
        ("mxfp4", 128, 68, "DeepSeek-V4 index key, arXiv:2606.19348"),
        ("fp8-1x128", 128, 132, "vLLM index key of DeepSeek-V3.2"),
        ("fp8-448+bf16-64", 512, 584, "vLLM fp8_ds_mla row of DeepSeek-V4"),
        ("bf16", 100, 200, "bfloat16"),
        ("fp32", 100, 400, "IEEE 754"),
        ("int64", 6, 48, "two's complement"),
    ],
)
def test_a_row_has_the_bytes_its_makers_say(name: str, elements: int, size: int, source: str) -> None:
    assert FORMATS[name].bytes(1, elements) == size, source


def test_the_656_bytes_of_deepseek_v32_are_three_parts() -> None:
    assert FORMATS["fp8-1x128"].bytes(1, 512) + FORMATS["bf16"].bytes(1, 64) == 512 + 4 * 4 + 64 * 2 == 656


def test_scales_of_tiles_round_up() -> None:
    assert FORMATS["fp8-128x128"].bytes(576, 7168) == 576 * 7168 + 5 * 56 * 4


def test_packed_rows_are_whole_blocks_or_refused() -> None:
    with pytest.raises(ScenarioError, match="not a whole number"):
        FORMATS["q4_0"].bytes(1, 80)
    with pytest.raises(ScenarioError, match="whole bytes"):
        FORMATS["int4"].bytes(1, 3)


def test_names_are_found_or_refused_with_a_hint() -> None:
    assert get_format("F16").name == "fp16"
    with pytest.raises(UnknownName) as refused:
        get_format("q8_1")
    assert refused.value.hint
