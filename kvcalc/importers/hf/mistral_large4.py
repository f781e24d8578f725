"""Mistral Large 4: latent attention with a full query matrix and an indexer, every fourth layer without rotary embedding; some layers read
another's latents (`kv_source_layers`)."""

from typing import Any

from kvcalc.importers.config import Config, Known, number
from kvcalc.importers.hf.glm_moe_dsa import TAKEN, all_sparse, dense_first, indexers, v3_blocks
from kvcalc.importers.layout import Layer, Layout
from kvcalc.importers.pieces import decoder, depth, indexed, latent

TYPES = ("mistral_large4_text", "mistral_large4")
DENSE_FIRST, PERIOD = 1, 4


def read(c: Config) -> Layout:
    c.must("q_lora_rank", None)
    count = depth(c)
    all_sparse(c, count)
    own, rotary, sources = indexers(c, count), rotary_layers(c, count), source_layers(c, count)
    kinds = dense_first(c, count, DENSE_FIRST)
    attention: dict[str, dict[str, Any]] = {}
    layers = []
    for place, source in enumerate(sources):
        name = ("rope" if rotary[place] else "nope") + ("" if own[place] != TAKEN else "_shared")
        attention.setdefault(name, part(c, rotary=rotary[place], indexer=own[place]))
        layers.append(Layer(name, kinds[place], None if source == place else int(source)))
    return decoder(c, attention, v3_blocks(c, kinds, router={"kind": "linear"}), layers=layers)


def part(c: Config, *, rotary: bool, indexer: str) -> dict[str, Any]:
    """One layer's attention. Without rotary embedding its elements go to the other part of a head."""
    found = indexed(
        c, latent(c, q_lora_rank=None, softmax_scaling=True, attention_bias=c.flag("attention_bias"), indexer_type=indexer)
    )
    if not rotary:
        nope, rope = found["qk_nope_head_dim"], found["qk_rope_head_dim"]
        found |= {
            "qk_nope_head_dim": number(nope + rope, "qk_nope_head_dim + qk_rope_head_dim: no_rope_layers"),
            "qk_rope_head_dim": number(0, "no_rope_layers"),
        }
    return found


def rotary_layers(c: Config, count: int) -> list[bool]:
    """Whether each layer has rotary embedding: 1 in `no_rope_layers`, though the name says the opposite."""
    said = c.numbers("no_rope_layers", length=count, high=1, longer=True)
    period = c.maybe("no_rope_layer_interval")
    if said is not None:
        return [word == 1 for word in said]
    step = period or c.count("no_rope_layer_interval", default=PERIOD)
    return [(place + 1) % step != 0 for place in range(count)]


def source_layers(c: Config, count: int) -> list[Known]:
    """For each layer the one whose latents it reads: itself, or one before it that has its own."""
    said = c.numbers("kv_source_layers", length=count, high=count - 1)
    if said is None:
        c.caveat("The config does not say which layers read another's latents (kv_source_layers); as in its class, none does.")
        return [number(place, "kv_source_layers is not in the config") for place in range(count)]
    for place, source in enumerate(said):
        if source > place or said[source] != source:
            raise c.refuse(f"kv_source_layers[{place}]", f"layer {source:,} has no latents of its own before it")
    return said
