"""What an article is made of: neutral blocks, each with a look in Markdown and one on the page.

Text may hold `code`, **bold** and [words](address).
"""

from dataclasses import dataclass, field
from fractions import Fraction

from kvcalc.report.figures import Drawing, Request
from kvcalc.report.table import Table


@dataclass(frozen=True)
class Prose:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Listing:
    """Points, one below the other."""

    points: tuple[str, ...]


@dataclass(frozen=True)
class Figure:
    """One figure of a tile: what, how much, instead of how much, and the factor between them."""

    what: str
    now: str
    before: str
    factor: str
    ratio: Fraction


@dataclass(frozen=True)
class Tile:
    """The figures of one model."""

    head: str
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Tiles:
    """What a technique does to each of its models, at a glance."""

    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Forms:
    """Closed forms of one model: (name, formula), a line each."""

    head: str
    lines: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Sheet:
    """A table; its raw values go to a file of this name."""

    name: str
    table: Table


@dataclass(frozen=True)
class Picture:
    """A figure and its caption; `name` is that of its file."""

    name: str
    drawing: Drawing
    request: Request


@dataclass(frozen=True)
class Correction:
    """A misreading and what the numbers say."""

    claim: str
    seen: tuple[str, ...]
    fact: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Commands:
    """How to make it again."""

    lines: tuple[str, ...]


Block = Prose | Listing | Tiles | Forms | Sheet | Picture | Correction | Commands


@dataclass(frozen=True)
class Part:
    """A heading within a section, and what stands below it. Without a head: what opens the section."""

    head: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Section:
    """A section: where it stands, its title, a line above it."""

    key: str
    title: str
    over: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Article:
    """A title, a line below it, and sections."""

    title: str
    line: str
    opening: tuple[Block, ...]
    sections: tuple[Section, ...] = field(default=())

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Every block in order."""
        return self.opening + tuple(block for section in self.sections for part in section.parts for block in part.blocks)
