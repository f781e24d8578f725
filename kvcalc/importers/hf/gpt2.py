"""GPT-2 and GPT-SW3: multi-head attention, biases everywhere, a table of positions. The MLP is four times as wide as the stream where
`n_inner` is null."""

from typing import Any

from kvcalc.importers.config import Config, Known, number
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import HEAD_DIM, HEADS, decoder, grouped_query, hidden_size

TYPES = ("gpt2", "gpt-sw3")
TIMES = 4


def even_heads(c: Config) -> Known:
    """Width of a head in a class that has no field for it: where a config has one, it says the same."""
    heads, hidden = c.count(*HEADS), hidden_size(c)
    if hidden % heads:
        raise c.refuse(hidden.origin, f"{hidden:,} is no multiple of {heads:,} heads")
    for name in HEAD_DIM:
        c.must(name, None, hidden // heads)
    return number(hidden // heads, f"{hidden.origin} / {heads.origin}")


def multi_head(c: Config, **more: Any) -> dict[str, Any]:
    """Multi-head attention of a class that has no fields for KV heads and head widths."""
    if "num_key_value_heads" not in more:
        heads = c.count(*HEADS)
        c.must("num_key_value_heads", None, heads)
        more["num_key_value_heads"] = number(heads, f"{heads.origin}: all of them")
    return grouped_query(c, head_dim=even_heads(c), **more)


def four_times(c: Config, *names: str, **more: Any) -> dict[str, Any]:
    """A plain MLP; four times as wide as the stream where the config does not say its width."""
    said = c.maybe(*names) if names else None
    width = said or number(TIMES * hidden_size(c), f"{TIMES} x hidden_size: no {names[0] if names else 'field for it'}")
    return {"kind": "mlp", "intermediate_size": width, "gated": False, **more}


def positions(c: Config, *, more: int = 0) -> dict[str, Any]:
    """The table of learned positions."""
    rows = c.count("n_positions", "max_position_embeddings", high=1 << 30)
    return {"position": {"max_positions": number(rows + more, f"{rows.origin} + {more}") if more else rows}}


def read(c: Config) -> Layout:
    c.must("add_cross_attention", False)
    c.ignore("scale_attn_by_inverse_layer_idx")
    attention = multi_head(c, qkv_bias=True, o_bias=True)
    block = four_times(c, "n_inner", mlp_bias=True)
    return decoder(c, {"full": attention}, {"mlp": block}, tied=True, norm_bias=True, tables=positions(c), dtype="fp32")
