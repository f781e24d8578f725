"""Llama 4: layers with rotary embedding see a chunk of the context, every fourth one has none and sees it all; experts in every layer
or every other one, with a shared one as wide as they."""

from kvcalc.importers.config import Config, number
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import (
    CHUNKED,
    FULL,
    KV_HEADS,
    blocks,
    decoder,
    depth,
    experts,
    grouped_query,
    layer_types,
    mlp,
    moe_layers,
    pairs,
)

TYPES = ("llama4_text", "llama4")


def chunked(c: Config, count: int) -> list[str]:
    """`no_rope_layers` has a 0 for each layer that sees everything. An empty list means the class's rule."""
    said = c.numbers("no_rope_layers", high=1) or None
    if said is not None and len(said) != count:
        raise c.refuse("no_rope_layers", f"has {len(said):,} entries for {count:,} layers")
    period = c.maybe("no_rope_layer_interval") or 4
    if said is None and not c.has("layer_types"):
        c.caveat(f"The config does not list the layers without rotary embedding; as in its class, every {period}th is one.")
    rotary = [bool(word) for word in said] if said else [bool((place + 1) % period) for place in range(count)]
    return layer_types(c, count, {CHUNKED: "chunk", FULL: "full"}, lambda place: CHUNKED if rotary[place] else FULL)


def sparse(c: Config, count: int) -> list[str]:
    """Layers listed in `moe_layers`; or every `interleave_moe_layer_step`-th."""
    listed = c.numbers("moe_layers")
    step = c.count("interleave_moe_layer_step", default=1) if listed is None else 1
    return moe_layers(c, count, lambda place: (place + 1) % step == 0 if listed is None else place in listed)


def read(c: Config) -> Layout:
    c.ignore("attn_temperature_tuning", "floor_scale", "attn_scale", "use_qk_norm", "interleave_moe_layer_step")
    count = depth(c)
    names, kinds = chunked(c, count), sparse(c, count)
    bias = c.flag("attention_bias")
    attention = blocks(
        names,
        chunk=lambda: grouped_query(
            c,
            num_key_value_heads=c.count(*KV_HEADS),
            default_head_dim=128,
            qkv_bias=bias,
            o_bias=bias,
            attention_chunk_size=c.count("attention_chunk_size", default=8192, high=1 << 36),
        ),
        full=lambda: grouped_query(c, num_key_value_heads=c.count(*KV_HEADS), default_head_dim=128, qkv_bias=bias, o_bias=bias),
    )
    c.ignore("attention_chunk_size", "intermediate_size_mlp")
    width = ("intermediate_size",)
    made = blocks(
        kinds,
        dense=lambda: mlp(c, "intermediate_size_mlp"),
        moe=lambda: experts(
            c,
            width=width,
            shared=number(c.count(*width), "intermediate_size"),
            router={"kind": "linear", "scoring_func": "sigmoid"},
        ),
    )
    return decoder(c, attention, made, layers=pairs(names, kinds))
