"""Gemma: Llama's layer with wide heads and a tied head."""

from typing import Any

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import biases, decoder, grouped_query, mlp

TYPES = ("gemma",)
HEAD_DIM = 256


def heads(c: Config, groups: int) -> dict[str, Any]:
    """KV heads and head width, where a class of Gemma has its own, and biases."""
    return {
        "num_key_value_heads": c.count("num_key_value_heads", default=groups),
        "head_dim": c.count("head_dim", default=HEAD_DIM),
        **biases(c),
    }


def both_ways(c: Config, value: object = True) -> bool:
    """Whether tokens attend to those after them too: then nothing is generated token by token."""
    if not c.has("use_bidirectional_attention") or c.fields["use_bidirectional_attention"] != value:
        return False
    c.caveat("Tokens attend in both directions (use_bidirectional_attention); state and decode are those of causal layers.")
    return True


def read(c: Config) -> Layout:
    both_ways(c)
    return decoder(c, {"full": grouped_query(c, **heads(c, 16))}, {"mlp": mlp(c)}, tied=True)
