"""DeepSeek-MoE, V2, V3 and what took their layer over (Kimi-K2, GLM-4.7-Flash, A.X K1): multi-head latent attention,
dense layers first, then experts."""

from typing import Any

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import (
    SIGMOID_ROUTER,
    blocks,
    decoder,
    depth,
    drafted,
    experts,
    grouped_query,
    latent,
    mlp,
    moe_after_dense,
    pairs,
    shared_width,
)

TYPES = ("deepseek", "deepseek_v2", "deepseek_v3", "kimi_k2", "kimi_k25", "glm4_moe_lite", "axk1")
HEADS_OF_THEIR_OWN = ("deepseek",)
KEPT_IN_32_BITS = ("deepseek_v3", "deepseek_v32", "kimi_k2", "kimi_k25")
"""Types whose released weights have the correction bias in fp32."""
SOFTMAX = ("deepseek", "deepseek_v2")
DENSE_FIRST = {"deepseek": 0, "deepseek_v2": 0, "deepseek_v3": 3, "glm4_moe_lite": 1, "axk1": 1}
SHARED = {"deepseek_v2": 2, "deepseek_v3": 1, "glm4_moe_lite": 1, "axk1": 1}
"""Dense layers and shared experts of the classes. Other types must say them."""


def read(c: Config) -> Layout:
    c.must("mlp_bias", False)
    c.must("lm_head", True)
    bias = c.flag("attention_bias")
    count = depth(c)
    kinds = moe_after_dense(c, count, default=DENSE_FIRST.get(c.model_type))
    if not multi_latent(c):
        attention = {"full": grouped_query(c, qkv_bias=bias, o_bias=bias)}
    else:
        attention = {"mla": latent(c, attention_bias=bias)}
    made = blocks(kinds, dense=lambda: mlp(c), moe=lambda: routed(c))
    fixed = {"router.correction_bias": "fp32"} if c.model_type in KEPT_IN_32_BITS and "moe" in made else {}
    (name,) = attention
    drafts = drafted(c, name, kinds[-1])
    return decoder(c, attention, made, layers=pairs([name] * count, kinds), weights=fixed, draft=drafts)


def multi_latent(c: Config) -> bool:
    """Whether attention has a latent. DeepSeek-MoE's has none; nor has that of DeepSeek-VL2-Tiny, whose config says so twice."""
    if c.model_type in HEADS_OF_THEIR_OWN:
        return False
    if c.flag("use_mla", default=True):
        return True
    for name in ("q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"):
        c.must(name, None, 0)
    return False


def routed(c: Config) -> dict[str, Any]:
    """The experts. A.X K1 has a norm on their output."""
    more: dict[str, Any] = {"output_norm": True} if c.model_type == "axk1" else {}
    return experts(c, shared=shared_width(c, default=SHARED.get(c.model_type)), router=router(c), **more)


def router(c: Config) -> dict[str, Any]:
    """V3's router with a correction bias; V2's has none, unless `topk_method` says so."""
    if c.model_type not in SOFTMAX:
        c.must("scoring_func", "sigmoid", "softmax")
        return dict(SIGMOID_ROUTER)
    said = c.text("scoring_func", known=("softmax", "sigmoid"), default="softmax")
    bias = c.model_type == "deepseek_v2" and c.text("topk_method") == "noaux_tc"
    return {"kind": "linear", "scoring_func": said} | ({"correction_bias": "buffer"} if bias else {})
