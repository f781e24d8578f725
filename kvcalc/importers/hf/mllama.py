"""Llama 3.2 Vision: Llama's layers, and between them, as listed, layers of cross-attention to one tile of an image."""

from typing import Any

from kvcalc.importers.config import Config, Known, number
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import KV_HEADS, blocks, decoder, depth, grouped_query, mlp, pairs

TYPES = ("mllama_text_model", "mllama")
EXTRA_ROWS = 8
"""Rows of the token embedding that the head has not: the reference class adds them."""


def positions(c: Config) -> Known:
    """Positions of one tile: a patch each, and one for the class."""
    vision = None if c.outer is None else c.outer.maybe_section("vision_config")
    if vision is None:
        raise c.refuse("vision_config", "is not in the config: it says how many positions the cross-attention layers see")
    size, patch = vision.count("image_size"), vision.count("patch_size")
    return number((size // patch) ** 2 + 1, f"({size.origin} / {patch.origin})^2 + 1")


def self_attention(c: Config) -> dict[str, Any]:
    return grouped_query(c, num_key_value_heads=c.count(*KV_HEADS))


def cross(c: Config) -> dict[str, Any]:
    heads = self_attention(c)
    c.caveat("One image of one tile. An image may have several; without one these layers are skipped.")
    return {**heads, "kind": "cross", "max_source_positions": positions(c), "qk_norm": True, "gates": True}


def read(c: Config) -> Layout:
    c.must("tie_word_embeddings", False)
    count = depth(c)
    listed = c.numbers("cross_attention_layers", high=count - 1)
    if listed is None:
        raise c.refuse("cross_attention_layers", "is not in the config")
    names = ["cross" if place in listed else "full" for place in range(count)]
    attention = blocks(names, full=lambda: self_attention(c), cross=lambda: cross(c))
    return decoder(c, attention, {"mlp": mlp(c)}, layers=pairs(names, "mlp"), extra_rows=EXTRA_ROWS)
