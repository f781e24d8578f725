"""The contract of a part of a model, and the registry that discovers kinds.

A part is one file in attention/, feedforward/, router/, residual/ or embedding/: a frozen schema whose fields are named as in
config.json, and three questions it answers about itself, for one layer:

    rows(site)     what is kept between steps: elements of a slot, how many slots, how many a new token reads
    weights(site)  every tensor, with its shape and how a step uses it
    work(site)     the products that no weight explains: scores, value mixes, recurrences

Nothing here multiplies by layers, batch or bytes: the ledger does.
"""

import importlib
import pkgutil
import sys
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError, core_schema

from kvcalc.slots import EVERY, Law

Role = Literal["kv", "index", "recurrent", "conv", "buffer"]
Use = Literal["matmul", "conv", "vector", "lookup", "table"]
Uneven = Literal["refuse", "repeat", "pad"]

Width = Annotated[int, Field(gt=0, le=1 << 20)]
Count = Annotated[int, Field(gt=0, le=1 << 16)]
Taps = Annotated[int, Field(gt=1, le=1 << 16)]
"""Taps of a convolution, the current token's included."""
TableRows = Annotated[int, Field(gt=0, le=1 << 36)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=80)]
Tokens = Annotated[int, Field(gt=0, le=1 << 40)]


class Site(NamedTuple):
    """Where a part stands: what it may know of the model around it."""

    hidden_size: int
    vocab_size: int
    num_hidden_layers: int
    reuses: bool = False
    """This layer reads the rows of another layer and keeps none of the reusable ones."""
    blocks: int = 2
    """How many of attention and feed-forward this layer has."""


class Row(NamedTuple):
    """State kept between steps by one layer, for one sequence.

    Args:
        role: what it is for, which decides the format it is kept in: kv (keys, values, latents), index (keys of an indexer), recurrent
            (a matrix or average rewritten by every token), conv (the last inputs of a convolution or shift), buffer (tokens that wait in
            a compressor).
        elements: numbers in one slot.
        held: law of the slots that exist (in this layer, or in the layer it reuses).
        read: law of the slots that one decode step reads.
        owned: False if the slots stand in another layer: nothing is kept or written here, and all is read.
        reusable: True if another layer may read this row instead of keeping its own.
        piece: the piece of the model that pays for it.
        split: equal parts into which tensor parallelism may cut a slot (KV heads); beyond them each part is repeated. 1: a copy on
            every device.
    """

    name: str
    role: Role
    elements: int
    held: Law
    read: Law
    owned: bool = True
    reusable: bool = False
    piece: str = "attention"
    split: int = 1


class Weight(NamedTuple):
    """One tensor (or `copies` equal ones) of one layer.

    Args:
        shape: (rows, columns); a vector is (1, n). Columns are the dimension that runs through memory.
        use: matmul: read once per step, 2 FLOPs per element and token; conv: the same, but never re-quantised; vector: read, no
            product counted; lookup: a table of which `chosen` rows are read per token; table: the same for integers that are no
            parameters (bytes only).
        chosen: of `copies` equal tensors, those one token uses (experts); for a lookup, the rows one token reads. None: all.
        runs: law whose `written` says how often it is applied in t tokens.
        last: in a prefill, only the last so many tokens run it (1 for the head); None: as its layer does.
        every_token: in a prefill all tokens run it, whatever its layer does (the producer of another half's KV).
        buffer: True if the reference implementation registers it as a buffer: bytes, not parameters.
        split: equal parts into which tensor parallelism may cut it (heads, the width of a block). 1: a copy on every device.
        uneven: what happens where the devices do not divide the parts. refuse: such a plan cannot be; repeat: each part may stand on
            several devices (KV heads); pad: the last device's part is filled up (vocabulary).
        experts: routed experts that `copies` stands for, which expert parallelism deals out; 0: no experts.
        stored: False if it is a tensor of another layer, run again: read and multiplied, and stored there.
    """

    name: str
    piece: str
    shape: tuple[int, int]
    use: Use = "matmul"
    copies: int = 1
    chosen: int | None = None
    runs: Law = EVERY
    last: int | None = None
    every_token: bool = False
    buffer: bool = False
    split: int = 1
    uneven: Uneven = "refuse"
    experts: int = 0
    stored: bool = True


class Work(NamedTuple):
    """FLOPs of one layer and sequence that no weight explains: `flops` for each slot that `read` counts.

    Args:
        sort: score, mix and indexer make `attention_flops`; other (recurrences, residual mixing) does not.
        prefill_flops: where a prefill computes another form (MLA expands its latent); None: the same.
        operand: the row whose format decides the arithmetic (index keys); None: 16 bits.
        split: equal parts into which tensor parallelism cuts it (heads). 1: every device does all of it.
    """

    name: str
    piece: str
    flops: int
    read: Law
    sort: Literal["score", "mix", "indexer", "other"]
    prefill_flops: int | None = None
    operand: str | None = None
    split: int = 1


class Stream(NamedTuple):
    """Traffic of activations that a step cannot keep on the chip: elements read and written for each token and layer."""

    name: str
    piece: str
    read_elements: int
    written_elements: int


class Record(BaseModel):
    """A frozen, strict piece of a spec. Unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


class Part(Record):
    """A record that answers for one piece of a model."""

    @property
    def absent(self) -> bool:
        """Nothing stands here: the layer has no such block, nor the norm before it."""
        return False

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that it consists of: its own, or those of its parts."""
        return (kind_of(self),)

    def rows(self, site: Site) -> Iterator[Row]:
        """State rows of one layer."""
        yield from ()

    def weights(self, site: Site) -> Iterator[Weight]:
        """Tensors of one layer."""
        yield from ()

    def work(self, site: Site) -> Iterator[Work]:
        """Products of one layer that no weight explains."""
        yield from ()

    def streams(self, site: Site) -> Iterator[Stream]:
        """Activation traffic of one layer beyond a plain residual's."""
        yield from ()


class Attention(Part):
    """A kind of sequence mixing."""

    def without(self, site: Site) -> dict[str, dict[str, Any]]:
        """The tricks this layer uses, each with the fields of the same layer without it (`kind` and all), as a spec would say them.

        The names are those of `kvcalc.whatif.MEANINGS`. Only that one trick goes: widths, query heads and the rest stay as they are. A
        trick that can go only after another (MLA's latent, while an indexer chooses among its rows) is named by the layer that the
        other leaves.
        """
        return {}

    def _but(self, **changes: Any) -> dict[str, Any]:
        """The fields of this part with some changed."""
        return self.model_dump() | changes


class FeedForward(Part):
    """A kind of feed-forward block."""

    @property
    def missing(self) -> tuple[str, ...]:
        """Fields that nobody published, without which its weights are not known."""
        return ()


class Router(Part):
    """What chooses the experts of a token."""

    def routing(self, site: Site, num_experts: int, num_experts_per_tok: int) -> Iterator[Weight]:
        """Tensors of the router of one layer."""
        yield from ()


class Residual(Part):
    """What carries the stream from layer to layer, its norms included."""

    @property
    def streams_kept(self) -> int:
        """Vectors of hidden_size that one token hands from layer to layer."""
        return 1

    def model_weights(self, site: Site) -> Iterator[Weight]:
        """Tensors that stand once in the model, not once per layer."""
        yield from ()


class EmbeddingPart(Part):
    """A table beside the token embedding; its file name is its key in the spec's `embedding`."""

    def model_weights(self, site: Site) -> Iterator[Weight]:
        """Tensors that stand once in the model."""
        yield from ()


def vector(
    name: str, piece: str, width: int, copies: int = 1, *, buffer: bool = False, split: int = 1, uneven: Uneven = "refuse"
) -> Weight:
    """A norm, a bias, a scale: read with the layer, no product counted."""
    return Weight(name, piece, (1, width), "vector", copies=copies, buffer=buffer, split=split, uneven=uneven)


def kind_of(part: Part) -> str:
    """The name under which a spec asks for this kind: the name of its file."""
    return type(part).__module__.rpartition(".")[2]


def documentation(cls: type[Part]) -> str:
    """The docstring of the file that defines a kind: Keeps, Formula, Worked, Omits, Assumes, Used by, Source."""
    return sys.modules[cls.__module__].__doc__ or ""


def summary(cls: type[Part]) -> str:
    """Its first line."""
    return documentation(cls).split("\n")[0]


T = TypeVar("T", bound=Part)


class Kinds(Mapping[str, type[T]]):
    """The kinds of one package, but some: a file is a kind, its name the kind's. A file is imported when its kind is asked for."""

    def __init__(self, package: ModuleType, base: type[T], *, but: tuple[str, ...] = ()) -> None:
        self.package, self.base = package, base
        self.names = tuple(info.name for info in pkgutil.iter_modules(package.__path__) if info.name not in but)

    def __getitem__(self, name: str) -> type[T]:
        if name not in self.names:
            raise KeyError(name)
        module = importlib.import_module(f"{self.package.__name__}.{name}")
        return next(
            item
            for item in vars(module).values()
            if isinstance(item, type) and issubclass(item, self.base) and item.__module__ == module.__name__
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


class OneOf:
    """Annotation of a field that takes any kind of a package, told apart by its `kind`; or, with a name, that kind alone."""

    def __init__(self, kinds: Kinds[Any], only: str | None = None) -> None:
        self.kinds, self.only = kinds, only

    def validate(self, value: Any) -> Any:
        """The part that a mapping describes; its errors keep their places."""
        if isinstance(value, self.kinds.base):
            return value
        name = self.only or (value.get("kind") if isinstance(value, dict) else None)
        if name is None:
            raise PydanticCustomError("union_tag_not_found", "missing: kind")
        if name not in self.kinds:
            raise PydanticCustomError("union_tag_invalid", "unknown kind", {"tag": str(name), "known": list(self.kinds)})
        return self.kinds[name].model_validate(value)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self.validate)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        if self.only is not None:
            return self._described(self.kinds[self.only], handler)
        return {"oneOf": [self._described(cls, handler) for cls in self.kinds.values()]}

    @staticmethod
    def _described(cls: type[Part], handler: Any) -> dict[str, Any]:
        cls.model_rebuild()
        described: dict[str, Any] = handler(cls.__pydantic_core_schema__)
        return described
