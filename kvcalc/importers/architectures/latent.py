"""Architectures with multi-head latent attention, and with an indexer beside it."""

from kvcalc.importers.gguf_config import Fields, Keys, after_dense, architecture, dense


@architecture("deepseek2")
def deepseek(k: Keys) -> Fields:
    """In V3 a bias balances the load, which V2 has not."""
    found = latent(k) | dense(k) | after_dense(k)
    return {"model_type": "deepseek_v3" if k.somewhere("exp_probs_b.bias") else "deepseek_v2", "moe_layer_freq": 1, **found}


@architecture("deepseek32")
def deepseek_v32(k: Keys) -> Fields:
    return {"model_type": "deepseek_v32", "moe_layer_freq": 1, **latent(k), **indexer(k), **dense(k), **after_dense(k)}


@architecture("glm-dsa")
def glm_dsa(k: Keys) -> Fields:
    """A layer without an indexer takes the choice of the last one that has it."""
    own = [k.tensor("indexer.attn_k.weight", layer) is not None for layer in range(k.layers)]
    types = {"indexer_types": ["full" if here else "shared" for here in own]}
    return {"model_type": "glm_moe_dsa", **types, **latent(k), **indexer(k), **dense(k), **after_dense(k)}


@architecture("minicpm3")
def minicpm3(k: Keys) -> Fields:
    """Latents as the config has them, `key_length` with the RoPE part; kept expanded by llama.cpp."""
    rope = k.number("rope.dimension_count")
    k.origins["qk_nope_head_dim"] = f"{k.architecture}.attention.key_length - rope.dimension_count"
    return {
        "model_type": "minicpm3",
        "qk_nope_head_dim": k.number("attention.key_length") - rope,
        **k.required(
            num_attention_heads="attention.head_count",
            q_lora_rank="attention.q_lora_rank",
            kv_lora_rank="attention.kv_lora_rank",
            qk_rope_head_dim="rope.dimension_count",
        ),
        **dense(k),
    }


def latent(k: Keys) -> Fields:
    """Multi-head latent attention. llama.cpp writes it as one wide key for all heads: `key_length` is latent and RoPE key together."""
    if not k.has("attention.key_length_mla"):
        raise k.refuse("attention.key_length_mla", "is not in the file: it was converted before llama.cpp kept latents")
    rank, rope = k.number("attention.kv_lora_rank"), k.number("rope.dimension_count")
    if k.number("attention.key_length") != rank + rope:
        raise k.refuse("attention.key_length", f"is not kv_lora_rank {rank:,} + rope.dimension_count {rope:,}")
    k.origins["qk_nope_head_dim"] = f"{k.architecture}.attention.key_length_mla - rope.dimension_count"
    return {
        "qk_nope_head_dim": k.number("attention.key_length_mla") - rope,
        **k.required(
            num_attention_heads="attention.head_count",
            kv_lora_rank="attention.kv_lora_rank",
            qk_rope_head_dim="rope.dimension_count",
            v_head_dim="attention.value_length_mla",
        ),
        **({"q_lora_rank": None} | k.fields(q_lora_rank="attention.q_lora_rank")),
    }


def indexer(k: Keys) -> Fields:
    """DeepSeek's sparse attention."""
    return k.required(
        index_n_heads="attention.indexer.head_count",
        index_head_dim="attention.indexer.key_length",
        index_topk="attention.indexer.top_k",
    )
