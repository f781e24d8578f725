"""Ling 1 and 2 (Bailing MoE) and Sarvam's models, which took the layer over: grouped-query attention, dense layers first, then
experts. Sarvam's larger one has multi-head latent attention."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import (
    KV_HEADS,
    SHARED,
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

TYPES = ("bailing_moe", "bailing_moe_v2", "sarvam_moe", "sarvam_mla", "param2moe")
SHARED_WIDTHS = ("moe_shared_expert_intermediate_size", "moe_intermediate_size")


def read(c: Config) -> Layout:
    c.ignore("max_window_layers", "mtp_loss_scaling_factor", "norm_head", "use_rmsnorm", "head_dim")
    c.ignore(
        "moe_router_enable_routed_scaling",
        "rotary_dim",
        "moe_router_enable_shared_expert",
        "use_sliding_window",
        "sliding_window",
    )
    c.must("use_sliding_window", False)
    c.must("moe_router_enable_shared_expert", True)
    count = depth(c)
    kinds = moe_after_dense(c, count, default=int(c.model_type == "sarvam_mla"))
    bias = c.flag("use_bias")
    if bias and c.maybe(*SHARED, low=0):
        raise c.refuse("use_bias", "biases on experts are not understood")
    latents = c.model_type == "sarvam_mla"
    if latents:
        c.ignore("use_qk_norm", "use_qkv_bias")
        attention = latent(c, q_lora_rank=c.maybe("q_lora_rank"))
    else:
        attention = grouped_query(
            c,
            num_key_value_heads=c.count(*KV_HEADS),
            qkv_bias=bias or c.flag("use_qkv_bias"),
            o_bias=bias,
            qk_norm=c.flag("use_qk_norm"),
        )
    score = c.text("score_function", "scoring_func", known=("softmax", "sigmoid"), default="sigmoid" if latents else "softmax")
    router = {"kind": "linear", "scoring_func": score}
    if c.flag("moe_router_enable_expert_bias", default=latents):
        router["correction_bias"] = "buffer"
    made = blocks(
        kinds,
        dense=lambda: mlp(c, mlp_bias=bias),
        moe=lambda: experts(c, shared=shared_width(c, shared_of(c), default=None), router=router),
    )
    name = "mla" if latents else "full"
    return decoder(c, {name: attention}, made, layers=pairs([name] * count, kinds), draft=drafted(c, name, kinds[-1]))


def shared_of(c: Config) -> tuple[str]:
    """The field with the width of one shared expert."""
    return (SHARED_WIDTHS[0] if c.has(SHARED_WIDTHS[0]) else SHARED_WIDTHS[1],)
