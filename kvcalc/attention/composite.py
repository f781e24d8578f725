"""Several kinds of sequence mixing in one layer, side by side or one after the other: each keeps its own state.

Keeps     the rows of every part
Formula   bytes/layer = sum over the parts
Worked    falcon-h1-0.5b, bf16, growth: 36 x 2 x (64 + 64) x 2 = 18,432 bytes
Omits     what its parts omit, and the sum of their outputs in the FLOPs
Assumes   a row, tensor or product whose name stands in two parts is named after its part
Used by   Falcon-H1 (GQA and Mamba-2), Hymba (GQA and Mamba), Zamba2 (Mamba-2 after a block with shared weights)
Source    Falcon-H1, arXiv:2507.22448; Hymba, arXiv:2411.13676; Zamba2, arXiv:2411.15242
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

import kvcalc.attention
from kvcalc.kind import Attention, Kinds, Name, OneOf, Row, Site, Stream, Weight, Work

PARTS = Kinds(kvcalc.attention, Attention, but=("composite", "none"))
Named = TypeVar("Named", Row, Weight, Work, Stream)


class Composite(Attention):
    kind: Literal["composite"]
    parts: dict[Name, Annotated[Attention, OneOf(PARTS)]] = Field(
        min_length=2, description="Any attention kinds, by name, in order"
    )

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(kind for part in self.parts.values() for kind in part.kinds)

    def without(self, site: Site) -> dict[str, dict[str, Any]]:
        plain = {name: part.without(site) for name, part in self.parts.items()}
        as_they_are = {name: part.model_dump() for name, part in self.parts.items()}
        return {
            trick: self._but(parts={name: plain[name].get(trick, fields) for name, fields in as_they_are.items()})
            for trick in dict.fromkeys(trick for found in plain.values() for trick in found)
        }

    def rows(self, site: Site) -> Iterator[Row]:
        for _, row in self._told_apart(lambda part: part.rows(site)):
            yield row

    def weights(self, site: Site) -> Iterator[Weight]:
        for _, weight in self._told_apart(lambda part: part.weights(site)):
            yield weight

    def work(self, site: Site) -> Iterator[Work]:
        shared = self._shared(lambda part: part.rows(site))
        for name, work in self._told_apart(lambda part: part.work(site)):
            yield work._replace(operand=f"{name}_{work.operand}") if work.operand in shared else work

    def streams(self, site: Site) -> Iterator[Stream]:
        for _, stream in self._told_apart(lambda part: part.streams(site)):
            yield stream

    def _told_apart(self, of: Callable[[Attention], Iterable[Named]]) -> Iterator[tuple[str, Named]]:
        """What the parts have, each with its part's name, which stands before a name that several parts have."""
        shared = self._shared(of)
        for name, part in self.parts.items():
            for thing in of(part):
                yield name, thing._replace(name=f"{name}_{thing.name}") if thing.name in shared else thing

    def _shared(self, of: Callable[[Attention], Iterable[Named]]) -> set[str]:
        """The names that several parts have."""
        count = Counter(name for part in self.parts.values() for name in {thing.name for thing in of(part)})
        return {name for name, parts in count.items() if parts > 1}
