"""LFM2, LFM2-MoE and LFM3: gated short convolutions in most layers, grouped-query attention in the others (LFM3: some with a window)."""

from typing import Any

from kvcalc.importers.config import Config, Known, number
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import (
    FULL,
    SLIDING,
    biases,
    decoder,
    dense_first,
    depth,
    experts,
    grouped_query,
    hidden_size,
    layer_types,
    mlp,
    pairs,
)

TYPES = ("lfm2", "lfm2_moe", "lfm3")
CONV, KV = "conv", "num_key_value_heads"
NAMES = {CONV: CONV, FULL: "full", "attention": "full"}


def short_conv(c: Config, taps: int) -> dict[str, Any]:
    """A gated short convolution over the whole width. `taps`: the class's default."""
    for name in ("conv_dim", "conv_dim_out", "block_dim"):
        c.must(name, hidden_size(c))
    return {"kind": "short_conv", "conv_L_cache": c.count("conv_L_cache", default=taps), "conv_bias": c.flag("conv_bias")}


def order(c: Config) -> list[str]:
    """The layers, from `layer_types` or from the indices of those with attention."""
    count = depth(c, "num_hidden_layers")
    full = c.numbers("full_attn_idxs", high=count - 1)
    if full is None:
        return layer_types(c, count, NAMES, longer=False)
    names = ["full" if place in full else CONV for place in range(count)]
    if c.has("layer_types") and layer_types(c, count, NAMES, longer=False) != names:
        raise c.refuse("full_attn_idxs", "says other layers than layer_types")
    return names


def adjusted(c: Config) -> Known:
    """Width of the MLP: two thirds of the field's, times a factor, rounded up to a multiple, where the config asks for it."""
    field = "block_ff_dim" if c.has("block_ff_dim") else "intermediate_size"
    width = c.count(field)
    c.ignore("intermediate_size")
    if not c.flag("block_auto_adjust_ff_dim", default=True, stated=True):
        c.ignore("block_multiple_of", "block_ffn_dim_multiplier")
        return width
    narrower = 2 * width // 3
    multiple = c.count("block_multiple_of", default=256)
    narrower = int(c.ratio("block_ffn_dim_multiplier", default=1.0) * narrower)
    return number(-(-narrower // multiple) * multiple, f"2/3 of {field}, rounded up to a multiple of {multiple}")


def lfm2(c: Config) -> Layout:
    c.must("block_use_swiglu", True)
    c.ignore("block_use_xavier_init", "conv_use_xavier_init", "theta")
    attention = {CONV: short_conv(c, 3), "full": grouped_query(c, num_key_value_heads=c.count(KV), qk_norm=True)}
    names = order(c)
    if c.model_type == "lfm2":
        block = {"kind": "mlp", "intermediate_size": adjusted(c)}
        return decoder(c, attention, {"mlp": block}, layers=pairs(names, "mlp"), tied=True)
    balanced = c.flag("use_expert_bias", default=True, stated=True)
    router = {"kind": "linear", "scoring_func": "sigmoid", "correction_bias": "buffer" if balanced else None}
    c.count("num_dense_layers", default=2, low=0)
    dense = dense_first(c, len(names), "num_dense_layers", default=2)
    blocks = {"mlp": mlp(c), "moe": experts(c, router=router)}
    return decoder(c, attention, blocks, layers=pairs(names, ["mlp"] * dense + ["moe"] * (len(names) - dense)), tied=True)


def usual(place: int) -> str:
    """Where LFM3's class has attention, and where it has a window, if no list says it."""
    return FULL if place % 4 == 2 else SLIDING if place % 4 == 0 and place else CONV


def lfm3(c: Config) -> Layout:
    count = depth(c)
    if not c.has("layer_types"):
        c.caveat("The config has no layer_types: the order of layers is the default of its class.")
    names = layer_types(c, count, {**NAMES, SLIDING: "local"}, usual, longer=False)
    gate = "per_head" if c.flag("use_attention_gate", default=True, stated=True) else None
    part = grouped_query(c, num_key_value_heads=c.count(KV), default_head_dim=128, qk_norm=True, output_gate=gate, **biases(c))
    attention = {CONV: short_conv(c, 7), "full": part}
    if "local" in names:
        window = c.window("sliding_window", absent=256)
        if window is None:
            raise c.refuse("sliding_window", "is null, but layer_types has layers that slide")
        attention["local"] = {**part, "window": window}
    norms = 4 if c.flag("use_sandwich_norm", default=True, stated=True) else 2
    return decoder(c, attention, {"mlp": mlp(c)}, layers=pairs(names, "mlp"), tied=True, norms=norms)


def read(c: Config) -> Layout:
    return lfm3(c) if c.model_type == "lfm3" else lfm2(c)
