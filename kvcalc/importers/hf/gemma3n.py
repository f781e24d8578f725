"""Gemma 3n: Gemma 3's attention with four windows to one full layer; the last layers read the keys and values of earlier ones;
per-layer embeddings, alternating updates of several residual streams and a low-rank branch beside attention."""

from collections.abc import Sequence

from kvcalc.importers.config import MAX_ROWS, Config
from kvcalc.importers.hf.gemma import HEAD_DIM, heads
from kvcalc.importers.layout import Layer, Layout
from kvcalc.importers.pieces import FULL, SLIDING, decoder, every, full_and_local, full_or_local, mlp, omitted

TYPES = ("gemma3n", "gemma3n_text")
WINDOW, PERIOD = 512, 5
PER_LAYER_ROWS, PER_LAYER_DIM = 262_144, 256


def sharing(c: Config, attention: Sequence[str], feedforward: Sequence[str], shared: int) -> list[Layer]:
    """The layers, of which the last `shared` read the rows of the last one before them that has the same attention."""
    first = len(attention) - shared
    last = {name: place for place, name in enumerate(attention[: max(first, 0)])}
    for name in attention[max(first, 0) :]:
        if name not in last:
            raise c.refuse("num_kv_shared_layers", f"{shared:,} leaves no layer ({name}) whose keys and values others could read")
    if shared:
        c.caveat(
            f"A checkpoint may carry k, v and k_norm of the {shared:,} layers that share KV; nothing uses them: not counted."
        )
    return [
        Layer(name, block, reuses=last[name] if place >= first else None)
        for place, (name, block) in enumerate(zip(attention, feedforward, strict=True))
    ]


def read(c: Config) -> Layout:
    omitted(c, num_attention_heads=8, num_key_value_heads=2, head_dim=HEAD_DIM, vocab_size=262_400)
    c.ignore("activation_sparsity_pattern", "altup_active_idx", "altup_coef_clip", "altup_correct_scale")
    names = full_or_local(c, every(PERIOD, SLIDING, FULL))
    attention = full_and_local(c, names, c.window("sliding_window", absent=WINDOW), qk_norm=True, **heads(c, 2))
    if isinstance(c.fields.get("intermediate_size"), list):
        widths = c.numbers("intermediate_size", length=len(names), low=1) or []
        feedforward = [f"mlp-{width}" for width in widths]
        blocks = {name: {"kind": "mlp", "intermediate_size": width} for name, width in zip(feedforward, widths, strict=True)}
    else:
        feedforward, blocks = ["mlp"] * len(names), {"mlp": mlp(c)}
    return decoder(
        c,
        attention,
        blocks,
        layers=sharing(c, names, feedforward, c.count("num_kv_shared_layers", default=15, low=0)),
        tied=True,
        residual={
            "kind": "altup",
            "altup_num_inputs": c.count("altup_num_inputs", default=4),
            "laurel_rank": c.count("laurel_rank", default=64),
        },
        tables={
            "per_layer": {
                "vocab_size": c.count("vocab_size_per_layer_input", default=PER_LAYER_ROWS, high=MAX_ROWS),
                "dim": c.count("hidden_size_per_layer_input", default=PER_LAYER_DIM),
            }
        },
    )
