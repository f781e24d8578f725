"""Qwen, the first generation: multi-head attention with biases on q, k and v; the MLP is half as wide as `intermediate_size`."""

from kvcalc.importers.config import Config, number
from kvcalc.importers.hf.gpt2 import multi_head
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import decoder

TYPES = ("qwen",)


def read(c: Config) -> Layout:
    bias = not c.flag("no_bias", default=True, stated=True)
    c.ignore(
        "use_dynamic_ntk",
        "use_logn_attn",
        "use_cache_quantization",
        "use_cache_kernel",
        "bf16",
        "fp16",
        "fp32",
        "softmax_in_fp32",
    )
    attention = multi_head(c, qkv_bias=True, o_bias=bias)
    width = c.count("intermediate_size", low=2)
    block = {"kind": "mlp", "intermediate_size": number(width // 2, f"{width.origin} / 2"), "mlp_bias": bias}
    return decoder(c, {"full": attention}, {"mlp": block})
