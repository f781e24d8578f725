"""DeciLM and what a search made of Llama (Nemotron-NAS): each layer has its own KV heads and its own MLP, or none of them, or a
matrix in its place. DeciLM lists KV heads by layer; `block_configs` describes whole layers."""

from typing import Any

from kvcalc.importers.config import Config, Known, number, shown
from kvcalc.importers.hf.gpt2 import even_heads
from kvcalc.importers.layout import Layer, Layout
from kvcalc.importers.pieces import HEADS, decoder, depth, grouped_query, hidden_size, mlp, pairs

TYPES = ("deci", "nemotron-nas")
MULTIPLE = 256
"""An MLP's width is rounded up to a multiple of it."""
Named = tuple[str, dict[str, Any]]


def read(c: Config) -> Layout:
    c.ignore("num_key_value_heads")
    bias, mlp_bias = c.flag("attention_bias"), c.flag("mlp_bias")
    blocks = c.items("block_configs", length=depth(c))
    if blocks is not None:
        return searched(c, blocks, bias, mlp_bias)
    c.ignore("naive_attention_prefill", "naive_attention_decode_batched", "naive_attention_decode_single")
    groups = c.numbers("num_key_value_heads_per_layer", length=depth(c), low=1)
    if groups is None:
        raise c.refuse("num_key_value_heads_per_layer", "is not in the config, nor is block_configs")
    attention = dict(_grouped(c, kv, bias) for kv in groups)
    return decoder(c, attention, {"mlp": mlp(c, mlp_bias=mlp_bias)}, layers=pairs([f"kv-{kv}" for kv in groups], "mlp"))


def searched(c: Config, blocks: list[Any], bias: bool, mlp_bias: bool) -> Layout:
    """The layers of `block_configs`."""
    c.ignore("intermediate_size", "num_key_value_heads_per_layer")
    attention: dict[str, Any] = {}
    feedforward: dict[str, Any] = {}
    layers = []
    for place, fields in enumerate(blocks):
        where = f"block_configs[{place}]"
        if not isinstance(fields, dict):
            raise c.refuse(where, f"must be a mapping, not {shown(fields)}")
        block = Config(c.file, fields, f"{c.section_name}{where}.", c.journal)
        mixes, feeds = block.section("attention"), block.section("ffn")
        name, part = _without(mixes, bias) or _attention(c, mixes, bias)
        other, more = _without(feeds, mlp_bias) or _mlp(c, feeds, mlp_bias)
        attention.setdefault(name, part)
        feedforward.setdefault(other, more)
        layers.append(Layer(name, other))
        for section in (block, mixes, feeds):
            section.settle()
    return decoder(c, attention, feedforward, layers=layers)


def _without(part: Config, bias: bool) -> Named | None:
    """Nothing, or a matrix, instead of a layer's attention or MLP."""
    part.must("sparsify", None)
    part.must("llama4", None)
    nothing, linear = part.flag("no_op"), part.flag("replace_with_linear")
    if not (nothing or linear):
        return None
    part.ignore("n_heads_in_group", "ffn_mult", "window_length", "num_sink_tokens")
    if nothing:
        return "none", {"kind": "none"}
    if bias:
        raise part.refuse("replace_with_linear", "with biases is not understood")
    return "linear", {"kind": "none", "replace_with_linear": True}


def _attention(c: Config, part: Config, bias: bool) -> Named:
    """A layer's attention: so many query heads share a key and a value."""
    heads, share = c.count(*HEADS), part.count("n_heads_in_group")
    if heads % share:
        raise part.refuse("n_heads_in_group", f"{share:,} does not go evenly into {heads:,} heads")
    return _grouped(c, number(heads // share, f"{heads.origin} / n_heads_in_group"), bias)


def _grouped(c: Config, groups: Known, bias: bool) -> Named:
    return f"kv-{groups}", grouped_query(c, num_key_value_heads=groups, head_dim=even_heads(c), qkv_bias=bias, o_bias=bias)


def _mlp(c: Config, part: Config, bias: bool) -> Named:
    """A layer's MLP: two thirds of its multiplier x hidden_size, rounded up."""
    part.must("gated", None, True)
    wanted = int(2 * round(part.ratio("ffn_mult"), 6) * hidden_size(c) / 3)
    width = number(-(-wanted // MULTIPLE) * MULTIPLE, f"2/3 x ffn_mult x hidden_size, a multiple of {MULTIPLE}")
    return f"mlp-{width}", {"kind": "mlp", "intermediate_size": width, "mlp_bias": bias}
