"""Architectures with full attention and routed experts."""

from kvcalc.importers.gguf_config import (
    Fields,
    Keys,
    after_dense,
    architecture,
    biased,
    dense,
    expert_width,
    heads,
    local_experts,
    routed,
    wide_heads,
)


@architecture("qwen2moe")
def qwen2_moe(k: Keys) -> Fields:
    shared = k.required(shared_expert_intermediate_size="expert_shared_feed_forward_length")
    return {
        "model_type": "qwen2_moe",
        "use_sliding_window": False,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        **heads(k),
        **routed(k),
        **expert_width(k),
        **shared,
        **biased(k, "qkv_bias"),
    }


@architecture("qwen3moe", "qwen3vlmoe")
def qwen3_moe(k: Keys) -> Fields:
    return {
        "model_type": "qwen3_moe",
        "use_sliding_window": False,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        **wide_heads(k),
        **routed(k),
        **expert_width(k),
        **biased(k),
    }


@architecture("phimoe")
def phi_moe(k: Keys) -> Fields:
    sizes = local_experts(k)
    bias = biased(k) | {"lm_head_bias": "output.bias" in k.tensors}
    return {"model_type": "phimoe", "sliding_window": None, **heads(k), **dense(k), **sizes, **bias}


@architecture("olmoe")
def olmoe(k: Keys) -> Fields:
    return {"model_type": "olmoe", **heads(k), **dense(k), **routed(k)}


@architecture("granitemoe")
def granite_moe(k: Keys) -> Fields:
    sizes = local_experts(k)
    shared = k.fields(shared_intermediate_size="expert_shared_feed_forward_length")
    return {"model_type": "granitemoeshared" if shared else "granitemoe", **heads(k), **dense(k), **sizes, **shared}


@architecture("glm4moe")
def glm4_moe(k: Keys) -> Fields:
    normed = {"use_qk_norm": k.somewhere("attn_q_norm.weight")}
    return {"model_type": "glm4_moe", **normed, **wide_heads(k), **biased(k), **dense(k), **after_dense(k)}


@architecture("dots1")
def dots1(k: Keys) -> Fields:
    return {"model_type": "dots1", "sliding_window": None, **wide_heads(k), **biased(k), **dense(k), **after_dense(k)}


@architecture("deepseek")
def deepseek_first(k: Keys) -> Fields:
    return {"model_type": "deepseek", "moe_layer_freq": 1, **heads(k), **dense(k), **after_dense(k)}


@architecture("ernie4_5-moe")
def ernie_moe(k: Keys) -> Fields:
    shared = k.number("expert_shared_count", 0)
    return {
        "model_type": "ernie4_5_moe",
        "moe_num_shared_experts": shared,
        **heads(k),
        **dense(k),
        **biased(k, "use_bias"),
        **k.required(
            moe_num_experts="expert_count",
            moe_k="expert_used_count",
            moe_intermediate_size="expert_feed_forward_length",
            moe_layer_start_index="leading_dense_block_count",
        ),
    }


@architecture("minimax-m2")
def minimax_m2(k: Keys) -> Fields:
    return {
        "model_type": "minimax_m2",
        "use_qk_norm": k.somewhere("attn_q_norm.weight"),
        "use_routing_bias": k.somewhere("exp_probs_b.bias"),
        **wide_heads(k),
        **k.required(
            num_local_experts="expert_count", num_experts_per_tok="expert_used_count", intermediate_size="expert_feed_forward_length"
        ),
    }


@architecture("bailingmoe2")
def bailing_moe2(k: Keys) -> Fields:
    bias = biased(k, "use_qkv_bias", "attn_qkv.bias")
    return {
        "model_type": "bailing_moe_v2",
        "use_qk_norm": k.somewhere("attn_q_norm.weight"),
        "moe_router_enable_expert_bias": k.somewhere("exp_probs_b.bias"),
        "num_shared_experts": k.number("expert_shared_count", 0),
        **heads(k),
        **dense(k),
        **routed(k),
        **expert_width(k),
        **bias,
        **k.required(first_k_dense_replace="leading_dense_block_count"),
    }


@architecture("dbrx")
def dbrx(k: Keys) -> Fields:
    groups = k.number("attention.head_count_kv")
    experts = k.required(moe_num_experts="expert_count", moe_top_k="expert_used_count", ffn_hidden_size="feed_forward_length")
    return {"model_type": "dbrx", "attn_config": {"kv_n_heads": groups}, "ffn_config": experts} | k.required(
        num_attention_heads="attention.head_count"
    )
