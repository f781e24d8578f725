"""Qwen3-Next, Qwen3.5, 3.6 and 3.8: gated delta nets, and a layer of gated attention after every three. With routed experts and a gated
shared one, or dense (`qwen3_5`)."""

from typing import Any

from kvcalc.importers.config import Config
from kvcalc.importers.hf.qwen_moe import gated_shared, sparse_steps
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import (
    FULL,
    KV_HEADS,
    LINEAR,
    blocks,
    decoder,
    depth,
    drafted,
    every,
    experts,
    grouped_query,
    layer_types,
    mlp,
    pairs,
)

TYPES = ("qwen3_next", "qwen3_5_text", "qwen3_5", "qwen3_5_moe_text", "qwen3_5_moe")
DENSE = ("qwen3_5_text", "qwen3_5")
NEXT = ("qwen3_next",)
DTYPES = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


def delta_net(c: Config) -> dict[str, Any]:
    """A gated delta net as the config says it."""
    return {
        "kind": "gdn",
        "linear_num_key_heads": c.count("linear_num_key_heads"),
        "linear_num_value_heads": c.count("linear_num_value_heads"),
        "linear_key_head_dim": c.count("linear_key_head_dim"),
        "linear_value_head_dim": c.count("linear_value_head_dim"),
        "linear_conv_kernel_dim": c.count("linear_conv_kernel_dim"),
    }


def read(c: Config) -> Layout:
    c.must("attention_bias", False)
    c.must("mtp_use_dedicated_embeddings", False)
    c.ignore("output_gate_type")
    count = depth(c)
    period = c.maybe("full_attention_interval")
    if period is None and not c.has("layer_types"):
        period = c.count("full_attention_interval", default=4)
    names = layer_types(c, count, {LINEAR: "linear", FULL: "full"}, every(period or 1, LINEAR, FULL))
    gate = "per_element" if c.flag("attn_output_gate", default=True) else None
    drafts = drafted(c, "full", "dense" if c.model_type in DENSE else "moe", fields=("mtp_num_hidden_layers",), at_once=True)
    attention = blocks(
        names + drafts.attention,
        linear=lambda: delta_net(c),
        full=lambda: grouped_query(
            c, num_key_value_heads=c.count(*KV_HEADS), default_head_dim=256, qk_norm=True, output_gate=gate
        ),
    )
    if c.model_type in DENSE:
        c.ignore("mlp_only_layers")
        kinds = ["dense"] * count
    else:
        kinds = sparse_steps(c, count) if c.model_type in NEXT else ["moe"] * count
        c.ignore("mlp_only_layers", "decoder_sparse_step")
    made = blocks(kinds + drafts.feedforward, dense=lambda: mlp(c), moe=lambda: experts(c, **gated_shared(c)))
    kept = c.text("mamba_ssm_dtype", known=DTYPES, default="float32") or "float32"
    state = {"recurrent": DTYPES[kept]} if "linear" in names and kept != "float32" else {}
    return decoder(c, attention, made, layers=pairs(names, kinds), state=state, draft=drafts)
