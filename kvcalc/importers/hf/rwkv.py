"""RWKV: version 4 as transformers has it, 6 as flash-linear-attention or the authors' own code, 7 as flash-linear-attention. Time
mixing and channel mixing in every layer, and a norm on the embeddings."""

from typing import Any

from kvcalc.importers.config import Config, Known, number
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import decoder, depth, hidden_size, pairs

TYPES = ("rwkv", "rwkv6", "rwkv7")
WIDE = 4096
"""hidden_size from which on the authors' code for version 6 has ranks twice as large."""


def residual(*, bias: bool = True, embedding_norm: bool = True) -> dict[str, Any]:
    return {"kind": "plain", "norm_bias": bias, "embedding_norm": embedding_norm}


def channels(c: Config, ratio: float, *, multiple: int = 1, up: bool = False, receptance: bool = True) -> dict[str, Any]:
    """Channel mixing of intermediate_size; where the config does not say it, of a multiple of hidden_size, rounded."""
    width = c.maybe("intermediate_size")
    if width is None:
        said = c.ratio("hidden_ratio", default=ratio) if up else ratio
        times = int(hidden_size(c) * said) + (multiple - 1 if up else 0)
        width = number(times // multiple * multiple, f"{said:g} x hidden_size: no field of its own")
    c.ignore("hidden_ratio")
    return {"kind": "rwkv_channel_mix", "intermediate_size": width, "receptance": receptance}


def read(c: Config) -> Layout:
    return {"rwkv": four, "rwkv6": six, "rwkv7": seven}[c.model_type](c)


def four(c: Config) -> Layout:
    mixing = {"kind": "rwkv4", "attention_hidden_size": c.maybe("attention_hidden_size")}
    context = c.maybe("context_length")
    return decoder(c, {"time_mix": mixing}, {"channel_mix": channels(c, 4)}, residual=residual(), context=context)


def six(c: Config) -> Layout:
    own = c.has("head_size")
    mixing, norms = (own_six(c), residual()) if own else (fla_six(c), fla_residual(c))
    return decoder(c, {"time_mix": mixing}, {"channel_mix": channels(c, 3.5, multiple=32, up=not own)}, residual=norms)


def own_six(c: Config) -> dict[str, Any]:
    """The authors' code: the ranks follow from the width."""
    wide = hidden_size(c) == WIDE
    head, inner = c.count("head_size"), c.maybe("attention_hidden_size") or hidden_size(c)
    c.ignore("head_size_divisor", "num_attention_heads")
    return {
        "kind": "rwkv6",
        "num_heads": divided(c, "attention_hidden_size", inner, head),
        "head_dim": head,
        "proj_low_rank_dim": number(64 if wide else 32, "the model's code: 64 where hidden_size is 4096, else 32"),
        "gate_low_rank_dim": number(128 if wide else 64, "the model's code: 128 where hidden_size is 4096, else 64"),
    }


def fla_six(c: Config) -> dict[str, Any]:
    heads = c.count("num_heads")
    keys = number(round(hidden_size(c) * c.ratio("expand_k")), "hidden_size x expand_k")
    values = number(round(hidden_size(c) * c.ratio("expand_v")), "hidden_size x expand_v")
    key, value = divided(c, "expand_k", keys, heads), divided(c, "expand_v", values, heads)
    return {
        "kind": "rwkv6",
        "num_heads": heads,
        "head_dim": key,
        "v_head_dim": None if value == key else value,
        "proj_low_rank_dim": c.count("proj_low_rank_dim"),
        "gate_low_rank_dim": c.count("gate_low_rank_dim"),
    }


def fla_residual(c: Config) -> dict[str, Any]:
    """What flash-linear-attention's configs say of norms; and that no layer has softmax attention."""
    c.must("attn", None)
    c.ignore("attn_mode", "fuse_norm", "use_l2warp", "gate_fn")
    return residual(bias=c.flag("norm_bias", default=True), embedding_norm=c.flag("norm_first", default=True))


def divided(c: Config, name: str, whole: Known, by: Known) -> Known:
    """A width that must divide into heads (or heads of a width)."""
    if whole % by:
        raise c.refuse(name, f"{whole:,} is no multiple of {by:,}")
    return number(whole // by, f"{whole.origin} / {by.origin}")


def seven(c: Config) -> Layout:
    count, inner = depth(c), hidden_size(c)
    values = c.value("value_dim")[1]
    if any(value != inner for value in (values if isinstance(values, list) else [inner if values is None else values])):
        raise c.refuse("value_dim", "is not understood where it is not hidden_size in every layer")
    heads = c.maybe("num_heads")
    head = c.maybe("head_dim") or divided(c, "hidden_size", inner, c.count("num_heads"))
    if heads is not None and heads * head != inner:
        raise c.refuse("num_heads", f"{heads:,} heads of {head:,} are not hidden_size {inner:,}")
    first = {
        "kind": "rwkv7",
        "num_heads": divided(c, "hidden_size", inner, head),
        "head_dim": head,
        "decay_low_rank_dim": c.count("decay_low_rank_dim"),
        "a_low_rank_dim": c.count("a_low_rank_dim"),
        "gate_low_rank_dim": c.count("gate_low_rank_dim"),
    }
    mixing = {"first": first, "rest": {**first, "v_low_rank_dim": c.count("v_low_rank_dim")}}
    block = channels(c, 4, multiple=32, up=True, receptance=False)
    layers = pairs(["first"] + ["rest"] * (count - 1), "channel_mix")
    return decoder(c, mixing, {"channel_mix": block}, layers=layers, residual=fla_residual(c))
