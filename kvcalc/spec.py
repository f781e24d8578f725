"""A model as data: named kinds, layer groups, sharing, storage as released, sources, caveats, published checks.

`ModelSpec.blocks` turns the declaration into blocks: so many equal layers of one part, with their rows, weights and work for one layer.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import date
from fractions import Fraction
from functools import cached_property
from itertools import cycle
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field, create_model, field_validator, model_validator

import kvcalc.attention
import kvcalc.embedding
import kvcalc.feedforward
import kvcalc.residual
from kvcalc.errors import did_you_mean
from kvcalc.formats import FORMATS, Format, FormatName, Shares, shares
from kvcalc.kind import (
    Attention,
    Count,
    EmbeddingPart,
    FeedForward,
    Kinds,
    Name,
    OneOf,
    Record,
    Residual,
    Role,
    Row,
    Site,
    Stream,
    TableRows,
    Tokens,
    Weight,
    Width,
    Work,
    kind_of,
)
from kvcalc.published import Check

ATTENTION = Kinds(kvcalc.attention, Attention)
FEEDFORWARD = Kinds(kvcalc.feedforward, FeedForward)
RESIDUAL = Kinds(kvcalc.residual, Residual)
EMBEDDING = Kinds(kvcalc.embedding, EmbeddingPart)

DEFAULT_STATE_FORMAT: dict[Role, str] = {"kv": "bf16", "index": "bf16", "recurrent": "fp32", "conv": "bf16", "buffer": "fp32"}
DEFAULT_WEIGHT_FORMAT = "bf16"
TABLE_FORMAT = "int64"
MATRIX_USES = ("matmul", "lookup")
MAX_LAYERS = 10_000


class TokenEmbedding(Record):
    """The token embedding and the head; tied: one matrix serves both. Other tables stand beside, one key each."""

    vocab_size: TableRows | None = Field(description="Rows of the token embedding [tokens]; null: not known, nor are the parameters")
    tied: bool = Field(description="The head is the embedding's matrix (tie_word_embeddings)")
    extra_rows: Count | None = Field(None, description="Further rows, which an untied head has not [tokens]")
    dim: Width | None = Field(
        None, description="Width of a row where it is not hidden_size: one matrix from it, one back to it before the head [elements]"
    )
    head_bias: bool = Field(False, description="The head has a bias per token of the vocabulary")

    def model_weights(self, site: Site) -> Iterator[Weight]:
        if self.vocab_size is None:
            return
        shape = (self.vocab_size, self.dim or site.hidden_size)
        if self.dim is not None:
            yield Weight("embedding_projection", "embeddings", (site.hidden_size, self.dim))
            yield Weight("head_projection", "lm_head", (self.dim, site.hidden_size), last=1)
        if self.tied:
            yield Weight("token_embedding", "embeddings", shape, last=1, split=shape[0], uneven="pad")
        else:
            rows = shape[0] + (self.extra_rows or 0)
            yield Weight("token_embedding", "embeddings", (rows, shape[1]), "lookup", chosen=1, split=rows, uneven="pad")
            yield Weight("lm_head", "lm_head", shape, last=1, split=shape[0], uneven="pad")
        if self.head_bias:
            yield Weight("lm_head_bias", "lm_head", (1, shape[0]), "vector", last=1, split=shape[0], uneven="pad")

    @model_validator(mode="after")
    def _extra_rows_need_a_head(self) -> "TokenEmbedding":
        if self.tied and self.extra_rows is not None:
            raise ValueError("extra_rows are those that an untied head has not: a tied one has every row")
        return self

    @property
    def tables(self) -> dict[str, EmbeddingPart]:
        """The tables beside the token embedding, by their key."""
        return {key: part for key in EMBEDDING if (part := getattr(self, key)) is not None}


AnyAttention = Annotated[Attention, OneOf(ATTENTION)]
AnyFeedForward = Annotated[FeedForward, OneOf(FEEDFORWARD)]
AnyResidual = Annotated[Residual, OneOf(RESIDUAL)]

if TYPE_CHECKING:
    Embedding = TokenEmbedding
else:
    Embedding = create_model(
        "Embedding",
        __base__=TokenEmbedding,
        __doc__=TokenEmbedding.__doc__,
        **{key: (Annotated[EmbeddingPart, OneOf(EMBEDDING, key)] | None, None) for key in EMBEDDING},
    )


_STEP = re.compile(r"(?:(?P<count>[1-9][0-9]{0,4}) )?(?P<name>[a-z0-9][a-z0-9._-]*)")
_STORED = re.compile(r"(?:(?P<count>[1-9][0-9]{0,4}) )?(?P<name>[^ ]+)")


def _spelt_out(steps: Iterable[str], step: re.Pattern[str] = _STEP) -> Iterator[str]:
    """'4 local', 'global' -> local local local local global."""
    for text in steps:
        match = step.fullmatch(text)
        assert match is not None  # held by the validators
        for _ in range(int(match["count"] or 1)):
            yield match["name"]


def _layers_stored(steps: Iterable[str]) -> Iterator[Shares]:
    """'2 q6_k', 'q4_k/q6_k' -> the formats of each of three layers."""
    return map(shares, _spelt_out(steps, _STORED))


class LayerGroup(Record):
    """Layers in order: `{repeat: 7, of: [4 local, global], feedforward: mlp}` is 35 layers."""

    of: list[str] = Field(min_length=1, description="Attention names in order, each with a count if more than one: '4 local'")
    feedforward: str | list[str] = Field(
        description="Name of the feed-forward block of these layers; or names in order like `of`, which begin anew until all have one"
    )
    repeat: Annotated[int, Field(ge=1, le=MAX_LAYERS)] = Field(1, description="How many times `of` follows on itself")
    reuse: dict[str, Annotated[int, Field(ge=0)] | Literal["previous"]] = Field(
        default_factory=dict,
        description="Per attention name: the layer whose rows these layers read instead of keeping their own",
    )
    replay: Tokens | None = Field(None, description="In a prefill only the last so many tokens run these layers [tokens]")
    weights_of: Annotated[int, Field(ge=0)] | None = Field(
        None,
        description="A loop: these layers run the weights of earlier ones, from this layer on, and store none; state is their own. "
        "An attention that reads rows which it does not keep reads those of the first pass",
    )

    @field_validator("of", "feedforward")
    @classmethod
    def _readable(cls, steps: str | list[str]) -> str | list[str]:
        for step in [steps] if isinstance(steps, str) else steps:
            if not _STEP.fullmatch(step) or (isinstance(steps, str) and " " in step):
                raise ValueError(f"cannot read {step!r}: write a name, or a count and a name like '4 local'")
        if not steps:
            raise ValueError("names no block")
        return steps

    @model_validator(mode="after")
    def _divides(self) -> "LayerGroup":
        each = sum(1 for _ in _spelt_out(self._blocks))
        if self.size % each:
            raise ValueError(f"feedforward names {each:,} blocks, which do not go evenly into {self.size:,} layers")
        return self

    @property
    def _blocks(self) -> list[str]:
        return [self.feedforward] if isinstance(self.feedforward, str) else self.feedforward

    @property
    def names(self) -> Iterator[str]:
        """The attention name of each layer in one repetition."""
        return _spelt_out(self.of)

    @property
    def blocks(self) -> list[str]:
        """The names of the feed-forward blocks in order, before they begin anew."""
        return list(_spelt_out(self._blocks))

    @property
    def size(self) -> int:
        """Layers in this group."""
        matches = [_STEP.fullmatch(step) for step in self.of]
        return self.repeat * sum(int(m["count"] or 1) for m in matches if m)


class ExtraWeight(Record):
    """A tensor outside the layers, declared by its shape."""

    name: Name
    shape: list[TableRows] = Field(min_length=2, max_length=2, description="(rows, columns) [elements]")
    count: Count = 1
    format: FormatName | None = Field(None, description="Storage format; not given: the default of storage.weights")


class Draft(Record):
    """Draft stages for speculative decoding that the release carries (multi-token prediction), each of them a layer. They share embedding
    and head with the main model. Off in a plain decode; `--include draft` counts what they hold."""

    layers: list[LayerGroup] = Field(min_length=1)
    weights: list[ExtraWeight] = Field(default_factory=list)
    residual: AnyResidual | None = Field(None, description="What carries the stream in these layers; not given: as in the model's")
    format: FormatName | None = Field(
        None, description="Storage format of these layers; not given: that of the same pieces of the model's layers"
    )


class Tower(Record):
    """An encoder of another modality, counted as one piece. Off in a text decode; `--include vision_tower` counts what it holds."""

    parameters: Annotated[int, Field(gt=0, le=1 << 50)]
    format: FormatName = DEFAULT_WEIGHT_FORMAT
    source: str


class Storage(Record):
    """Storage formats as released or as the reference engine keeps them."""

    weights: dict[str, FormatName | list[str]] = Field(
        default_factory=dict,
        description="By `piece.weight`, `piece` or `default`; block formats apply to matrices, vectors take the default. Where layers "
        "differ, a list by `piece.weight`: the formats of the layers that have it, in order, '4 q6_k' for four of them; 'q4_k/q6_k' is "
        "half of a layer in each, 'q8_0*3/q4_k*4' three sevenths and four",
    )
    state: dict[str, FormatName] = Field(default_factory=dict, description="By row name")
    math: dict[str, Literal["bf16", "fp8", "fp4", "int8", "tf32"]] = Field(
        default_factory=dict, description="By piece: the arithmetic of its products where it is not the weight format's own"
    )

    @field_validator("weights")
    @classmethod
    def _readable(cls, weights: dict[str, str | list[str]]) -> dict[str, str | list[str]]:
        for key, stored in weights.items():
            if isinstance(stored, list):
                for step in stored:
                    if not _STORED.fullmatch(step):
                        raise ValueError(f"{key}: cannot read {step!r}: write a format, or a count and a format like '4 q6_k'")
                if sum(1 for _ in _layers_stored(stored)) > MAX_LAYERS:
                    raise ValueError(f"{key}: more than {MAX_LAYERS:,} layers")
        return weights


class LayerPlan(NamedTuple):
    """One layer: its place, its kinds, and the layer whose rows it reads. `again`: a further pass through the layer at that place."""

    place: int
    attention: str
    feedforward: str
    reuses: int | None
    replay: int | None
    again: bool = False


class Block(NamedTuple):
    """`layers` equal layers of one part, and what one of them holds and does."""

    label: str
    kind: str
    layers: int
    rows: tuple[Row, ...]
    weights: tuple[Weight, ...]
    work: tuple[Work, ...]
    streams: tuple[Stream, ...]
    replay: int | None = None
    held_only: bool = False
    """Counted as stored, not run in a plain step (draft stages, towers)."""
    places: tuple[int, ...] = ()
    """The layers of the model that it stands in; none for what stands outside them."""
    reuses: int | None = None
    """The layer whose rows it reads."""
    part: Literal["attention", "feedforward", "residual", "model", "embedding", "table", "tower", "draft"] = "model"
    """Which part of the model it is."""
    kinds: tuple[str, ...] = ()
    """The kinds that the part consists of: of a composite, those of its parts."""


class ModelSpec(Record):
    """A model, complete."""

    id: Name
    name: str
    family: Name = Field(description="Family id: one colour in figures")
    released: str | None = Field(None, description="Date of release, YYYY-MM-DD or YYYY-MM; not given: not known")
    sources: dict[str, str] = Field(min_length=1, description="Where the numbers come from")
    caveats: list[str] = Field(default_factory=list, description="What the numbers leave out or assume")
    max_context: Tokens
    hidden_size: Width
    num_hidden_layers: Annotated[int, Field(gt=0, le=MAX_LAYERS)]
    embedding: Embedding
    attention: dict[Name, AnyAttention] = Field(min_length=1)
    feedforward: dict[Name, AnyFeedForward] = Field(min_length=1)
    residual: AnyResidual
    layers: list[LayerGroup] = Field(min_length=1, description="Layers in order; the counts must add up to num_hidden_layers")
    storage: Storage = Field(default_factory=Storage)
    towers: dict[Name, Tower] = Field(default_factory=dict)
    draft: Draft | None = None
    checks: list[Check] = Field(default_factory=list)

    @field_validator("released")
    @classmethod
    def _a_date(cls, text: str | None) -> str | None:
        if text is None:
            return None
        if not re.fullmatch(r"\d{4}-\d{2}(-\d{2})?", text):
            raise ValueError("write a date as YYYY-MM-DD or YYYY-MM")
        date.fromisoformat(text if len(text) == len("2026-01-01") else f"{text}-01")
        return text

    @model_validator(mode="after")
    def _adds_up(self) -> "ModelSpec":
        total = sum(group.size for group in self.layers if group.weights_of is None)
        if sum(group.size for group in self.layers) > MAX_LAYERS:
            raise ValueError(f"layers: more than {MAX_LAYERS:,} of them, passes of loops included")
        if total != self.num_hidden_layers:
            raise ValueError(f"layers: the groups add up to {total:,} layers, num_hidden_layers says {self.num_hidden_layers:,}")
        if self.draft and sum(group.size for group in self.draft.layers) > MAX_LAYERS:
            raise ValueError(f"draft: more than {MAX_LAYERS:,} layers")
        groups = self.layers + (self.draft.layers if self.draft else [])
        used = {name for group in groups for name in group.names}
        for name in sorted(used - set(self.attention)):
            raise ValueError(_unknown("layers", "attention", name, self.attention))
        blocks = {name for group in groups for name in group.blocks}
        for name in sorted(blocks - set(self.feedforward)):
            raise ValueError(_unknown("layers", "feedforward", name, self.feedforward))
        for name in sorted(set(self.attention) - used):
            raise ValueError(f"attention.{name}: declared, but no layer uses it")
        for name in sorted(set(self.feedforward) - blocks):
            raise ValueError(f"feedforward.{name}: declared, but no layer uses it")
        self._loops_are_sound()
        self._sharing_is_sound(self.plan)
        self._sharing_is_sound(list(self._plan(self.draft.layers)) if self.draft else [])
        pieces = {weight.piece for block in self.blocks for weight in block.weights}
        names = {f"{weight.piece}.{weight.name}" for block in self.blocks for weight in block.weights}
        for key in sorted(set(self.storage.weights) - pieces - names - {"default"}):
            raise ValueError(_unknown("storage.weights", "piece", key, pieces | names))
        for key, stored in self.storage.weights.items():
            if isinstance(stored, list) and key not in names:
                raise ValueError(f"storage.weights: {key}: formats by layer are those of a tensor, `piece.weight`")
        for key, (layers, listed) in self.stored_by_layer.items():
            if len(layers) != len(listed):
                raise ValueError(f"storage.weights: {key}: {len(listed):,} formats for the {len(layers):,} layers that have it")
        for key in sorted(set(self.storage.math) - pieces):
            raise ValueError(_unknown("storage.math", "piece", key, pieces))
        rows = {row.name for block in self.blocks for row in block.rows}
        for key in sorted(set(self.storage.state) - rows):
            raise ValueError(_unknown("storage.state", "row", key, rows))
        for check in self.checks:
            for where, asked, known in (
                ("rows", check.rows or (), rows),
                ("formats", check.formats, rows),
                ("groups", check.groups or (), self.attention),
                ("include", check.include, self.optional_pieces),
            ):
                for key in sorted(set(asked) - set(known)):
                    raise ValueError(_unknown(f"checks.{where}", where.rstrip("s"), key, known))
        for layer in (layer for part in self.embedding.tables.values() for layer in getattr(part, "layers", ())):
            if layer >= self.num_hidden_layers:
                raise ValueError(f"embedding: layer {layer} is beyond the {self.num_hidden_layers} layers of the model")
        return self

    def _sharing_is_sound(self, plan: list[LayerPlan]) -> None:
        first = {layer.place: layer for layer in plan if not layer.again}
        for layer in plan:
            here = f"layers: layer {layer.place} ({layer.attention})"
            borrowed = [row for row in self._rows(layer) if not row.owned]
            owner = layer.place if layer.again and borrowed and layer.reuses is None else layer.reuses
            if owner is None:
                if borrowed:
                    raise ValueError(f"{here} reads {borrowed[0].name} rows of another layer: say which, under `reuse`")
                continue
            if not borrowed:
                raise ValueError(f"{here} has no rows that it could reuse")
            if owner >= layer.place + layer.again:
                raise ValueError(f"{here} reuses layer {owner}, which does not stand before it")
            owned = {row.name: row for row in self._rows(first[owner]) if row.owned}
            for row in borrowed:
                source = owned.get(row.name)
                if source is None or (source.elements, source.held) != (row.elements, row.held):
                    raise ValueError(
                        f"{here} cannot reuse layer {owner} ({first[owner].attention}): "
                        f"that layer owns no {row.name} rows of the same kind"
                    )

    def _loops_are_sound(self) -> None:
        """A further pass runs the tensors of the first one, and perhaps some of its own."""
        first = {layer.place: layer for layer in self.plan if not layer.again}
        for layer in self.plan:
            here = f"layers: a further pass through layer {layer.place} ({layer.attention})"
            if layer.again and layer.place not in first:
                raise ValueError(f"{here}: no layer stands there before it")
            if layer.again and not set(self._tensors(first[layer.place])) <= set(self._tensors(layer)):
                raise ValueError(f"{here}: its weights are not those of that layer ({first[layer.place].attention})")

    def _tensors(self, layer: LayerPlan) -> list[Weight]:
        parts = (self.attention[layer.attention], self.feedforward[layer.feedforward])
        return [weight for part in parts for weight in part.weights(self._site())]

    def _rows(self, layer: LayerPlan) -> tuple[Row, ...]:
        return tuple(self.attention[layer.attention].rows(self._site(reuses=layer.reuses is not None)))

    def _site(self, *, reuses: bool = False, blocks: int = 2) -> Site:
        return Site(self.hidden_size, self.embedding.vocab_size or 0, self.num_hidden_layers, reuses, blocks)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Fields that nobody published, without which parameters, weights and FLOPs are not known. State is."""
        missing = ("vocab_size",) if self.embedding.vocab_size is None else ()
        return missing + tuple(dict.fromkeys(name for part in self.feedforward.values() for name in part.missing))

    def _plan(self, groups: Iterable[LayerGroup]) -> Iterator[LayerPlan]:
        owner: dict[str, int] = {}
        index = 0
        for group in groups:
            for key in group.reuse:
                if key not in group.names:
                    raise ValueError(f"layers: reuse names {key!r}, which is not among the layers of its group")
            once, blocks = list(group.names), cycle(group.blocks)
            for place, name in enumerate(once * group.repeat):
                reuses = group.reuse.get(name)
                if reuses == "previous":
                    if name not in owner:
                        raise ValueError(f"layers: layer {index} reuses the previous {name}, but none stands before it")
                    reuses = owner[name]
                if group.weights_of is not None:
                    yield LayerPlan(group.weights_of + place % len(once), name, next(blocks), reuses, group.replay, again=True)
                    continue
                if reuses is None:
                    owner[name] = index
                yield LayerPlan(index, name, next(blocks), reuses, group.replay)
                index += 1

    @cached_property
    def plan(self) -> list[LayerPlan]:
        """Every layer in order, and every further pass through one."""
        return list(self._plan(self.layers))

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """What a plain decode runs: attention, feed-forward, residual and embedding blocks, in that order."""
        return tuple(self._blocks(self.plan, self.residual)) + tuple(self._embedding_blocks())

    def optional_blocks(self, name: str) -> tuple[Block, ...]:
        """Pieces outside the plain decode: `draft`, or a tower's name. Their pieces are named after it."""
        if name == "draft" and self.draft is not None:
            return tuple(self._draft_blocks(self.draft))
        tower = self.towers[name]
        weight = Weight(name, name, (1, tower.parameters), "vector")
        return (Block(name, "tower", 1, (), (weight,), (), (), held_only=True, part="tower"),)

    @property
    def optional_pieces(self) -> list[str]:
        """What `--include` can add."""
        return [*self.towers, *(["draft"] if self.draft else [])]

    def _blocks(self, plan: list[LayerPlan], residual: Residual) -> Iterator[Block]:
        seats: dict[tuple[str, int | None, int | None, bool], list[int]] = {}
        blocks: dict[tuple[str, int | None, bool], list[int]] = {}
        streams: dict[tuple[int | None, int, bool], list[int]] = {}
        first = {layer.place: layer for layer in plan if not layer.again}
        for layer in plan:
            seats.setdefault((layer.attention, layer.reuses, layer.replay, layer.again), []).append(layer.place)
            blocks.setdefault((layer.feedforward, layer.replay, layer.again), []).append(layer.place)
            streams.setdefault((layer.replay, self._sides(layer), layer.again), []).append(layer.place)
        for (name, reuses, replay, again), places in seats.items():
            label = _again(name if reuses is None else f"{name} (reads layer {reuses})", again)
            site = self._site(reuses=reuses is not None)
            block = self._block(label, self.attention[name], places, site, replay)
            before = self._tensors(first[places[0]]) if again else []
            yield _unstored(block, before)._replace(reuses=reuses, part="attention")
        for (name, replay, again), places in blocks.items():
            block = self._block(_again(_replayed(name, replay), again), self.feedforward[name], places, self._site(), replay)
            yield _unstored(block, block.weights if again else ())._replace(part="feedforward")
        for (replay, sides, again), places in streams.items():
            label = _again(_replayed("residual", replay), again)
            block = self._block(label, residual, places, self._site(blocks=sides), replay)
            yield _unstored(block, block.weights if again else ())._replace(part="residual")

    def _sides(self, layer: LayerPlan) -> int:
        """How many of attention and feed-forward a layer has."""
        return sum(not part.absent for part in (self.attention[layer.attention], self.feedforward[layer.feedforward]))

    def _block(
        self, label: str, part: Attention | FeedForward | Residual, places: list[int], site: Site, replay: int | None
    ) -> Block:
        return Block(
            label,
            kind_of(part),
            len(places),
            tuple(part.rows(site)),
            tuple(part.weights(site)),
            tuple(part.work(site)),
            tuple(part.streams(site)),
            replay,
            places=tuple(places),
            kinds=part.kinds,
        )

    def _embedding_blocks(self) -> Iterator[Block]:
        site = self._site()
        yield Block("model", kind_of(self.residual), 1, (), tuple(self.residual.model_weights(site)), (), ())
        yield Block("embedding", "token", 1, (), tuple(self.embedding.model_weights(site)), (), (), part="embedding")
        for key, part in self.embedding.tables.items():
            rows, weights = tuple(part.rows(site)), tuple(part.model_weights(site))
            yield Block(key, key, 1, rows, weights, (), (), part="table", kinds=part.kinds)
            per_layer = tuple(part.weights(site))
            if per_layer:
                layers = self.num_hidden_layers
                yield Block(key, key, layers, (), per_layer, (), (), places=tuple(range(layers)), part="table")

    def _draft_blocks(self, draft: Draft) -> Iterator[Block]:
        for block in self._blocks(list(self._plan(draft.layers)), draft.residual or self.residual):
            weights = tuple(weight._replace(piece=f"draft:{weight.piece}") for weight in block.weights)
            rows = tuple(row._replace(piece=f"draft:{row.piece}") for row in block.rows)
            yield block._replace(
                label=f"draft {block.label}", rows=rows, weights=weights, held_only=True, part="draft", places=(), replay=None
            )
        extra = tuple(Weight(w.name, f"draft:{w.name}", (w.shape[0], w.shape[1]), copies=w.count) for w in draft.weights)
        yield Block("draft", "draft", 1, (), extra, (), (), held_only=True, part="draft")

    @cached_property
    def stored_by_layer(self) -> dict[str, tuple[list[int], list[Shares]]]:
        """Of each tensor whose layers differ: the layers that have it, in order, and how each stores it."""
        found: dict[str, tuple[list[int], list[Shares]]] = {}
        for key, stored in self.storage.weights.items():
            if isinstance(stored, list):
                blocks = [b for b in self.blocks if any(w.stored and f"{w.piece}.{w.name}" == key for w in b.weights)]
                places = {place for block in blocks for place in block.places or (-1,)}  # -1: outside the layers
                found[key] = sorted(places), list(_layers_stored(stored))
        return found

    def stored(self, block: Block, weight: Weight) -> tuple[tuple[Format, int | Fraction], ...]:
        """In which formats the release stores a tensor of a block, and of how many layers: a layer may be in several, so parts count. A
        layer that runs another's tensor takes the first one's."""
        if f"{weight.piece}.{weight.name}" not in self.stored_by_layer:
            return ((self.weight_format(weight), block.layers),)
        layers, listed = self.stored_by_layer[f"{weight.piece}.{weight.name}"]
        by_layer = dict(zip(layers, listed, strict=True))
        found: dict[Format, Fraction] = {}
        for place in block.places or (-1,):
            for stored, share in by_layer.get(place, listed[0]):
                found[stored] = found.get(stored, Fraction(0)) + share
        return tuple((stored, int(part) if part.denominator == 1 else part) for stored, part in found.items())

    def weight_format(self, weight: Weight) -> Format:
        """The format in which the release stores a tensor; of several, that of its first layer."""
        if weight.use == "table":
            return FORMATS[TABLE_FORMAT]
        if weight.piece in self.towers:
            return FORMATS[self.towers[weight.piece].format]
        declared, piece = self.storage.weights, weight.piece.removeprefix("draft:")
        default = FORMATS[str(declared.get("default", DEFAULT_WEIGHT_FORMAT))]
        if self.draft and piece != weight.piece:
            for extra in self.draft.weights:
                if piece == weight.name == extra.name:
                    return FORMATS[extra.format] if extra.format else default
            if self.draft.format:
                declared = {piece: self.draft.format}
        exact = declared.get(f"{piece}.{weight.name}")
        if exact is not None:
            return FORMATS[exact] if isinstance(exact, str) else next(_layers_stored(exact))[0][0]
        chosen = FORMATS[str(declared[piece])] if piece in declared else default
        if chosen.block is not None and weight.use not in MATRIX_USES:
            return default if default.block is None else FORMATS[DEFAULT_WEIGHT_FORMAT]
        return chosen

    def row_format(self, row: Row) -> Format:
        """The format in which the release or its reference engine keeps a row."""
        return FORMATS[self.storage.state.get(row.name, DEFAULT_STATE_FORMAT[row.role])]


def _unstored(block: Block, before: Iterable[Weight]) -> Block:
    """A further pass through some layers: the weights before it are read and multiplied again, and stored no second time."""
    known = set(before)
    weights = (weight._replace(stored=weight.stored and weight not in known) for weight in block.weights)
    return block._replace(weights=tuple(weights))


def _again(name: str, again: bool) -> str:
    return f"{name} (again)" if again else name


def _replayed(name: str, replay: int | None) -> str:
    return name if replay is None else f"{name} (replayed)"


def _unknown(where: str, what: str, name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    hint = did_you_mean(name, names)
    return f"{where}: no {what} is named {name!r}" + (f"; {hint}" if hint else f"; known: {', '.join(names)}")


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a spec file, for editors."""
    return ModelSpec.model_json_schema()
