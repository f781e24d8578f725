"""vLLM: pages of so many tokens for each layer, drawn by groups of layers from one pool of equal blocks.

Reserves  a page is one block of tokens of one layer. Layers that need the same blocks form a group; several groups take their blocks
          from one pool, whose blocks are as wide as the widest group. In steady decode a request holds the blocks that its live tokens
          touch; before it starts, vLLM demands room for one request of full length with everything that may be in flight
Formula   bytes = width of a block x sum over groups of blocks. Held: full ceil(t / bs); window the blocks that the last W tokens touch;
          state 1. Demanded: full ceil(t / bs); window ceil(min(W - 1 + M, t) / bs) + 1; chunk ceil(min(chunk + M, t) / bs); state 2,
          3 where prefills export checkpoints, 1 without prefix caching; M = batches in flight x max_num_batched_tokens
Worked    gemma-4-31b, 131,072 tokens, bf16, one H100: 10 x 262,144 x (5 x 64 + 4,096) = 11,576,279,040 bytes held
Omits     blocks of finished requests, kept for their prefixes until they are overwritten; the pool's one null block; activations
Assumes   the usual attention backend's block: 16 tokens; 64 for dense MLA in fp8, sparse MLA, heads of 512 in fp8 and V4.1; 128 on a
          CPU, for dense MLA, V4.1 and heads of 256 on Blackwell; 256 for V4. States are kept in 16 bits unless the spec declares their
          format (mamba_ssm_cache_dtype). ZAYA1 has no class: K and V of every token are kept in each layer, convolution states are not
Source    vLLM 0.33.0: vllm/v1/kv_cache_interface.py, vllm/v1/core/kv_cache_planning.py, vllm/platforms/interface.py
          (_align_hybrid_block_size), vllm/model_executor/layers/mamba, vllm/models/deepseek_v4, vllm/models/deepseek_v41
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from math import lcm
from typing import ClassVar, Literal, NamedTuple

from pydantic import Field

from kvcalc.allocator import Allocator, NotModelled, Reservation, Reserved, beside, owned, reserved, rounded_up, with_field
from kvcalc.errors import ScenarioError
from kvcalc.formats import FORMATS, Format
from kvcalc.kind import Count, Row, Tokens
from kvcalc.ledger import row_format
from kvcalc.scenario import NATIVE, Scenario
from kvcalc.slots import Chunk, Every, EveryNth, LastBlock, OpenTail, Window
from kvcalc.spec import Block, ModelSpec

CacheType = Literal["auto", "fp8", "int8_per_token_head"]
Platform = Literal["hopper", "blackwell", "cpu"]
Sort = Literal["full", "window", "chunk", "state", "ring"]

CACHE_TYPES: dict[str, CacheType] = {NATIVE: "auto", "bf16": "auto", "fp16": "auto", "fp8": "fp8"}
IN_FLIGHT = {"hopper": 2 * 8192, "blackwell": 2 * 16384, "cpu": 2048}
"""M as `vllm serve` starts: two batches in flight of 8,192 tokens on a device of 70 GiB, of 16,384 on one of 160 GiB."""
DEFAULT_BLOCK = 16
MLA_BLOCK = 128
"""A model with MLA and states has blocks of a multiple of this."""
CHECKPOINTS = {"gdn": 64, "mamba2": 1}
"""Kinds whose prefill exports a state from inside a batch: a block more, on a multiple of so many tokens."""
NO_CLASS = {"block_sparse": "Phi-3-small"}
NO_FAMILY = {"softmax_scaling": "Mistral Large 4"}
"""By a field that its relatives of the same kind do not have."""
NOT_MODELLED = {"msa": "MiniMax-M3's index cache"}
ALWAYS_FP32 = ("kda",)
"""Kinds whose recurrent state is fp32 whatever the config says."""

FP8_SCALED = FORMATS["fp8-1x128"]
"""Index keys (132 bytes for 128), and the latent of fp8_ds_mla: one fp32 scale for 128 elements."""
SCALE_PER_HEAD = 4
"""Bytes: int8_per_token_head keeps one fp32 scale for each head of K and of V."""


class Packed(NamedTuple):
    """How the caches of DeepSeek-V4 are cut: tokens in a block of entries and of a window, what a page and a block are multiples of."""

    block: int
    window_block: int
    page_unit: int
    block_unit: int
    entry: Format
    window: Format


_DS_MLA = FORMATS["fp8-448+bf16-64"]
PACKED: dict[tuple[str, str], Packed] = {
    ("csa_hca", "hopper"): Packed(256, 64, 576, 1, _DS_MLA, _DS_MLA),
    ("csa_hca", "blackwell"): Packed(256, 64, 576, 1, _DS_MLA, _DS_MLA),
    ("csa2", "hopper"): Packed(64, 32, 576, 1, _DS_MLA, _DS_MLA),
    ("csa2", "blackwell"): Packed(128, 32, 512, lcm(288, 528), FORMATS["nvfp4"], FORMATS["mxfp8"]),
}
"""By kind and platform. On Blackwell V4.1 has nvfp4_ds_mla: entries of 288 bytes, window rows of 528; blocks are whole numbers of both."""
STATE_BLOCK = {True: 4, False: 8}
"""Tokens in a block of V4's compressor state, by whether the compressor overlaps."""
RING = 8
"""Tokens in the ring of V4.1's open block."""


class Cache(NamedTuple):
    """A cache of `layers` equal layers: pages of `block` tokens."""

    sort: Sort
    layers: int
    block: int
    page: int
    span: int = 0
    spare: int = 0
    """States that vLLM demands at start beside the one that is held."""
    latent: bool = False
    rows: tuple[int, ...] = ()
    """The model's rows that stand in it, by their place."""

    @property
    def alike(self) -> "Cache":
        """What two caches of one kind have in common."""
        return self._replace(layers=0, rows=())


Group = tuple[tuple[Cache, int], ...]
"""Layers that share a block table: caches, and how many layers of each."""


class Vllm(Allocator):
    about: ClassVar[str] = "vLLM 0.33.0"
    devices_setting: ClassVar[str] = "tensor_parallel_size"

    moment: Literal["decode", "start"] = Field(
        "decode", description="decode: what requests hold; start: what vLLM demands for one"
    )
    platform: Platform = Field("hopper", description="Device generation, which decides attention backends and their blocks")
    block_size: Count | None = Field(None, description="--block-size [tokens]; not given: the backend's")
    kv_cache_dtype: CacheType | None = Field(
        None, description="--kv-cache-dtype; not given: the scenario's format, natively auto"
    )
    tensor_parallel_size: Count = Field(1, description="Devices that share each layer; bytes are one device's")
    max_in_flight_tokens: Tokens | None = Field(None, description="M: batches in flight x max_num_batched_tokens [tokens]")
    enable_prefix_caching: bool = Field(True, description="States are kept at block edges, for prefixes to come")
    disable_hybrid_kv_cache_manager: bool = Field(False, description="Windows are kept for the whole context")
    num_speculative_tokens: int = Field(0, ge=0, le=64, description="Drafted tokens, each with a state of its own")

    def reserve(self, model: ModelSpec, scenario: Scenario) -> Reservation:
        rows = owned(model, scenario)
        self._refuse(model, kinds_of(rows))
        packed = {block.kind: layout for block, _ in rows if (layout := self._packed(block))}
        caches = self._aligned(list(self._caches(model, scenario, rows)), kinds_of(rows))
        groups = list(grouped(self._promoted(caches), bool(packed)))
        width = max((width_of(group) for group in groups), default=0)
        width = rounded_up(width, max((layout.block_unit for layout in packed.values()), default=1))
        copies = 1 if self.moment == "start" else scenario.batch
        total = copies * width * sum(max(self._blocks(c, scenario.context) for c, _ in group) for group in groups)
        home = {place: cache for group in groups for cache, _ in group for place in cache.rows}
        lines = tuple(self._line(model, scenario, block, row, home.get(place), copies) for place, (block, row) in enumerate(rows))
        spare = total - sum(line.bytes for line in lines)
        return Reservation(self.about, lines, (beside("padding", spare),) if spare else (), tuple(self._notes(scenario, rows)))

    def _refuse(self, model: ModelSpec, kinds: set[str]) -> None:
        """Refuse what has no class, and what has one whose layout is not known here. Raises NotModelled."""
        for family in (*(NO_CLASS[kind] for kind in sorted(kinds & set(NO_CLASS))), *with_field(model, NO_FAMILY)):
            raise NotModelled(f"{self.about} has no class for {family} ({model.id})")
        for kind in sorted(kinds & set(NOT_MODELLED)):
            raise NotModelled(f"{self.about}: {NOT_MODELLED[kind]} is not modelled ({model.id})")

    def _notes(self, scenario: Scenario, rows: list[tuple[Block, Row]]) -> Iterator[str]:
        if self.moment == "start":
            yield "what vLLM demands before it starts, for one request of this length"
        if any(block.kind == "cca" for block, _ in rows):
            yield f"{self.about} has no class for ZAYA1: K and V of every token are kept, convolution states are not"

    def _line(self, model: ModelSpec, scenario: Scenario, block: Block, row: Row, cache: Cache | None, copies: int) -> Reserved:
        """A row's part of its cache's pages; padding is counted beside."""
        stored, size = self._stored(model, scenario, block, row)
        slots = 0 if cache is None else self._blocks(cache, scenario.context) * slots_per_block(cache, row)
        line = reserved(block, row, stored, 0, copies, self._part(row))
        return line._replace(slots=slots, bytes=block.layers * copies * slots * size)

    # -- caches: which rows share a page --------------------------------------------------------------------------------------------

    def _caches(self, model: ModelSpec, scenario: Scenario, rows: list[tuple[Block, Row]]) -> Iterator[Cache]:
        """K and V share a page, latent and RoPE key do; index keys have their own; all states of a layer are one page."""
        default = self._block(rows, scenario)
        for block, places in by_block(rows):
            layout = self._packed(block)
            sizes = {place: self._stored(model, scenario, block, row)[1] for place, row in places.items()}
            if layout is not None:
                for place, row in places.items():
                    if not isinstance(row.held, LastBlock):  # stands in the window or ring of the open block
                        yield packed_cache(block, row, layout, sizes[place])._replace(rows=(place,))
                continue
            if any(row.role == "buffer" for row in places.values()):
                raise NotModelled(f"vLLM's cache of {block.label} is not modelled")
            tokens = tuple(place for place, row in places.items() if row.role == "kv")
            if tokens:
                size = sum(sizes[place] for place in tokens)
                yield paged_cache(block, places[tokens[0]], self._block_of(block, default), size, tokens)
            for place, row in places.items():
                if row.role == "index":
                    yield paged_cache(block, row, default, sizes[place], (place,))
            states = tuple(place for place, row in places.items() if row.role in ("recurrent", "conv"))
            if states and block.kind != "cca":
                size = sum(sizes[place] * places[place].held.count(1) for place in states)
                spare = 1 + any(kind in CHECKPOINTS for kind in block.kinds) if self.enable_prefix_caching else 0
                yield Cache("state", block.layers, DEFAULT_BLOCK, size, spare=spare, rows=states)

    def _packed(self, block: Block) -> Packed | None:
        if block.kind in ("csa_hca", "csa2") and (block.kind, self.platform) not in PACKED:
            raise NotModelled(f"{self.about}'s layout of {block.kind} on a {self.platform} is not modelled")
        return PACKED.get((block.kind, self.platform))

    def _block(self, rows: list[tuple[Block, Row]], scenario: Scenario) -> int:
        """Tokens of a block: the smallest that the attention backend of this platform takes."""
        kinds = kinds_of(rows)
        fp8 = self._dtype(scenario) == "fp8"
        if self.block_size is not None:
            return self.block_size
        if self.platform == "cpu":
            return 128
        if "dsa" in kinds:
            return 64
        if "mla" in kinds:
            return 128 if self.platform == "blackwell" else 64 if fp8 else DEFAULT_BLOCK
        widest = max((row.elements // row.split for _, row in rows if row.role == "kv"), default=0)
        return 64 if fp8 and widest == 512 and self.platform == "hopper" else DEFAULT_BLOCK

    def _block_of(self, block: Block, default: int) -> int:
        """On Blackwell heads of 256 have a kernel with pages of 128 tokens."""
        heads = {row.elements // row.split for row in block.rows if row.role == "kv"}
        wide = self.platform == "blackwell" and "gqa" in block.kinds and heads == {256}
        return max(default, 128) if wide and self.block_size is None else default

    def _aligned(self, caches: list[Cache], kinds: set[str]) -> list[Cache]:
        """With states beside attention, blocks grow until an attention page holds a state, and the state's page is filled up to it."""
        states = [cache for cache in caches if cache.sort == "state"]
        tokens = [cache for cache in caches if cache.sort != "state"]
        if not tokens:
            return [cache._replace(spare=0) for cache in states]  # no prefix to cache without attention
        if not states:
            return tokens
        unit = max(cache.block for cache in tokens)
        unit = max(unit, MLA_BLOCK) if any(cache.latent for cache in tokens) else unit
        if self.enable_prefix_caching:
            unit = lcm(unit, *(CHECKPOINTS[kind] for kind in kinds & set(CHECKPOINTS)))
        per_token = max(cache.page // cache.block for cache in tokens)
        block = unit * -(-max(cache.page for cache in states) // (unit * per_token))
        return [
            cache._replace(block=block, page=block * (per_token if cache.sort == "state" else cache.page // cache.block))
            for cache in caches
        ]

    def _promoted(self, caches: list[Cache]) -> list[Cache]:
        """Without the hybrid manager local layers are kept as full ones, where there are full ones."""
        if not self.disable_hybrid_kv_cache_manager or not any(cache.sort == "full" for cache in caches):
            return caches
        return [cache._replace(sort="full", span=0) if cache.sort in ("window", "chunk") else cache for cache in caches]

    # -- blocks of one request ------------------------------------------------------------------------------------------------------

    def _blocks(self, cache: Cache, t: int) -> int:
        """Blocks of one layer that a request of t tokens holds, or that vLLM demands for it."""
        block, demanded = cache.block, self.moment == "start"
        in_flight = self.max_in_flight_tokens or IN_FLIGHT[self.platform]
        match cache.sort:
            case "ring":
                return 1
            case "state":
                return 1 + (cache.spare if demanded else 0) + self.num_speculative_tokens
            case "window" if demanded:
                return -(-min(cache.span - 1 + in_flight, t) // block) + 1
            case "chunk" if demanded:
                return -(-min(cache.span + in_flight, t) // block)
        first = {"window": max(t - cache.span, 0), "chunk": (t - 1) // max(cache.span, 1) * cache.span}.get(cache.sort, 0)
        return -(-t // block) - first // block

    # -- bytes of one slot ----------------------------------------------------------------------------------------------------------

    def _dtype(self, scenario: Scenario) -> CacheType:
        if self.kv_cache_dtype is not None:
            return self.kv_cache_dtype
        if scenario.kv_format not in CACHE_TYPES:
            raise ScenarioError(f"{self.about} has no KV cache of {scenario.kv_format}", "it has: bf16, fp16, fp8")
        return CACHE_TYPES[scenario.kv_format]

    def _stored(self, model: ModelSpec, scenario: Scenario, block: Block, row: Row) -> tuple[Format, int]:
        """Format and bytes of one slot of a row, on one device."""
        stored, part = self._format(model, scenario, block, row), self._part(row)
        scales = SCALE_PER_HEAD * max(row.split // self.tensor_parallel_size, 1) if stored.name == "int8" else 0
        return stored, stored.bytes(1, part, f"{block.label}.{row.name}") + scales

    def _format(self, model: ModelSpec, scenario: Scenario, block: Block, row: Row) -> Format:
        layout, dtype = self._packed(block), self._dtype(scenario)
        if row.role == "index":
            return FP8_SCALED
        if row.role == "kv" and layout is not None:
            return layout.window if isinstance(row.held, Window) else layout.entry
        if row.role == "kv" and block.kind == "dsa" and dtype == "fp8" and self.platform == "hopper":
            return FP8_SCALED if row.name == "latent" else FORMATS["bf16"]
        if row.name == "latent" and dtype == "int8_per_token_head":
            raise ScenarioError(f"{self.about} has no latents in {dtype}", "take auto or fp8")
        if row.role == "kv":
            own = "fp16" if scenario.kv_format == "fp16" else "bf16"
            return FORMATS[{"auto": own, "fp8": "fp8", "int8_per_token_head": "int8"}[dtype]]
        declared = row.name in model.storage.state or any(kind in ALWAYS_FP32 for kind in block.kinds)
        if row.role == "recurrent" and not declared:
            return FORMATS["bf16"]
        return row_format(model, scenario, row)

    def _part(self, row: Row) -> int:
        """Elements of a slot on one device: heads are dealt out, beyond their number repeated; the rest is on every device."""
        tp = self.tensor_parallel_size
        if row.split % tp and tp % row.split:
            raise ScenarioError(f"tensor_parallel_size {tp} does not divide the {row.split} heads of {row.name}")
        return row.elements // min(row.split, tp)


def kinds_of(rows: list[tuple[Block, Row]]) -> set[str]:
    """The kinds that keep these rows, also where several stand in one layer."""
    return {kind for block, _ in rows for kind in block.kinds}


def by_block(rows: list[tuple[Block, Row]]) -> Iterator[tuple[Block, dict[int, Row]]]:
    """The rows of each group of equal layers, with their places among the model's."""
    for _, members in groupby(enumerate(rows), key=lambda member: id(member[1][0])):
        places = list(members)
        yield places[0][1][0], {place: row for place, (_, row) in places}


def slots_per_block(cache: Cache, row: Row) -> int:
    """Slots of a row in one block of its cache."""
    if cache.sort == "state":
        return row.held.count(1)
    return cache.block // (row.held.m if isinstance(row.held, EveryNth) else 1)


def paged_cache(block: Block, row: Row, tokens: int, content: int, rows: tuple[int, ...]) -> Cache:
    """K and V, or a latent and its RoPE key, of one token after the other."""
    sort: Sort = "full"
    span = 0
    if block.kind != "cca":
        match row.held:
            case Window(size, 0):
                sort, span = "window", size
            case Chunk(size):
                sort, span = "chunk", size
            case Every():
                pass
            case _:
                raise NotModelled(f"vLLM's cache of {block.label}.{row.name} is not modelled")
    return Cache(sort, block.layers, tokens, tokens * content, span, latent=row.name == "latent", rows=rows)


def packed_cache(block: Block, row: Row, layout: Packed, content: int) -> Cache:
    """One of DeepSeek-V4's caches: a window, entries or index keys, the ring or window of a compressor."""

    def of(sort: Sort, tokens: int, states: int, span: int = 0) -> Cache:
        return Cache(sort, block.layers, tokens, rounded_up(states * content, layout.page_unit), span, latent=True)

    match row.held:
        case Window(size):
            return of("window", layout.window_block, layout.window_block, size)
        case EveryNth(m):
            return of("full", layout.block, layout.block // m)
        case OpenTail(m) if block.kind == "csa_hca":
            overlapping = any(isinstance(other.held, LastBlock) and other.piece == row.piece for other in block.rows)
            tokens = STATE_BLOCK[overlapping]
            return of("window", tokens, tokens, 2 * m if overlapping else m)
        case OpenTail():
            return Cache("ring", block.layers, RING, RING * content, latent=True)
    raise NotModelled(f"vLLM's cache of {block.label}.{row.name} is not modelled")


# -- groups: which layers share a block table ---------------------------------------------------------------------------------------


def width_of(group: Group) -> int:
    """Bytes that one block of a group takes."""
    return sum(cache.page * layers for cache, layers in group)


def grouped(caches: Iterable[Cache], packed: bool) -> Iterator[Group]:
    """One group where all layers need the same blocks; else groups of equal pages, or packed side by side."""
    alike = merged(caches)
    if not alike:
        return
    if uniform(alike):
        yield tuple((cache, cache.layers) for cache in alike)
    elif packed:
        yield from packed_groups(alike)
    else:
        yield from equal_groups(merged(unified(alike)))


def merged(caches: Iterable[Cache]) -> list[Cache]:
    """Caches of one kind as one."""
    found: dict[Cache, Cache] = {}
    for cache in caches:
        other = found.get(cache.alike)
        found[cache.alike] = (
            cache if other is None else other._replace(layers=other.layers + cache.layers, rows=other.rows + cache.rows)
        )
    return list(found.values())


def uniform(caches: list[Cache]) -> bool:
    """Whether all need the same blocks at any t."""
    first = caches[0]
    same = all((cache.sort, cache.block, cache.span) == (first.sort, first.block, first.span) for cache in caches)
    return same and (first.sort != "state" or len(caches) == 1)


def unified(caches: list[Cache]) -> Iterator[Cache]:
    """Pages made equal: more tokens in a block where that comes out even, else padding."""
    largest = max(cache.page for cache in caches)
    for cache in caches:
        if largest % cache.page == 0 and cache.sort != "state":
            yield cache._replace(block=cache.block * (largest // cache.page), page=largest)
        elif cache.latent and cache.page != largest:
            raise NotModelled("vLLM's pages of MLA beside pages that are no multiple of them are not modelled")
        else:
            yield cache._replace(page=largest)


def equal_groups(caches: list[Cache]) -> Iterator[Group]:
    """As many layers in each group as the smallest cache has, or the largest where that is less than half as many more."""
    counts = [cache.layers for cache in caches]
    size = max(counts) if 2 * max(counts) < 3 * min(counts) else min(counts)
    for cache in caches:
        yield from dealt(((cache, cache.layers),), -(-cache.layers // size))


def packed_groups(caches: list[Cache]) -> Iterator[Group]:
    """Pages of several sizes side by side in a block.

    Caches that need the same blocks stand together. Those with as many layers of each page size repeat a pattern, and are cut into groups
    of about as many repeats; states and, where no pattern mixes pages, windows are cut until they fit the block that the others need.
    """
    alike: dict[tuple[Sort, int, int], list[Cache]] = {}
    for cache in caches:
        alike.setdefault((cache.sort, cache.block, cache.span), []).append(cache)
    buckets = list(alike.values())
    even = [bucket for bucket in buckets if len({cache.layers for cache in bucket}) == 1]
    mixed = [bucket[0].layers for bucket in even if len(bucket) > 1]
    repeats = least_padding([bucket[0].layers for bucket in even], max(mixed)) if mixed else None

    def parts(bucket: list[Cache]) -> int:
        return -(-bucket[0].layers // repeats) if repeats is not None and bucket in even else 1

    def may_shrink(bucket: list[Cache]) -> bool:
        return bucket[0].sort in ("state", "ring") or (repeats is None and bucket[0].sort == "window")

    def widest(bucket: list[Cache], groups: int) -> int:
        return sum(-(-cache.layers // groups) * cache.page for cache in bucket)

    anchor = max(widest(b, sum(cache.layers for cache in b) if may_shrink(b) else parts(b)) for b in buckets)
    for bucket in buckets:
        groups = parts(bucket)
        if may_shrink(bucket):
            fitting = max(anchor // bucket[0].page, 1)
            groups = max(groups, -(-sum(cache.layers for cache in bucket) // fitting))
        yield from dealt(tuple((cache, cache.layers) for cache in bucket), groups)


def least_padding(counts: list[int], least: int) -> int:
    """The size, from `least` on, to whose multiples the counts are rounded up with the least padding; of equals the largest."""
    sizes = range(max(least, 1), max(*counts, least) + 1)
    return min(sizes, key=lambda size: (sum(-count % size for count in counts), -size))


def dealt(group: Group, parts: int) -> Iterator[Group]:
    """Layers dealt out to so many groups, one after the other."""
    for part in range(parts):
        yield tuple((cache, (layers - part + parts - 1) // parts) for cache, layers in group)
