"""Zamba and Zamba2: a state space in every layer, and before some of them a transformer block whose weights they share, in turn where there
are several such blocks. Each layer with a block keeps its own keys and values."""

from typing import Any

from kvcalc.importers.config import Config, Known, number
from kvcalc.importers.hf.mamba import NOTHING, state_space, times
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import HEADS, LINEAR, decoder, depth, hidden_size, pairs

TYPES = ("zamba", "zamba2")
LISTS = ("layers_block_type", "layer_types")
HYBRID = "hybrid"
WORDS = ("mamba", LINEAR, HYBRID)
DECOYS = {"conv_kernel": "mamba_d_conv", "d_state": "mamba_d_state", "expand": "mamba_expand"}
"""Names of Mamba's config that Zamba2's class does not read, and its own."""
FIRST = ("mamba", "mamba", HYBRID)
"""How Zamba's layers begin, before its period."""


def shared_block(c: Config, **more: Any) -> dict[str, Any]:
    """The transformer block. It reads the stream and the embedding side by side, so its heads are twice as wide."""
    c.must("tie_word_embeddings", True)
    twice = number(2 * hidden_size(c), "2 x hidden_size")
    c.must("attention_hidden_size", twice)
    heads = c.count(*HEADS)
    said = c.maybe("attention_head_dim", "head_dim")
    if said is None and twice % heads:
        raise c.refuse(
            "num_attention_heads", f"{heads:,} do not divide 2 x hidden_size, and attention_head_dim is not in the config"
        )
    return {
        "kind": "shared_block",
        "num_attention_heads": heads,
        "num_key_value_heads": c.count("num_key_value_heads"),
        "head_dim": said or number(twice // heads, "2 x hidden_size / num_attention_heads"),
        **more,
    }


def assembled(c: Config, names: list[str], mamba: dict[str, Any], block: dict[str, Any], blocks: int) -> Layout:
    """The first layers with a block store one each; the later ones run them again."""
    again = {**block, "stored_earlier": True}
    attention = {
        "mamba": mamba,
        HYBRID: {"kind": "composite", "parts": {"block": block, "mamba": mamba}},
        "hybrid-again": {"kind": "composite", "parts": {"block": again, "mamba": mamba}},
    }
    stored, order = 0, []
    for name in names:
        first = name == HYBRID and stored < blocks
        stored += first
        order.append("mamba" if name != HYBRID else HYBRID if first else "hybrid-again")
    return decoder(c, attention, NOTHING, layers=pairs(order, "none"), tied=True)


def inner_heads(c: Config) -> tuple[Known, Known]:
    """Heads of Zamba2's state space and their width, of which older configs say one only."""
    inner = times(c, "mamba_expand", "expansion_factor")
    heads, width = c.maybe("n_mamba_heads"), c.maybe("mamba_headdim")
    if heads is None and width is None:
        raise c.refuse("n_mamba_heads", "is not in the config (or mamba_headdim)")
    heads = heads or number(inner // (width or 1), f"{inner.origin} / mamba_headdim")
    width = width or number(inner // heads, f"{inner.origin} / n_mamba_heads")
    if heads * width != inner:
        raise c.refuse("mamba_headdim", f"{heads:,} heads of {width:,} are not {inner.origin}, {inner:,}")
    return heads, width


def zamba(c: Config) -> Layout:
    count = depth(c)
    names = c.words(*LISTS, known=WORDS, length=count)
    if names is None:
        period = c.count("attn_layer_period", default=6)
        offset = c.count("attn_layer_offset", default=4, low=0)
        rest = [HYBRID if place % period == offset else "mamba" for place in range(count - len(FIRST))]
        names = [*FIRST, *rest][:count]
    c.ignore("attn_layer_period", "attn_layer_offset", "n_mamba_heads", "hidden_mamba_act", "use_associative_scan")
    return assembled(c, names, state_space(c), shared_block(c, intermediate_size=c.count("intermediate_size")), blocks=1)


def zamba2(c: Config) -> Layout:
    """The second name of a field is that of the first configs."""
    c.must("ft_lora", False)
    c.must("gated_linear_unit", True)
    c.must("use_shared_block_lora", True)
    c.must("use_shared_mlp_adapter", True)
    c.must("sliding_window")
    c.ignore(
        "kv_channels", "num_query_groups", "chunk_size", "use_conv_bias", "use_mem_eff_path", "use_mem_rope", "use_long_context"
    )
    c.ignore(*(name for name, own in DECOYS.items() if c.has(own)))
    names = c.words(*LISTS, known=WORDS, length=depth(c))
    if names is None:
        raise c.refuse(LISTS[0], "is not in the config")
    c.must("hybrid_layer_ids", [place for place, name in enumerate(names) if name == HYBRID])
    bias = c.flag("add_bias_linear")
    heads, width = inner_heads(c)
    mamba = {
        "kind": "mamba2",
        "num_heads": heads,
        "head_dim": width,
        "state_size": c.count("mamba_d_state", "state_size"),
        "n_groups": c.count("mamba_ngroups"),
        "conv_kernel": c.count("mamba_d_conv", "conv_dimension", default=4),
        "use_bias": bias,
        "out_bias": bias,
    }
    block = shared_block(
        c,
        intermediate_size=c.maybe("intermediate_size", "ffn_hidden_size") or number(4 * hidden_size(c), "4 x hidden_size"),
        adapter_rank=c.count("adapter_rank", "lora_rank", default=128),
        use_shared_attention_adapter=c.flag("use_shared_attention_adapter", "use_shared_attention_lora", stated=True),
        add_bias_linear=bias,
    )
    return assembled(c, names, mamba, block, c.count("num_mem_blocks"))


def read(c: Config) -> Layout:
    return zamba(c) if c.model_type == "zamba" else zamba2(c)
