"""Gemma 3n: Gemma 3's attention with four windows to one full layer; the last layers read the keys and values of earlier ones; per-layer
embeddings, alternating updates of four residual streams and a low-rank branch beside attention."""

from collections.abc import Sequence

from kvcalc.importers.config import Config
from kvcalc.importers.hf.gemma import HEAD_DIM, heads
from kvcalc.importers.layout import Layer, Layout
from kvcalc.importers.pieces import FULL, MAX_ROWS, SLIDING, decoder, every, full_and_local, mlp, omitted

TYPES = ("gemma3n", "gemma3n_text")
WINDOW, PERIOD = 512, 5


def sharing(c: Config, attention: Sequence[str], feedforward: Sequence[str], shared: int) -> list[Layer]:
    """The layers, of which the last `shared` read the rows of the last one before them that has the same attention."""
    first = len(attention) - shared
    last = {name: place for place, name in enumerate(attention[:first])}
    for name in attention[first:]:
        if name not in last:
            raise c.refuse("num_kv_shared_layers", f"{shared:,} leaves no layer of the kind {name} whose keys and values others could read")
    return [
        Layer(name, block, reuses=last[name] if place >= first else None)
        for place, (name, block) in enumerate(zip(attention, feedforward, strict=True))
    ]


def read(c: Config) -> Layout:
    omitted(c, num_attention_heads=8, num_key_value_heads=2, head_dim=HEAD_DIM, vocab_size=262_400)
    c.ignore("activation_sparsity_pattern", "altup_active_idx", "altup_coef_clip", "altup_correct_scale")
    attention, names = full_and_local(c, every(PERIOD, SLIDING, FULL), absent=WINDOW, qk_norm=True, **heads(c, 2))
    if isinstance(c.fields.get("intermediate_size"), list):
        widths = c.numbers("intermediate_size", length=len(names), low=1) or []
        blocks = {f"mlp-{width}": {"kind": "mlp", "intermediate_size": width} for width in widths}
    else:
        blocks = {"mlp": mlp(c)}
        widths = []
    ...
