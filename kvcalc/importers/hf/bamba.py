"""Bamba: Mamba-2 in most layers, grouped-query attention in those of `attn_layer_indices`, an MLP in each."""

from typing import Any

from kvcalc.importers.config import Config, Known, number
from kvcalc.importers.hf.mamba import auto, times
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import biases, decoder, depth, grouped_query, mlp, pairs

TYPES = ("bamba",)
INDICES = "attn_layer_indices"


def state_space(c: Config, inner: Known | None = None, **more: Any) -> dict[str, Any]:
    """Mamba-2 as Bamba's config says it. `inner`: its width, where that is not mamba_expand x hidden_size."""
    c.ignore("mamba_chunk_size", "mamba_expand")
    heads, width = c.count("mamba_n_heads"), auto(c, "mamba_d_head")
    inner = inner or times(c, "mamba_expand")
    if inner % heads or (width is not None and heads * width != inner):
        raise c.refuse("mamba_n_heads", f"{heads:,} heads of {width or 'equal width'} are not {inner:,} wide ({inner.origin})")
    bias = c.flag("mamba_proj_bias")
    return {
        "kind": "mamba2",
        "num_heads": heads,
        "head_dim": width or number(inner // heads, f"{inner.origin} / mamba_n_heads"),
        "state_size": c.count("mamba_d_state"),
        "n_groups": c.count("mamba_n_groups"),
        "conv_kernel": c.count("mamba_d_conv", default=4),
        "use_bias": bias,
        "out_bias": bias,
        "use_conv_bias": c.flag("mamba_conv_bias", default=True, stated=True),
        **more,
    }


def read(c: Config) -> Layout:
    c.ignore("z_loss_coefficient", "layer_types", "layers_block_type")
    count = depth(c)
    if INDICES not in c.fields:
        raise c.refuse(INDICES, "is not in the config")
    full = set(c.numbers(INDICES, high=count - 1) or ())
    names = ["full" if place in full else "mamba" for place in range(count)]
    attention = {
        "mamba": state_space(c),
        "full": grouped_query(c, num_key_value_heads=c.count("num_key_value_heads"), **biases(c)),
    }
    return decoder(c, attention, {"mlp": mlp(c, mlp_bias=c.flag("mlp_bias"))}, layers=pairs(names, "mlp"))
