"""PLaMo 2: Mamba-2 whose B, C and step come from the convolved input, and in one of each `mamba_step` layers attention to a window."""

from typing import Any

from kvcalc.importers.config import Config, Known, number
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import decoder, depth, grouped_query, hidden_size, mlp, pairs

TYPES = ("plamo2",)
NARROWEST, RANKS = 64, 16


def order(c: Config) -> list[str]:
    """Attention stands in the middle of each `mamba_step` layers, in the last one where there are too few; the layers of
    `full_attention_idx` have no window."""
    count, step = depth(c), c.count("mamba_step", low=2)
    middle = step // 2
    attention = {count - 1} if count <= middle else {place for place in range(count) if place % step == middle}
    if not c.flag("mamba_enabled", default=True, stated=True):
        attention = set(range(count))
    full = c.numbers("full_attention_idx", high=count - 1) or []
    return ["mamba" if place not in attention else "full" if place in full else "local" for place in range(count)]


def step_rank(c: Config) -> Known:
    width = hidden_size(c)
    return number(max(NARROWEST, width // RANKS), f"hidden_size / {RANKS}, at least {NARROWEST}")


def read(c: Config) -> Layout:
    c.ignore("mamba_chunk_size")
    names = order(c)
    width = c.count("hidden_size_per_head")
    mamba: dict[str, Any] = {
        "kind": "mamba2",
        "num_heads": c.count("mamba_num_heads"),
        "head_dim": width,
        "state_size": c.count("mamba_d_state"),
        "conv_kernel": c.count("mamba_d_conv", default=4),
        "time_step_rank": step_rank(c),
        "use_conv_bias": False,
        "gated_norm": False,
    }
    full = grouped_query(
        c, num_key_value_heads=c.count("num_key_value_heads"), head_dim=width, qk_norm=True, qk_norm_all_heads=True
    )
    attention = {"mamba": mamba, "full": full}
    if "local" in names:
        attention["local"] = {**full, "window": c.count("attention_window_size", high=1 << 36)}
    return decoder(c, attention, {"mlp": mlp(c)}, layers=pairs(names, "mlp"), tied=True, norms=4)
