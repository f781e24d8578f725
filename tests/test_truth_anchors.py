"""State of one sequence in its three parts, in bytes, for models of every kind: what a further token adds, what windows hold at most, and
what never changes. KV and index keys in 16 bits, recurrent rows in fp32, the last K - 1 inputs of a convolution in 16 bits.

The numbers were computed apart from kvcalc, from the configs alone; those marked R are also the "KV cache / token" of S. Raschka's LLM
Architecture Gallery (https://sebastianraschka.com/llm-architecture-gallery/), those marked K follow from the fields that
https://github.com/kvcache-ai/kvcache-blog prints. Two more were known and differ, each for a reason: HY-V4 (41,728) is the class's default
and not the release; Mistral Large 4 (91,008) counts RoPE keys in layers without RoPE, which the class does not cache.
"""

import pytest

from kvcalc.catalog import load_model
from kvcalc.ledger import state_bytes, state_terms
from kvcalc.slots import Fixed, Given

ANCHORS = {
    "llama-2-7b": (524_288, 0, 0),
    "qwen2.5-72b": (327_680, 0, 0),  # K
    "llama-3.1-405b": (516_096, 0, 0),  # K
    "qwen3-32b": (262_144, 0, 0),  # R, K
    "phi-4": (204_800, 0, 0),  # R
    "command-r-08-2024": (163_840, 0, 0),  # K
    "decilm-7b": (34_304, 0, 0),
    "gpt-oss-120b": (36_864, 4_718_592, 0),
    "gemma-3-27b": (81_920, 436_207_616, 0),
    "gemma-3-270m": (3_072, 7_864_320, 0),
    "olmo-3-32b": (65_536, 805_306_368, 0),
    "mistral-7b-v0.1": (0, 536_870_912, 0),
    "gemma-3n-e4b": (8_192, 16_777_216, 0),
    "hunyuan-large": (81_920, 0, 0),
    "mimo-v2-flash": (23_040, 25_559_040, 0),
    "deepseek-v2": (69_120, 0, 0),
    "deepseek-v2-lite": (31_104, 0, 0),
    "kimi-k2": (70_272, 0, 0),  # R, K
    "longcat-flash": (64_512, 0, 0),
    "sarvam-105b": (36_864, 0, 0),  # R
    "mistral-small-4-119b-2603": (23_040, 0, 0),  # R
    "glm-5": (109_824, 0, 0),  # K
    "glm-5.2": (95_232, 0, 0),  # K
    "minimax-m3": (137_472, 0, 0),  # K
    "qwen3-next-80b-a3b": (24_576, 0, 77_266_944),  # R
    "qwen3.5-27b": (65_536, 0, 153_944_064),  # R, K
    "qwen3.5-397b-a17b": (30_720, 0, 192_061_440),  # R, K
    "kimi-linear-48b-a3b": (8_064, 0, 43_417_600),  # R
    "minimax-text-01": (40_960, 0, 293_601_280),
    "nemotron-3-nano-30b-a3b": (6_144, 0, 49_082_368),  # R
    "nemotron-nano-9b-v2": (16_384, 0, 143_548_416),
    "lfm2-1.2b": (12_288, 0, 81_920),
    "mamba-2.8b": (0, 0, 22_937_600),
    "rwkv7-1.5b-world": (0, 0, 12_779_520),
    "xlstm-7b": (0, 0, 134_480_896),
    "recurrentgemma-2b": (0, 16_777_216, 460_800),
    "llama-3.2-11b-vision": (131_072, 0, 52_461_568),  # one image tile
    "whisper-large-v3": (163_840, 0, 245_760_000),
    "iquest-coder-v1-40b-loop": (327_680, 20_971_520, 0),
}
FAR = 1 << 21


@pytest.mark.parametrize("name", ANCHORS)
def test_growing_bounded_and_fixed_state(name: str) -> None:
    terms = state_terms(load_model(name), "bf16")
    growth = state_bytes(terms, FAR + 1) - state_bytes(terms, FAR)
    fixed = sum(term.bytes_per_slot * term.law.count(1) for term in terms if isinstance(term.law, Fixed | Given))
    assert (growth, state_bytes(terms, FAR) - fixed - growth * FAR, fixed) == ANCHORS[name]
