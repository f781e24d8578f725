"""Architectures in which some layers see a window, or all of them: what the file does not list, llama.cpp knows of the architecture."""

from kvcalc.errors import SpecError
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
    window,
)
from kvcalc.importers.pieces import CHUNKED, FULL, SLIDING


@architecture("gemma2")
def gemma2(k: Keys) -> Fields:
    return {"model_type": "gemma2", **wide_heads(k), **dense(k), **window(k, 2, default=4096)}


@architecture("gemma3")
def gemma3(k: Keys) -> Fields:
    return {"model_type": "gemma3_text", **wide_heads(k), **dense(k), **window(k, 6, default=0)}


@architecture("gemma3n")
def gemma3n(k: Keys) -> Fields:
    """Llama.cpp takes 20 layers to keep rows of their own; the file says how many read those of others."""
    low_rank, rows = k.first("laurel_l.weight"), k.tensors.get("per_layer_token_embd.weight")
    if low_rank is None or rows is None:
        raise SpecError(f"{k.file.name}: holds no laurel_l.weight or no per_layer_token_embd.weight, which {k.architecture} has")
    return {
        "model_type": "gemma3n_text",
        "laurel_rank": low_rank.shape[0],
        "vocab_size_per_layer_input": rows.shape[0],
        **wide_heads(k),
        "intermediate_size": k.each("feed_forward_length"),
        **window(k, 5),
        **k.required(
            altup_num_inputs="altup.num_inputs",
            hidden_size_per_layer_input="embedding_length_per_layer_input",
            num_kv_shared_layers="attention.shared_kv_layers",
        ),
    }


@architecture("gemma4")
def gemma4(k: Keys) -> Fields:
    """Layers without a window have heads of their own, and in the larger models no value projection. The last ones may be twice as wide."""
    sliding = window(k, 6)
    slides = [word == SLIDING for word in sliding["layer_types"]]
    groups, widths = k.each("attention.head_count_kv"), k.each("feed_forward_length")
    local, full = [{groups[layer] for layer in range(k.layers) if slides[layer] is here} for here in (True, False)]
    if len(local) != 1 or len(full) != 1:
        raise k.refuse("attention.head_count_kv", "differs among layers of one kind: not understood for gemma4")
    shared = k.number("attention.shared_kv_layers", 0, high=k.layers)
    wide = shared and widths[-1] == 2 * widths[0]
    if widths != [widths[0]] * (k.layers - shared) + [widths[-1]] * shared or not (wide or widths[-1] == widths[0]):
        raise k.refuse("feed_forward_length", "differs among layers in a way that is not understood for gemma4")
    full_value = [k.tensor("attn_v.weight", layer) for layer in range(k.layers - shared) if not slides[layer]]
    found = {
        "model_type": "gemma4_text",
        "num_key_value_heads": local.pop(),
        "num_global_key_value_heads": full.pop(),
        "attention_k_eq_v": None in full_value,
        "use_double_wide_mlp": bool(wide),
        "intermediate_size": widths[0],
        "num_kv_shared_layers": shared,
        "enable_moe_block": k.somewhere("ffn_gate_inp.weight"),
        **sliding,
        **k.required(
            num_attention_heads="attention.head_count",
            global_head_dim="attention.key_length",
            head_dim="attention.key_length_swa",
            hidden_size_per_layer_input="embedding_length_per_layer_input",
        ),
    }
    if found["enable_moe_block"]:
        found |= expert_width(k) | k.required(num_experts="expert_count", top_k_experts="expert_used_count")
    rows = k.tensors.get("per_layer_token_embd.weight", k.tensors["token_embd.weight"])
    return found | {"vocab_size_per_layer_input": rows.shape[0]}


@architecture("phi3")
def phi3(k: Keys) -> Fields:
    return {"model_type": "phi3", **k.fields(sliding_window="attention.sliding_window"), **heads(k), **dense(k)}


@architecture("cohere2")
def cohere2(k: Keys) -> Fields:
    return {"model_type": "cohere2", **wide_heads(k), **dense(k), **window(k, 4)}


@architecture("olmo2")
def olmo2(k: Keys) -> Fields:
    """Olmo 3 is the same with a window in three of four layers."""
    if k.number("attention.sliding_window", 0):
        return {"model_type": "olmo3", **heads(k), **dense(k), **window(k, 4)}
    return {"model_type": "olmo2", **heads(k), **dense(k)}


@architecture("exaone4")
def exaone4(k: Keys) -> Fields:
    """The large model has a window in three of four layers, the small one none."""
    large = 64
    sliding = window(k, 4, default=4096) if k.layers == large else {"sliding_window": None, "layer_types": [FULL] * k.layers}
    return {"model_type": "exaone4", **wide_heads(k), **dense(k), **sliding}


@architecture("gpt-oss")
def gpt_oss(k: Keys) -> Fields:
    sizes = local_experts(k)
    width = k.required(intermediate_size="expert_feed_forward_length")
    return {"model_type": "gpt_oss", **wide_heads(k), **biased(k), **sizes, **width, **window(k, 2)}


@architecture("llama4")
def llama4(k: Keys) -> Fields:
    """Three of four layers see a chunk of 8,192 tokens, which llama.cpp knows of the architecture; a window of 0 switches it off."""
    chunks = k.number("attention.sliding_window", 1)
    count = k.number("expert_count", 0)
    if not count:
        raise k.refuse("expert_count", "is 0: a dense model is not understood for llama4")
    return {
        "model_type": "llama4_text",
        "layer_types": [CHUNKED if chunks and (layer + 1) % 4 else FULL for layer in range(k.layers)],
        "attention_chunk_size": 8192,
        **wide_heads(k),
        **k.required(
            intermediate_size_mlp="feed_forward_length",
            intermediate_size="expert_feed_forward_length",
            interleave_moe_layer_step="interleave_moe_layer_step",
            num_local_experts="expert_count",
            num_experts_per_tok="expert_used_count",
        ),
    }


@architecture("afmoe")
def afmoe(k: Keys) -> Fields:
    return {
        "model_type": "afmoe",
        **wide_heads(k),
        **dense(k),
        **routed(k),
        **expert_width(k),
        **window(k, 4, default=0),
        **k.required(num_dense_layers="leading_dense_block_count", num_shared_experts="expert_shared_count"),
    }


@architecture("laguna")
def laguna(k: Keys) -> Fields:
    """Query heads differ from layer to layer; the first of each four sees everything. A gate has a row for each head, or each element."""
    gate, many = k.first("attn_gate.weight"), k.each("attention.head_count")
    found = {"num_attention_heads_per_layer": many, "gating": "per-head" if gate and gate.shape[0] in many else "per-element"}
    dense_layers = k.number("leading_dense_block_count", high=k.layers)
    return {
        "model_type": "laguna",
        "mlp_layer_types": ["dense"] * dense_layers + ["sparse"] * (k.layers - dense_layers),
        **found,
        **dense(k),
        **routed(k),
        **expert_width(k),
        **window(k, 4, default=0, first=True),
        **k.required(
            num_key_value_heads="attention.head_count_kv",
            head_dim="attention.key_length",
            shared_expert_intermediate_size="expert_shared_feed_forward_length",
        ),
    }


@architecture("exaone-moe")
def exaone_moe(k: Keys) -> Fields:
    found = wide_heads(k) | dense(k) | after_dense(k) | window(k, 4, default=128)
    found["num_experts"], found["num_shared_experts"] = found.pop("n_routed_experts"), found.pop("n_shared_experts", 0)
    return {"model_type": "exaone_moe", **found}
