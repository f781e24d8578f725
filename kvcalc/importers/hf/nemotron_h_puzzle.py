"""Nemotron-H as a search made it (Puzzle): Nemotron-H's layers, of which each may have fields of its own in `block_configs`.

Source: sglang configs/nemotron_h; vllm model_executor/models/{nemotron_h,nemotron_h_mtp}.
"""

from collections.abc import Callable
from typing import Any

from kvcalc.importers.config import HARMLESS, Config, Known
from kvcalc.importers.hf import nemotron_h
from kvcalc.importers.layout import Drafts, Layer, Layout
from kvcalc.importers.pieces import MAX_LAYERS, decoder, drafted, undrafted

TYPES = ("nemotron_h_puzzle",)
READERS: dict[str, Callable[[Config], dict[str, Any]]] = {
    "mamba": nemotron_h.state_space,
    "attention": nemotron_h.full,
    "mlp": nemotron_h.dense,
    "moe": nemotron_h.routed,
}
OWN: dict[str, tuple[str, ...]] = {
    "mamba": ("ssm_state_size", "mamba_num_heads", "mamba_head_dim", "n_groups", "conv_kernel"),
    "attention": ("num_attention_heads", "num_key_value_heads", "head_dim"),
    "mlp": ("intermediate_size",),
    "moe": (
        *("n_routed_experts", "num_experts_per_tok", "n_shared_experts"),
        *("moe_intermediate_size", "moe_shared_expert_intermediate_size", "moe_latent_size"),
    ),
}
"""Fields that a block of each sort may have."""
SIZED_BY_ATTENTION = ("mamba", "attention")


class Parts:
    """The different blocks so far, by name."""

    def __init__(self, c: Config) -> None:
        self.c, self.made = c, {"none": {"kind": "none"}}
        self.names: dict[tuple[Any, ...], str] = {}

    def layer(self, place: int, block: object, listed: str) -> Layer:
        """One block as a layer."""
        where = f"{listed}[{place}]"
        sort = block.get("block_type") if isinstance(block, dict) else None
        if not isinstance(block, dict) or not isinstance(sort, str) or sort not in READERS:
            raise self.c.refuse(where, f"must be a mapping with a block_type, one of {', '.join(READERS)}")
        own = {name: value for name, value in block.items() if value is not None and name != "block_type"}
        for name in own:
            if name not in OWN[sort] and not HARMLESS.fullmatch(name):
                raise self.c.refuse(f"{where}.{name}"[:80], f"is not understood in a block of {sort}")
        key = (sort, *sorted((name, ascii(value)) for name, value in own.items() if name in OWN[sort]))
        if key not in self.names:
            more = sum(other[0] == sort for other in self.names)
            self.names[key] = f"{sort}_{more + 1}" if more else sort
            said = {name: Known(value, f"{where}.{name}") if type(value) is int else value for name, value in own.items()}
            overlaid = Config(self.c.file, self.c.fields | said, self.c.section_name, self.c.journal)
            overlaid.model_type = self.c.model_type
            self.made[self.names[key]] = READERS[sort](overlaid)
        name = self.names[key]
        return Layer(name, "none") if sort in SIZED_BY_ATTENTION else Layer("none", name)


def drafting(c: Config, parts: Parts) -> Drafts:
    """Layers that draft: a block of attention and one of experts are one layer here."""
    listed = c.items("mtp_block_configs") or []
    c.ignore("mtp_hybrid_override_pattern", "mtp_layers_block_type")
    if [block.get("block_type") if isinstance(block, dict) else None for block in listed] != ["attention", "moe"]:
        return undrafted(c)
    first, second = (parts.layer(place, block, "mtp_block_configs") for place, block in enumerate(listed))
    return drafted(c, first.attention, second.feedforward)


def read(c: Config) -> Layout:
    nemotron_h.unsized(c)
    c.ignore("blockwise_members")
    listed = c.items("block_configs")
    if not listed or len(listed) > MAX_LAYERS:
        raise c.refuse("block_configs", "must list the layers")
    parts = Parts(c)
    layers = [parts.layer(place, block, "block_configs") for place, block in enumerate(listed)]
    sorts = [nemotron_h.WORDS[block["block_type"]] for block in listed]
    if any(c.has(name) for name in (nemotron_h.PATTERN, *nemotron_h.LISTS)) and nemotron_h.order(c) != sorts:
        raise c.refuse("block_configs", "says other layers than the list of blocks")
    said = c.maybe("num_hidden_layers", high=MAX_LAYERS)
    if said is not None and said != len(layers):
        raise c.refuse("num_hidden_layers", f"says {said:,}, but {len(layers):,} blocks are listed")
    drafts = drafting(c, parts)
    state = {"recurrent": nemotron_h.recurrent_format(c)} if nemotron_h.MAMBA in sorts else {}
    return decoder(c, parts.made, parts.made, layers=layers, state=state, draft=drafts, depth="block_configs")
