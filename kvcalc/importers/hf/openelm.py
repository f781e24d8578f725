"""OpenELM: each layer has its own numbers of query and KV heads and its own MLP, whose width is rounded to `ffn_dim_divisor`."""

from typing import Any

from kvcalc.importers.config import MAX_WIDTH, Config, Known, number, shown
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import decoder, depth, hidden_size, pairs

TYPES = ("openelm",)


def widths(c: Config, count: int) -> list[Known]:
    """Widths of the MLPs: multiplier x model_dim, to the next multiple of the divisor, but never more than a tenth below."""
    divisor, dim = c.count("ffn_dim_divisor"), hidden_size(c)
    said = c.items("ffn_multipliers", length=count)
    if said is None:
        raise c.refuse("ffn_multipliers", "is not in the config")
    found = []
    for place, times in enumerate(said):
        if isinstance(times, bool) or not isinstance(times, int | float) or not 0 < times * dim < MAX_WIDTH:
            raise c.refuse(f"ffn_multipliers[{place}]", f"must be a number above zero, not {shown(times)}")
        wanted = times * dim
        width = max(divisor, int(wanted + divisor / 2) // divisor * divisor)
        width += divisor if width < 0.9 * wanted else 0
        found.append(number(width, f"ffn_multipliers[{place}] x {dim.origin}, a multiple of {divisor}"))
    return found


def read(c: Config) -> Layout:
    if not c.flag("ffn_with_glu", default=True):
        raise c.refuse("ffn_with_glu", "false is not understood for model_type 'openelm'")
    c.must("normalization_layer_name", "rms_norm")
    c.ignore("num_gqa_groups", "qkv_multipliers", "activation_fn_name")
    count = depth(c, "num_transformer_layers", "num_hidden_layers")
    heads, groups = (c.numbers(name, length=count, low=1) for name in ("num_query_heads", "num_kv_heads"))
    if heads is None or groups is None:
        raise c.refuse("num_query_heads" if heads is None else "num_kv_heads", "is not in the config")
    normed, width = c.flag("normalize_qk_projections", default=True, stated=True), c.count("head_dim")
    attention: dict[str, Any] = {}
    blocks: dict[str, Any] = {}
    names = []
    for query, kv, inner in zip(heads, groups, widths(c, count), strict=True):
        names.append((f"heads-{query}-{kv}", f"mlp-{inner}"))
        part = {"kind": "gqa", "num_attention_heads": query, "num_key_value_heads": kv, "head_dim": width, "qk_norm": normed}
        attention.setdefault(names[-1][0], part)
        blocks.setdefault(names[-1][1], {"kind": "mlp", "intermediate_size": inner})
    layers = pairs(*zip(*names, strict=True))
    return decoder(c, attention, blocks, layers=layers, tied=True, context=c.count("max_context_length", high=1 << 40))
