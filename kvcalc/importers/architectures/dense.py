"""Architectures in which every layer is the same: full attention and a dense block. Llama with experts is Mixtral."""

from kvcalc.importers.gguf_config import Fields, Keys, architecture, biased, dense, heads, local_experts, plain_heads, wide_heads


@architecture("llama")
def llama(k: Keys) -> Fields:
    """Llama and what runs as Llama: Mistral without its window, Mixtral with experts."""
    if k.number("expert_count", 0):
        sizes = local_experts(k)
        return {"model_type": "mixtral", "sliding_window": None, **wide_heads(k), **dense(k), **sizes}
    return {
        "model_type": "llama",
        **wide_heads(k),
        **dense(k),
        **biased(k, tensor="attn_output.bias"),
        **biased(k, "mlp_bias", "ffn_down.bias"),
    }


@architecture("mistral3")
def ministral(k: Keys) -> Fields:
    return {"model_type": "ministral3", "sliding_window": None, **wide_heads(k), **dense(k)}


@architecture("qwen2", "qwen2vl")
def qwen2(k: Keys) -> Fields:
    return {"model_type": "qwen2", "use_sliding_window": False, **heads(k), **dense(k)}


@architecture("qwen3", "qwen3vl")
def qwen3(k: Keys) -> Fields:
    return {"model_type": "qwen3", "use_sliding_window": False, **wide_heads(k), **dense(k), **biased(k)}


@architecture("gemma")
def gemma(k: Keys) -> Fields:
    return {"model_type": "gemma", **wide_heads(k), **dense(k)}


@architecture("phi2")
def phi2(k: Keys) -> Fields:
    return {"model_type": "phi", **heads(k), **dense(k)}


@architecture("falcon")
def falcon(k: Keys) -> Fields:
    """A second norm before attention is what the newer layer has."""
    newer = k.somewhere("attn_norm_2.weight")
    found = heads(k)
    groups = found.pop("num_key_value_heads")
    if newer:
        found["num_kv_heads"] = groups
        k.origins["num_kv_heads"] = f"{k.architecture}.attention.head_count_kv"
    else:
        found["multi_query"] = groups == 1
    more = {"new_decoder_architecture": newer, "parallel_attn": True} | biased(k, "bias", "attn_qkv.bias")
    return {"model_type": "falcon", **found, **k.fields(ffn_hidden_size="feed_forward_length"), **more}


@architecture("gptneox")
def gpt_neox(k: Keys) -> Fields:
    return {"model_type": "gpt_neox", **plain_heads(k), **dense(k), **biased(k, tensor="attn_qkv.bias")}


@architecture("gpt2")
def gpt2(k: Keys) -> Fields:
    return {"model_type": "gpt2", **plain_heads(k), **k.required(n_inner="feed_forward_length")}


@architecture("starcoder")
def gpt_bigcode(k: Keys) -> Fields:
    one = {"multi_query": k.number("attention.head_count_kv", 1) == 1}
    return {"model_type": "gpt_bigcode", **one, **k.required(num_attention_heads="attention.head_count", n_inner="feed_forward_length")}


@architecture("starcoder2")
def starcoder2(k: Keys) -> Fields:
    return {"model_type": "starcoder2", "sliding_window": None, **heads(k), **dense(k), **biased(k, "use_bias")}


@architecture("mpt")
def mpt(k: Keys) -> Fields:
    bias = {"no_bias": not k.somewhere("attn_qkv.bias")}
    return {"model_type": "mpt", **plain_heads(k), **bias}


@architecture("bloom")
def bloom(k: Keys) -> Fields:
    return {"model_type": "bloom", **plain_heads(k)}


@architecture("stablelm")
def stablelm(k: Keys) -> Fields:
    return {
        "model_type": "stablelm",
        "qk_layernorm": k.somewhere("attn_q_norm.weight"),
        "use_parallel_residual": not k.somewhere("ffn_norm.weight"),
        **heads(k),
        **dense(k),
        **biased(k, "use_qkv_bias"),
    }


@architecture("command-r")
def cohere(k: Keys) -> Fields:
    return {"model_type": "cohere", "use_qk_norm": k.somewhere("attn_q_norm.weight"), **heads(k), **dense(k)}


@architecture("olmo")
def olmo(k: Keys) -> Fields:
    return {"model_type": "olmo", **heads(k), **dense(k)}


@architecture("granite")
def granite(k: Keys) -> Fields:
    return {"model_type": "granite", **heads(k), **dense(k), **biased(k), **biased(k, "mlp_bias", "ffn_down.bias")}


@architecture("exaone")
def exaone(k: Keys) -> Fields:
    return {"model_type": "exaone", **heads(k), **dense(k)}


@architecture("smollm3")
def smollm3(k: Keys) -> Fields:
    return {"model_type": "smollm3", "use_sliding_window": False, **heads(k), **dense(k)}


@architecture("seed_oss")
def seed_oss(k: Keys) -> Fields:
    bias = biased(k) | biased(k, "attention_out_bias", "attn_output.bias")
    return {"model_type": "seed_oss", **wide_heads(k), **dense(k), **bias}


@architecture("arcee")
def arcee(k: Keys) -> Fields:
    return {"model_type": "arcee", **wide_heads(k), **dense(k), **biased(k), **biased(k, "mlp_bias", "ffn_down.bias")}


@architecture("ernie4_5")
def ernie(k: Keys) -> Fields:
    return {"model_type": "ernie4_5", **wide_heads(k), **dense(k), **biased(k, "use_bias")}


@architecture("internlm2")
def internlm2(k: Keys) -> Fields:
    return {"model_type": "internlm2", **heads(k), **dense(k), **biased(k, "bias")}


@architecture("nemotron")
def nemotron(k: Keys) -> Fields:
    bias = biased(k) | biased(k, "mlp_bias", "ffn_down.bias")
    return {"model_type": "nemotron", **wide_heads(k), **dense(k), **bias}


@architecture("jais2")
def jais2(k: Keys) -> Fields:
    return {"model_type": "jais2", **wide_heads(k), **dense(k), **biased(k), **biased(k, "mlp_bias", "ffn_down.bias")}


@architecture("hunyuan-dense")
def hunyuan(k: Keys) -> Fields:
    return {"model_type": "hunyuan_v1_dense", **wide_heads(k), **dense(k), **biased(k)}


@architecture("glm4")
def glm4(k: Keys) -> Fields:
    return {"model_type": "glm4", **wide_heads(k), **biased(k), **dense(k)}
