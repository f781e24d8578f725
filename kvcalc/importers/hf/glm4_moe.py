"""GLM-4.5 to 4.7 and their vision models (biases on q, k and v), Solar Open, dots.llm1: grouped-query attention, dense layers first, then
DeepSeek-V3's experts."""

from typing import Any

from kvcalc.importers.config import Config, Known
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import (
    FULL,
    KV_HEADS,
    SIGMOID_ROUTER,
    SLIDING,
    blocks,
    decoder,
    depth,
    drafted,
    experts,
    full_and_local,
    layer_types,
    mlp,
    moe_after_dense,
    pairs,
    shared_width,
)

TYPES = ("glm4_moe", "glm4v_moe", "glm4v_moe_text", "solar_open", "dots1")
FIRST_DENSE = {"solar_open": 0, "dots1": 0}
"""Dense layers of the class, where it is the released model's."""


def read(c: Config) -> Layout:
    count = depth(c)
    kinds = moe_after_dense(c, count, default=FIRST_DENSE.get(c.model_type))
    bias = c.flag("attention_bias", default=c.model_type.startswith("glm4v"))
    norm = c.model_type == "dots1" or (c.model_type == "glm4_moe" and c.flag("use_qk_norm"))
    more: dict[str, Any] = {"qkv_bias": bias, "o_bias": bias and c.model_type == "dots1", "qk_norm": norm}
    if c.model_type == "solar_open":
        more["default_head_dim"] = 128
    names, window = windowed(c, count) if c.model_type == "dots1" else (["full"] * count, None)
    c.ignore("use_qk_norm", "max_window_layers")
    made = blocks(
        kinds,
        dense=lambda: mlp(c),
        moe=lambda: experts(c, shared=shared_width(c, default=None), router=SIGMOID_ROUTER),
    )
    attention = full_and_local(c, names, window, num_key_value_heads=c.count(*KV_HEADS), **more)
    return decoder(c, attention, made, layers=pairs(names, kinds), draft=drafted(c, names[-1], kinds[-1]))


def windowed(c: Config, count: int) -> tuple[list[str], Known | None]:
    """dots.llm1: layers from `max_window_layers` on slide, if there is a window."""
    if not c.flag("use_sliding_window", default=True):
        c.ignore("sliding_window", "layer_types")
        return ["full"] * count, None
    window = c.window("sliding_window", absent=4096)
    first = c.count("max_window_layers", default=62, low=0)
    rule = lambda place: SLIDING if window is not None and place >= first else FULL  # noqa: E731
    return layer_types(c, count, {FULL: "full", SLIDING: "local"}, rule), window
