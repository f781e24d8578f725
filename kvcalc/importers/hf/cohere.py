"""Command R, Command R7B, Command A and North's vision models (Compass): attention and a gated MLP side by side behind one norm
without bias, tied embeddings. `cohere2` slides in all but the last of every `sliding_window_pattern` layers, Compass where it says so."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import (
    FULL,
    SLIDING,
    decoder,
    depth,
    every,
    full_or_local,
    grouped_query,
    layer_types,
    mlp,
    pairs,
    tied_outside,
)

TYPES = ("cohere", "cohere2", "cohere_compass_text")
COMPASS = "cohere_compass_text"
PATTERN = ("sliding_window_pattern", "_sliding_window_pattern", "layer_switch")


def sliding_layers(c: Config) -> list[str]:
    """Which layers slide, in the words of the spec."""
    if c.model_type == COMPASS:
        return full_or_local(c, lambda _: FULL)
    said, count = c.maybe(*PATTERN), depth(c)
    if said is None and not c.has("layer_types"):
        said = c.count(*PATTERN, default=4)
    return layer_types(c, count, {FULL: "full", SLIDING: "local"}, every(said, SLIDING, FULL) if said else None)


def read(c: Config) -> Layout:
    c.must("order_of_interleaved_layers", None, "local_attn_first")
    for name in ("use_gated_activation", "use_parallel_block", "use_embedding_sharing"):
        c.must(name, None, True)
    c.ignore("use_parallel_embedding")
    bias, second = c.flag("attention_bias"), c.model_type != "cohere"
    normed = not second and c.flag("use_qk_norm")
    if c.model_type == COMPASS:
        tied_outside(c)
    attention = {"full": grouped_query(c, qkv_bias=bias, o_bias=bias, qk_norm=normed, qk_norm_all_heads=normed)}
    names = sliding_layers(c) if second else ["full"] * depth(c)
    window = c.window("sliding_window", absent=4096) if second else None
    if "local" in names and window is None:
        raise c.refuse("sliding_window", "is null, but some layers slide")
    attention["local"] = attention["full"] | {"window": window}
    return decoder(c, attention, {"mlp": mlp(c)}, layers=pairs(names, "mlp"), tied=True, norms=1)
