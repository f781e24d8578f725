"""Flint: norms on queries and keys, a learned sink per head, windows in most layers; dense layers first, then experts beside a shared
one without a gate."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import (
    FULL,
    KV_HEADS,
    SLIDING,
    biases,
    blocks,
    decoder,
    depth,
    experts,
    full_and_local,
    full_or_local,
    mlp,
    moe_layers,
    pairs,
)

TYPES = ("flint",)
FIRST_DENSE = [0, 1]
"""Dense layers of the class."""


def attention_names(c: Config, count: int) -> list[str]:
    """Which layers slide. The class's rule: all but the first two, each fourth from the second on, and the last."""
    if not c.has("layer_types"):
        c.caveat("The config does not say which layers slide; the pattern of the class is taken.")
    return full_or_local(c, lambda place: FULL if place < 2 or place % 4 == 1 or place == count - 1 else SLIDING)


def block_names(c: Config, count: int) -> list[str]:
    """The block of each layer."""
    step, only = c.maybe("decoder_sparse_step") or 1, c.numbers("mlp_only_layers")
    if only is None and not c.has("mlp_layer_types"):
        c.caveat("The config does not say which layers are dense; as in its class, the first two are.")
    dense = FIRST_DENSE if only is None else only
    return moe_layers(c, count, lambda place: (place + 1) % step == 0 and place not in dense)


def read(c: Config) -> Layout:
    count = depth(c)
    names, kinds = attention_names(c, count), block_names(c, count)
    window = c.window("sliding_window", absent=513) if "local" in names else None
    c.ignore("sliding_window")
    attention = full_and_local(
        c,
        names,
        window,
        num_key_value_heads=c.count(*KV_HEADS),
        default_head_dim=128,
        qk_norm=True,
        learned_sinks=True,
        **biases(c),
    )
    made = blocks(
        kinds,
        dense=lambda: mlp(c),
        moe=lambda: experts(
            c, shared=c.count("shared_expert_intermediate_size"), router={"kind": "linear", "scoring_func": "sigmoid"}
        ),
    )
    return decoder(c, attention, made, layers=pairs(names, kinds))
