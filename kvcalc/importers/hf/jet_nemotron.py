"""Jet-Nemotron: JetBlocks, with full and windowed attention in the layers that `layer_types` names."""

from typing import Any

from kvcalc.importers.config import Config, Known, number
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import KV_HEADS, blocks, decoder, depth, grouped_query, layer_types, mlp, pairs

TYPES = ("jet_nemotron",)
NAMES = {"jet": "jet", "attn": "full", "swa": "local"}


def jet_block(c: Config) -> dict[str, Any]:
    """The JetBlock as its section says it."""
    width = c.count("head_dim")
    c.ignore("mode", "norm_eps", "dconv_implementation")
    found = {
        "kind": "jet",
        "num_heads": c.count("num_heads"),
        "head_dim": width,
        "head_v_dim": number(int(width * c.ratio("expand_v")), "head_dim x expand_v"),
        "conv_size": c.count("conv_size"),
        "dconv_generator_reduction": c.count("dconv_generator_reduction"),
    }
    c.settle()
    return found


def window(c: Config) -> Known:
    """The window of its section."""
    found = c.count("window_size", high=1 << 40)
    c.settle()
    return found


def read(c: Config) -> Layout:
    c.ignore("max_window_layers", "use_mrope")
    names = layer_types(c, depth(c), NAMES, longer=False)
    kinds = c.section("efficient_attention_config")
    c.ignore("num_key_value_heads")
    attention = blocks(
        names,
        jet=lambda: jet_block(kinds.section("jet")),
        full=lambda: grouped_query(c, qkv_bias=True, num_key_value_heads=c.count(*KV_HEADS)),
        local=lambda: grouped_query(
            c, qkv_bias=True, num_key_value_heads=c.count(*KV_HEADS), window=window(kinds.section("swa"))
        ),
    )
    kinds.ignore(*(name for name in NAMES if name not in names))
    kinds.settle()
    return decoder(c, attention, {"mlp": mlp(c)}, layers=pairs(names, "mlp"), tied=True)
