"""The metadata of a GGUF file as the fields of a config.json, for the readers of config.json to read.

llama.cpp's converter writes a config's numbers under names of its own, `<architecture>.attention.head_count` and the like; here they are
written back. What it leaves out, because llama.cpp knows it of the architecture, stands here as llama.cpp has it; what the tensors show
(biases, norms, a head of its own) is taken from them. An architecture is one function, found by its name.
Source: https://github.com/ggml-org/llama.cpp, conversion/ (what is written) and src/models/ (what is taken where a key is not there).
"""

from collections.abc import Callable, Mapping
from typing import Any

from kvcalc.errors import SpecError, did_you_mean
from kvcalc.importers.config import MAX_ROWS, SHOWN, shown
from kvcalc.importers.gguf_file import GGUF
from kvcalc.importers.inventory import Tensor
from kvcalc.importers.pieces import CHUNKED, FULL, LINEAR, MAX_LAYERS, SLIDING

Fields = dict[str, Any]
Reader = Callable[["Keys"], Fields]


class Keys:
    """The metadata of a file under the names of its architecture, and its tensors by layer. Remembers which key gave which field.

    Args:
        file: the file.
        architecture: what `general.architecture` says.
    """

    def __init__(self, file: GGUF, architecture: str) -> None:
        self.file, self.architecture = file, architecture
        self.origins: dict[str, str] = {}
        self.tensors = {tensor.name: tensor for tensor in file.tensors}
        stored = self.number("block_count", high=MAX_LAYERS)
        self.drafts = self.number("nextn_predict_layers", 0, high=stored)
        self.layers = stored - self.drafts
        if not self.layers:
            raise self.refuse("block_count", "leaves no layer beside those that draft")

    def refuse(self, key: str, why: str) -> SpecError:
        """The refusal that names a key."""
        return SpecError(f"{self.file.name}: {self.architecture}.{key}: {why}")

    def has(self, key: str) -> bool:
        """Whether a key is there."""
        return self.file.metadata.get(f"{self.architecture}.{key}") is not None

    def value(self, key: str) -> Any:
        """The value of a key, None if it is not there. A list in which all layers say the same is that one value."""
        said = self.file.metadata.get(f"{self.architecture}.{key}")
        return said[0] if isinstance(said, list) and said and all(item == said[0] for item in said) else said

    def number(self, key: str, default: int | None = None, *, high: int = MAX_ROWS) -> int:
        """A whole number that is the same in all layers."""
        said = self.value(key)
        if said is None and default is not None:
            return default
        return self._whole(key, said, high)

    def each(self, key: str, default: int | None = None) -> list[int]:
        """A whole number for each layer, from one for all or a list."""
        said = self.file.metadata.get(f"{self.architecture}.{key}")
        if said is None or not isinstance(said, list):
            return [self.number(key, default)] * self.layers
        if len(said) < self.layers:
            raise self.refuse(key, f"has {len(said):,} entries for {self.layers:,} layers")
        return [self._whole(key, int(item) if isinstance(item, bool) else item) for item in said[: self.layers]]

    def _whole(self, key: str, said: object, high: int = MAX_ROWS) -> int:
        if said is None:
            raise self.refuse(key, "is not in the file")
        if isinstance(said, bool) or not isinstance(said, int) or not 0 <= said <= high:
            raise self.refuse(key, f"must be a whole number up to {high:,}, not {shown(said)}")
        return said

    def tensor(self, name: str, layer: int = 0) -> Tensor | None:
        """A tensor by the end of its name, in a layer."""
        return self.tensors.get(f"blk.{layer}.{name}")

    def somewhere(self, name: str) -> bool:
        """Whether some layer has a tensor of that name."""
        return self.first(name) is not None

    def first(self, name: str) -> Tensor | None:
        """The first layer's tensor of that name."""
        return next((found for layer in range(self.layers) if (found := self.tensor(name, layer))), None)

    def fields(self, **keys: str) -> Fields:
        """Fields of a config, each from a key of the file; those are left out that the file has not."""
        found = {}
        for field, key in keys.items():
            if self.has(key):
                found[field] = self.value(key)
                self.origins[field] = f"{self.architecture}.{key}"
        return found

    def required(self, **keys: str) -> Fields:
        """The same, of keys that must be there."""
        for key in keys.values():
            self.number(key)
        return self.fields(**keys)


# -- what many have in common -------------------------------------------------------------------------------------------------------


def common(k: Keys) -> Fields:
    """Sizes that all architectures write, and what the tensors say of embedding and head."""
    embedding = k.tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise SpecError(f"{k.file.name}: holds no tensor token_embd.weight of two dimensions: it is no language model")
    k.origins |= {"num_hidden_layers": f"{k.architecture}.block_count", "vocab_size": "rows of token_embd.weight"}
    k.origins["tie_word_embeddings"] = "the file has no output.weight"
    return {
        "num_hidden_layers": k.layers,
        "vocab_size": embedding.shape[0],
        "tie_word_embeddings": "output.weight" not in k.tensors,
        "dtype": "bfloat16",
        **k.required(hidden_size="embedding_length"),
        **k.fields(max_position_embeddings="context_length"),
    }


def heads(k: Keys) -> Fields:
    """Grouped-query attention whose heads are hidden_size / head_count wide."""
    found = k.required(num_attention_heads="attention.head_count")
    return found | (k.fields(num_key_value_heads="attention.head_count_kv") or {"num_key_value_heads": found["num_attention_heads"]})


def wide_heads(k: Keys) -> Fields:
    """The same with a width of its own. Keys and values are equally wide."""
    width = k.fields(head_dim="attention.key_length")
    if k.number("attention.value_length", width.get("head_dim", 0)) != width.get("head_dim", 0):
        raise k.refuse("attention.value_length", f"differs from attention.key_length: not understood for {k.architecture}")
    return heads(k) | width


def dense(k: Keys) -> Fields:
    """A dense block."""
    return k.required(intermediate_size="feed_forward_length")


def routed(k: Keys) -> Fields:
    """Routed experts."""
    return k.required(num_experts="expert_count", num_experts_per_tok="expert_used_count")


def expert_width(k: Keys) -> Fields:
    """The width of an expert."""
    return k.required(moe_intermediate_size="expert_feed_forward_length")


def biased(k: Keys, field: str = "attention_bias", tensor: str = "attn_q.bias") -> Fields:
    """Whether projections have biases, from the tensors."""
    k.origins[field] = f"{tensor} in the file"
    return {field: k.somewhere(tensor)}


def window(k: Keys, period: int, *, default: int | None = None, first: bool = False) -> Fields:
    """A sliding window in all but the last (or first) of each `period` layers, or where `sliding_window_pattern` says so."""
    width = k.number("attention.sliding_window", default)
    said = k.file.metadata.get(f"{k.architecture}.attention.sliding_window_pattern")
    if isinstance(said, list):
        if len(said) < k.layers:
            raise k.refuse("attention.sliding_window_pattern", f"has {len(said):,} entries for {k.layers:,} layers")
        slides = [bool(item) for item in said[: k.layers]]
    else:
        period = period if said is None else k.number("attention.sliding_window_pattern", high=MAX_LAYERS)
        at = 0 if first else period - 1
        slides = [bool(width) and (period == 0 or layer % period != at) for layer in range(k.layers)]
    k.origins["sliding_window"] = f"{k.architecture}.attention.sliding_window"
    return {"sliding_window": width or None, "layer_types": [SLIDING if here else FULL for here in slides]}


# -- architectures ------------------------------------------------------------------------------------------------------------------

ARCHITECTURES: dict[str, Reader] = {}
"""Every architecture that is read, by its name in `general.architecture`."""


def architecture(*names: str) -> Callable[[Reader], Reader]:
    """Marks the function that reads the keys of some architectures."""

    def kept(reader: Reader) -> Reader:
        ARCHITECTURES.update(dict.fromkeys(names, reader))
        return reader

    return kept


@architecture("llama")
def llama(k: Keys) -> Fields:
    """Llama and what runs as Llama: Mistral without its window, Mixtral with experts."""
    if k.number("expert_count", 0):
        sizes = k.required(num_local_experts="expert_count", num_experts_per_tok="expert_used_count")
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


@architecture("qwen3next", "qwen35", "qwen35moe")
def qwen3_next(k: Keys) -> Fields:
    """Gated delta nets: `state_size` is the width of a key head, `time_step_rank` the number of value heads."""
    types = {"qwen3next": "qwen3_next", "qwen35": "qwen3_5_text", "qwen35moe": "qwen3_5_moe_text"}
    groups, inner = k.number("ssm.time_step_rank"), k.number("ssm.inner_size")
    if not groups or inner % groups:
        raise k.refuse("ssm.inner_size", f"{inner:,} is no multiple of ssm.time_step_rank {groups:,}")
    interval = k.number("full_attention_interval", 4, high=MAX_LAYERS)
    default = [0 if interval and (layer + 1) % interval == 0 else 1 for layer in range(k.layers)]
    recurrent = k.each("attention.recurrent_layers") if k.has("attention.recurrent_layers") else default
    k.origins["linear_value_head_dim"] = f"{k.architecture}.ssm.inner_size / ssm.time_step_rank"
    found = {
        "model_type": types[k.architecture],
        "layer_types": [LINEAR if here else FULL for here in recurrent],
        "linear_value_head_dim": inner // groups,
        **wide_heads(k),
        **k.required(
            linear_conv_kernel_dim="ssm.conv_kernel",
            linear_key_head_dim="ssm.state_size",
            linear_num_key_heads="ssm.group_count",
            linear_num_value_heads="ssm.time_step_rank",
        ),
    }
    if k.architecture == "qwen35":
        return found | dense(k)
    shared = k.required(shared_expert_intermediate_size="expert_shared_feed_forward_length")
    return found | routed(k) | expert_width(k) | shared | {"decoder_sparse_step": 1, "mlp_only_layers": []}


@architecture("gemma")
def gemma(k: Keys) -> Fields:
    return {"model_type": "gemma", **wide_heads(k), **dense(k)}


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


@architecture("phi2")
def phi2(k: Keys) -> Fields:
    return {"model_type": "phi", **heads(k), **dense(k)}


@architecture("phimoe")
def phi_moe(k: Keys) -> Fields:
    sizes = k.required(num_local_experts="expert_count", num_experts_per_tok="expert_used_count")
    bias = biased(k) | biased(k, "lm_head_bias", "output.bias")
    bias["lm_head_bias"] = "output.bias" in k.tensors
    return {"model_type": "phimoe", "sliding_window": None, **heads(k), **dense(k), **sizes, **bias}


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


def indexer(k: Keys) -> Fields:
    """DeepSeek's sparse attention."""
    return k.required(
        index_n_heads="attention.indexer.head_count",
        index_head_dim="attention.indexer.key_length",
        index_topk="attention.indexer.top_k",
    )


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


@architecture("deepseek")
def deepseek_first(k: Keys) -> Fields:
    return {"model_type": "deepseek", "moe_layer_freq": 1, **heads(k), **dense(k), **after_dense(k)}


def after_dense(k: Keys) -> Fields:
    """DeepSeek's experts after some dense layers."""
    return {
        **k.required(
            first_k_dense_replace="leading_dense_block_count",
            n_routed_experts="expert_count",
            num_experts_per_tok="expert_used_count",
            moe_intermediate_size="expert_feed_forward_length",
        ),
        **k.fields(n_shared_experts="expert_shared_count"),
    }


@architecture("glm4moe")
def glm4_moe(k: Keys) -> Fields:
    normed = {"use_qk_norm": k.somewhere("attn_q_norm.weight")}
    return {"model_type": "glm4_moe", **normed, **wide_heads(k), **biased(k), **dense(k), **after_dense(k)}


@architecture("dots1")
def dots1(k: Keys) -> Fields:
    return {"model_type": "dots1", "sliding_window": None, **wide_heads(k), **biased(k), **dense(k), **after_dense(k)}


@architecture("glm4")
def glm4(k: Keys) -> Fields:
    return {"model_type": "glm4", **wide_heads(k), **biased(k), **dense(k)}


@architecture("gpt-oss")
def gpt_oss(k: Keys) -> Fields:
    sizes = k.required(num_local_experts="expert_count", num_experts_per_tok="expert_used_count")
    width = k.required(intermediate_size="expert_feed_forward_length")
    return {"model_type": "gpt_oss", **wide_heads(k), **biased(k), **sizes, **width, **window(k, 2)}


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


def plain_heads(k: Keys) -> Fields:
    """As many KV heads as query heads."""
    if k.number("attention.head_count_kv", k.number("attention.head_count")) != k.number("attention.head_count"):
        raise k.refuse("attention.head_count_kv", f"differs from attention.head_count: not understood for {k.architecture}")
    return k.required(num_attention_heads="attention.head_count")


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


@architecture("cohere2")
def cohere2(k: Keys) -> Fields:
    return {"model_type": "cohere2", **wide_heads(k), **dense(k), **window(k, 4)}


@architecture("olmo")
def olmo(k: Keys) -> Fields:
    return {"model_type": "olmo", **heads(k), **dense(k)}


@architecture("olmo2")
def olmo2(k: Keys) -> Fields:
    """Olmo 3 is the same with a window in three of four layers."""
    if k.number("attention.sliding_window", 0):
        return {"model_type": "olmo3", **heads(k), **dense(k), **window(k, 4)}
    return {"model_type": "olmo2", **heads(k), **dense(k)}


@architecture("olmoe")
def olmoe(k: Keys) -> Fields:
    return {"model_type": "olmoe", **heads(k), **dense(k), **routed(k)}


@architecture("granite")
def granite(k: Keys) -> Fields:
    return {"model_type": "granite", **heads(k), **dense(k), **biased(k), **biased(k, "mlp_bias", "ffn_down.bias")}


@architecture("granitemoe")
def granite_moe(k: Keys) -> Fields:
    sizes = k.required(num_local_experts="expert_count", num_experts_per_tok="expert_used_count")
    shared = k.fields(shared_intermediate_size="expert_shared_feed_forward_length")
    return {"model_type": "granitemoeshared" if shared else "granitemoe", **heads(k), **dense(k), **sizes, **shared}


def recurrent_where_no_heads(k: Keys) -> tuple[list[bool], Fields]:
    """Which layers keep a recurrent state, those without KV heads; and the attention of the others."""
    groups = k.each("attention.head_count_kv")
    own = sorted({count for count in groups if count})
    if len(own) > 1:
        raise k.refuse("attention.head_count_kv", f"differs among layers with attention: not understood for {k.architecture}")
    k.origins["num_key_value_heads"] = f"{k.architecture}.attention.head_count_kv"
    heads_each = sorted({count for count in k.each("attention.head_count") if count})
    if len(heads_each) != 1:
        raise k.refuse("attention.head_count", f"differs among layers with attention: not understood for {k.architecture}")
    k.origins["num_attention_heads"] = f"{k.architecture}.attention.head_count"
    found = {"num_attention_heads": heads_each[0], "num_key_value_heads": own[0] if own else heads_each[0]}
    return [not count for count in groups], found


@architecture("granitehybrid")
def granite_hybrid(k: Keys) -> Fields:
    """Granite 4: `ssm.time_step_rank` is the number of Mamba-2 heads."""
    recurrent, found = recurrent_where_no_heads(k)
    many = k.number("expert_count", 0)
    found |= {"model_type": "granitemoehybrid", "layer_types": ["mamba" if here else "attention" for here in recurrent]}
    found |= {"num_local_experts": many}
    if many:
        found |= k.required(num_experts_per_tok="expert_used_count", shared_intermediate_size="expert_shared_feed_forward_length")
        found |= dense(k)
    elif k.has("expert_shared_feed_forward_length"):
        found |= k.required(shared_intermediate_size="expert_shared_feed_forward_length")
    else:
        found |= k.required(shared_intermediate_size="feed_forward_length")
    return found | mamba2_sizes(k)


def mamba2_sizes(k: Keys) -> Fields:
    """Mamba-2 in the words of Bamba's config."""
    count, inner = k.number("ssm.time_step_rank"), k.number("ssm.inner_size")
    if not count or inner % count or inner % k.number("embedding_length"):
        raise k.refuse("ssm.inner_size", f"{inner:,} is no multiple of ssm.time_step_rank {count:,} and of embedding_length")
    k.origins["mamba_d_head"] = f"{k.architecture}.ssm.inner_size / ssm.time_step_rank"
    k.origins["mamba_expand"] = f"{k.architecture}.ssm.inner_size / embedding_length"
    return {
        "mamba_d_head": inner // count,
        "mamba_expand": inner // k.number("embedding_length"),
        "mamba_proj_bias": k.somewhere("ssm_in.bias"),
        "mamba_conv_bias": k.somewhere("ssm_conv1d.bias"),
        **k.required(
            mamba_n_heads="ssm.time_step_rank",
            mamba_d_state="ssm.state_size",
            mamba_n_groups="ssm.group_count",
            mamba_d_conv="ssm.conv_kernel",
        ),
    }


@architecture("falcon-h1")
def falcon_h1(k: Keys) -> Fields:
    inner = k.number("ssm.inner_size")
    sizes = k.required(
        mamba_d_ssm="ssm.inner_size",
        mamba_n_heads="ssm.time_step_rank",
        mamba_d_state="ssm.state_size",
        mamba_n_groups="ssm.group_count",
        mamba_d_conv="ssm.conv_kernel",
    )
    if not sizes["mamba_n_heads"] or inner % sizes["mamba_n_heads"]:
        raise k.refuse("ssm.inner_size", f"{inner:,} is no multiple of ssm.time_step_rank")
    return {
        "model_type": "falcon_h1",
        "mamba_d_head": inner // sizes["mamba_n_heads"],
        "mamba_rms_norm": k.somewhere("ssm_norm.weight"),
        "mamba_conv_bias": k.somewhere("ssm_conv1d.bias"),
        "mamba_proj_bias": k.somewhere("ssm_in.bias"),
        **sizes,
        **wide_heads(k),
        **dense(k),
        **biased(k),
    }


@architecture("mamba")
def mamba(k: Keys) -> Fields:
    sizes = k.required(
        intermediate_size="ssm.inner_size",
        state_size="ssm.state_size",
        conv_kernel="ssm.conv_kernel",
        time_step_rank="ssm.time_step_rank",
    )
    return {"model_type": "mamba", "use_bias": k.somewhere("ssm_in.bias"), "use_conv_bias": k.somewhere("ssm_conv1d.bias"), **sizes}


@architecture("mamba2")
def mamba2(k: Keys) -> Fields:
    found = mamba2_sizes(k)
    names = {"num_heads": "mamba_n_heads", "head_dim": "mamba_d_head", "state_size": "mamba_d_state", "n_groups": "mamba_n_groups"}
    names |= {"conv_kernel": "mamba_d_conv", "use_bias": "mamba_proj_bias", "use_conv_bias": "mamba_conv_bias", "expand": "mamba_expand"}
    k.origins |= {new: k.origins[old] for new, old in names.items() if old in k.origins}
    return {"model_type": "mamba2"} | {new: found[old] for new, old in names.items()}


@architecture("jamba")
def jamba(k: Keys) -> Fields:
    """Where attention and experts stand must be the same in each period, as in Jamba's config."""
    recurrent, found = recurrent_where_no_heads(k)
    sparse = [k.tensor("ffn_gate_inp.weight", layer) is not None for layer in range(k.layers)]
    inner, width = k.number("ssm.inner_size"), k.number("embedding_length")
    if not width or inner % width:
        raise k.refuse("ssm.inner_size", f"{inner:,} is no multiple of embedding_length {width:,}")
    k.origins |= {"mamba_expand": f"{k.architecture}.ssm.inner_size / embedding_length"}
    for what, here in (("attn", [not there for there in recurrent]), ("expert", sparse)):
        period, offset = period_of(here)
        found |= {f"{what}_layer_period": period, f"{what}_layer_offset": offset}
        if [place % period == offset for place in range(k.layers)] != here:
            raise SpecError(f"{k.file.name}: the layers with {what} do not come at equal distances: not understood for {k.architecture}")
    many = k.fields(num_experts="expert_count", num_experts_per_tok="expert_used_count") if any(sparse) else {"num_experts": 1}
    return {
        "model_type": "jamba",
        "mamba_expand": inner // width,
        "mamba_proj_bias": k.somewhere("ssm_in.bias"),
        "mamba_conv_bias": k.somewhere("ssm_conv1d.bias"),
        **found,
        **dense(k),
        **many,
        **k.required(mamba_d_state="ssm.state_size", mamba_d_conv="ssm.conv_kernel", mamba_dt_rank="ssm.time_step_rank"),
    }


def period_of(here: list[bool]) -> tuple[int, int]:
    """The distance of the places that are true, and the first of them; longer than the list where there are less than two."""
    places = [place for place, true in enumerate(here) if true]
    if not places:
        return len(here) + 1, len(here)
    return (places[1] - places[0] if len(places) > 1 else max(len(here), places[0] + 1)), places[0]


@architecture("nemotron")
def nemotron(k: Keys) -> Fields:
    bias = biased(k) | biased(k, "mlp_bias", "ffn_down.bias")
    return {"model_type": "nemotron", **wide_heads(k), **dense(k), **bias}


@architecture("nemotron_h", "nemotron_h_moe")
def nemotron_h(k: Keys) -> Fields:
    """Layers of one block each: attention where there are KV heads, a block of matrices where there is a width, else Mamba-2."""
    recurrent, found = recurrent_where_no_heads(k)
    widths = k.each("feed_forward_length")
    words, dense_widths = [], set()
    for layer in range(k.layers):
        if not recurrent[layer]:
            words.append("attention")
        elif k.tensor("ffn_gate_inp.weight", layer) is not None:
            words.append("moe")
        elif widths[layer]:
            words.append("mlp")
            dense_widths.add(widths[layer])
        else:
            words.append("mamba")
    if len(dense_widths) > 1:
        raise k.refuse("feed_forward_length", "differs among the dense layers: not understood for nemotron_h")
    if "mlp" in words:
        found |= {"intermediate_size": dense_widths.pop(), "mlp_bias": k.somewhere("ffn_down.bias")}
        k.origins["intermediate_size"] = f"{k.architecture}.feed_forward_length"
    if "moe" in words:
        found |= {"n_shared_experts": 1}
        found |= k.required(
            n_routed_experts="expert_count",
            num_experts_per_tok="expert_used_count",
            moe_intermediate_size="expert_feed_forward_length",
            moe_shared_expert_intermediate_size="expert_shared_feed_forward_length",
        )
        found |= k.fields(moe_latent_size="moe_latent_size")
    if "attention" in words:
        found |= k.required(head_dim="attention.key_length")
    else:
        del found["num_attention_heads"], found["num_key_value_heads"]
    if "mamba" in words:
        count, inner = k.number("ssm.time_step_rank"), k.number("ssm.inner_size")
        if not count or inner % count:
            raise k.refuse("ssm.inner_size", f"{inner:,} is no multiple of ssm.time_step_rank {count:,}")
        found |= {"mamba_head_dim": inner // count, "use_bias": k.somewhere("ssm_in.bias")}
        found |= {"use_conv_bias": k.somewhere("ssm_conv1d.bias")}
        found |= k.required(
            mamba_num_heads="ssm.time_step_rank",
            ssm_state_size="ssm.state_size",
            n_groups="ssm.group_count",
            conv_kernel="ssm.conv_kernel",
        )
    return {"model_type": "nemotron_h", "layers_block_type": words, **found}


@architecture("lfm2", "lfm2moe")
def lfm2(k: Keys) -> Fields:
    """Short convolutions where there are no KV heads."""
    recurrent, found = recurrent_where_no_heads(k)
    found |= {"layer_types": ["conv" if here else FULL for here in recurrent], "conv_bias": k.somewhere("shortconv.in_proj.bias")}
    found |= k.required(conv_L_cache="shortconv.l_cache") | dense(k)
    if k.architecture == "lfm2":
        return found | {"model_type": "lfm2", "block_auto_adjust_ff_dim": False}
    sizes = k.required(num_dense_layers="leading_dense_block_count") | routed(k) | expert_width(k)
    return found | sizes | {"model_type": "lfm2_moe", "use_expert_bias": k.somewhere("exp_probs_b.bias")}


@architecture("exaone")
def exaone(k: Keys) -> Fields:
    return {"model_type": "exaone", **heads(k), **dense(k)}


@architecture("exaone4")
def exaone4(k: Keys) -> Fields:
    """The large model has a window in three of four layers, the small one none."""
    large = 64
    sliding = window(k, 4, default=4096) if k.layers == large else {"sliding_window": None, "layer_types": [FULL] * k.layers}
    return {"model_type": "exaone4", **wide_heads(k), **dense(k), **sliding}


@architecture("exaone-moe")
def exaone_moe(k: Keys) -> Fields:
    found = wide_heads(k) | dense(k) | after_dense(k) | window(k, 4, default=128)
    found["num_experts"], found["num_shared_experts"] = found.pop("n_routed_experts"), found.pop("n_shared_experts", 0)
    return {"model_type": "exaone_moe", **found}


@architecture("jais2")
def jais2(k: Keys) -> Fields:
    return {"model_type": "jais2", **wide_heads(k), **dense(k), **biased(k), **biased(k, "mlp_bias", "ffn_down.bias")}


@architecture("hunyuan-dense")
def hunyuan(k: Keys) -> Fields:
    return {"model_type": "hunyuan_v1_dense", **wide_heads(k), **dense(k), **biased(k)}


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


@architecture("internlm2")
def internlm2(k: Keys) -> Fields:
    return {"model_type": "internlm2", **heads(k), **dense(k), **biased(k, "bias")}


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


# -- a file -------------------------------------------------------------------------------------------------------------------------


def config_of(file: GGUF) -> tuple[Fields, dict[str, str], Keys]:
    """The fields of a config that say what a file's metadata says, and the key of the file behind each of them.

    Raises:
        SpecError: an architecture that is not known, a key that is missing or impossible; it names them.
    """
    said = file.metadata.get("general.architecture")
    if not isinstance(said, str):
        raise SpecError(f"{file.name}: general.architecture: is not in the file")
    if said not in ARCHITECTURES:
        listed = ", ".join(sorted(ARCHITECTURES))
        raise SpecError(
            f"{file.name}: general.architecture: {shown(said)} is not known", did_you_mean(said[:SHOWN], ARCHITECTURES) or f"known: {listed}"
        )
    keys = Keys(file, said)
    fields = common(keys) | ARCHITECTURES[said](keys)
    return fields, keys.origins, keys


def renamed(text: str, origins: Mapping[str, str]) -> str:
    """A text about fields of a config, with the keys of the file in their place."""
    words = text.split(" ")
    return " ".join(origins.get(word, word) for word in words)
