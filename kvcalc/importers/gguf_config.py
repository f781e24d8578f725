"""The metadata of a GGUF file as the fields of a config.json, for the readers of config.json to read.

llama.cpp's converter writes a config's numbers under names of its own, `<architecture>.attention.head_count` and the like; here they are
written back. What it leaves out, because llama.cpp knows it of the architecture, stands here as llama.cpp has it; what the tensors show
(biases, norms, a head of its own) is taken from them. An architecture is one function in architectures/, found by its name.
Source: https://github.com/ggml-org/llama.cpp, conversion/ (what is written) and src/models/ (what is taken where a key is not there).
"""

import importlib
import pkgutil
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import kvcalc.importers.architectures
from kvcalc.errors import SpecError, did_you_mean
from kvcalc.importers.config import MAX_ROWS, SHOWN, shown
from kvcalc.importers.gguf_file import GGUF, Value
from kvcalc.importers.inventory import Tensor
from kvcalc.importers.pieces import FULL, MAX_LAYERS, SLIDING

HARMLESS = re.compile(
    r"rope\..*|vocab_size|.*(epsilon|_eps|scale|softcapping|clamp.*|_norm)|expert_(gating_func|group_count|group_used_count)|pooling_type"
    r"|attention\.(causal|temperature_.*|clamp_kqv|max_alibi_bias|group_norm_groups|scale)|activation_sparsity_scale|altup\.active_idx"
    r"|.*feed_forward_length|attention\.(head_count_kv|value_length.*|indexer\.types)|expert_shared_count|interleave_moe_layer_step"
    r"|tensor_data_layout|use_parallel_residual|token_.*|hidden_activation|ssm\.dt_b_c_rms|.*swiglu.*|n_deepstack_layers|decoder_.*",
    re.DOTALL,  # else a key with a line break in it takes time that grows with the square of its length
)
"""Keys that size nothing, in any architecture (positions, scales, the choice of experts), and keys whose sizes the tensors confirm."""

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
        self.read: set[str] = set()
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
        return self.said(key) is not None

    def said(self, key: str) -> Value:
        """The value of a key as it is, None if it is not there. It counts as read."""
        self.read.add(f"{self.architecture}.{key}")
        return self.file.metadata.get(f"{self.architecture}.{key}")

    @property
    def unread(self) -> list[str]:
        """Keys of the architecture that nobody read, and that may size something."""
        names = {key: key.removeprefix(f"{self.architecture}.") for key in self.file.metadata.keys() - self.read}
        return sorted(
            key for key, name in names.items() if name != key and self.file.metadata[key] and not HARMLESS.fullmatch(name)
        )

    def value(self, key: str) -> Any:
        """The value of a key, None if it is not there. A list in which all layers say the same is that one value."""
        said = self.said(key)
        return said[0] if isinstance(said, list) and said and all(item == said[0] for item in said) else said

    def number(self, key: str, default: int | None = None, *, high: int = MAX_ROWS) -> int:
        """A whole number that is the same in all layers."""
        said = self.value(key)
        if said is None and default is not None:
            return default
        return self._whole(key, said, high)

    def each(self, key: str, default: int | None = None) -> list[int]:
        """A whole number for each layer, from one for all or a list."""
        said = self.said(key)
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

    def quotient(self, field: str, key: str, by: str) -> Fields:
        """A field that is the number of one key divided by that of another, without a remainder."""
        whole, part = self.number(key), self.number(by)
        if not part or whole % part:
            raise self.refuse(key, f"{whole:,} is no multiple of {by} {part:,}")
        self.origins[field] = f"{self.architecture}.{key} / {by}"
        return {field: whole // part}


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


def plain_heads(k: Keys) -> Fields:
    """As many KV heads as query heads."""
    if k.number("attention.head_count_kv", k.number("attention.head_count")) != k.number("attention.head_count"):
        raise k.refuse("attention.head_count_kv", f"differs from attention.head_count: not understood for {k.architecture}")
    return k.required(num_attention_heads="attention.head_count")


def dense(k: Keys) -> Fields:
    """A dense block."""
    return k.required(intermediate_size="feed_forward_length")


def routed(k: Keys) -> Fields:
    """Routed experts."""
    return k.required(num_experts="expert_count", num_experts_per_tok="expert_used_count")


def local_experts(k: Keys) -> Fields:
    """The same under Mixtral's name."""
    return k.required(num_local_experts="expert_count", num_experts_per_tok="expert_used_count")


def expert_width(k: Keys) -> Fields:
    """The width of an expert."""
    return k.required(moe_intermediate_size="expert_feed_forward_length")


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


def biased(k: Keys, field: str = "attention_bias", tensor: str = "attn_q.bias") -> Fields:
    """Whether projections have biases, from the tensors."""
    k.origins[field] = f"{tensor} in the file"
    return {field: k.somewhere(tensor)}


def window(k: Keys, period: int, *, default: int | None = None, first: bool = False) -> Fields:
    """A sliding window in all but the last (or first) of each `period` layers, or where `sliding_window_pattern` says so."""
    width = k.number("attention.sliding_window", default)
    said = k.said("attention.sliding_window_pattern")
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

_KNOWN: dict[str, Reader] = {}


def architecture(*names: str) -> Callable[[Reader], Reader]:
    """Marks the function that reads the keys of some architectures, by their names in `general.architecture`."""

    def kept(reader: Reader) -> Reader:
        _KNOWN.update(dict.fromkeys(names, reader))
        return reader

    return kept


@cache
def architectures() -> dict[str, Reader]:
    """Every architecture that is read, by its name."""
    for info in pkgutil.iter_modules(kvcalc.importers.architectures.__path__):
        importlib.import_module(f"{kvcalc.importers.architectures.__name__}.{info.name}")
    return dict(sorted(_KNOWN.items()))


# -- a file -------------------------------------------------------------------------------------------------------------------------


def config_of(file: GGUF) -> tuple[Fields, dict[str, str], Keys]:
    """The fields of a config that say what a file's metadata says, and the key of the file behind each of them.

    Raises:
        SpecError: an architecture that is not known, a key that is missing or impossible; it names them.
    """
    said = file.metadata.get("general.architecture")
    if not isinstance(said, str):
        raise SpecError(f"{file.name}: general.architecture: is not in the file")
    known = architectures()
    if said not in known:
        hint = did_you_mean(said[:SHOWN], known) or f"known: {', '.join(known)}"
        raise SpecError(f"{file.name}: general.architecture: {shown(said)} is not known", hint)
    keys = Keys(file, said)
    fields = common(keys) | known[said](keys)
    return fields, keys.origins, keys


def renamed(text: str, origins: Mapping[str, str]) -> str:
    """A text about fields of a config, with the keys of the file in their place."""
    words = text.split(" ")
    return " ".join(origins.get(word, word) for word in words)
