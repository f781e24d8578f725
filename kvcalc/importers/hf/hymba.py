"""Hymba: refused by name. Attention and Mamba of a layer share one projection in and one out, which no kind counts, and every layer keeps
`num_memory_tokens` keys and values of meta tokens beside those of the context."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout

TYPES = ("hymba",)


def read(c: Config) -> Layout:
    raise c.refuse(
        "model_type",
        "hymba is not counted: attention and Mamba share one projection in and one out, and num_memory_tokens, global_attn_idx and "
        "kv_reuse_group say what their layers keep together",
        "no kind of attention has such a projection",
    )
