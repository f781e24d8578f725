"""The laws of t: how many slots are held, read or written after t tokens. The only non-linear mathematics of the project.

Every law answers in exact integers, in closed form:

    count(t)    slots after t tokens, the newest included (t >= 0)
    area(t)     count(1) + ... + count(t): what a causal prefill of t tokens reads in all
    written(t)  slots written by tokens 1 ... t together; one decode step at t writes written(t) - written(t - 1)

`text` and `latex` say the law as a formula in t. A picture of each stands in its docstring: one column a token, # a slot held.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from typing import Protocol


class Law(Protocol):
    """What every law of t answers. t is a number of tokens."""

    def count(self, t: int) -> int: ...

    def area(self, t: int) -> int: ...

    def written(self, t: int) -> int: ...

    @property
    def text(self) -> str: ...

    @property
    def latex(self) -> str: ...


class Monotone(Law, Protocol):
    """A law whose count never falls, so that it reaches n at a first token."""

    def reach(self, n: int) -> int | None:
        """The smallest t with count(t) >= n, or None if that never happens."""
        ...


def triangle(t: int) -> int:
    """1 + 2 + ... + t."""
    return t * (t + 1) // 2


@dataclass(frozen=True, slots=True)
class Every:
    """Every token is kept.            t=5: #####"""

    def count(self, t: int) -> int:
        return t

    def area(self, t: int) -> int:
        return triangle(t)

    def written(self, t: int) -> int:
        return t

    def reach(self, n: int) -> int | None:
        return n

    text = property(lambda self: "t")
    latex = property(lambda self: "t")


@dataclass(frozen=True, slots=True)
class EveryNth:
    """One slot for each m tokens, made when the m-th arrives; of the first `after` tokens none.   m=4, t=11: ...#...#...  = 2"""

    m: int
    after: int = 0

    def count(self, t: int) -> int:
        return max(t - self.after, 0) // self.m

    def area(self, t: int) -> int:
        closed, rest = divmod(max(t - self.after, 0), self.m)
        return self.m * triangle(closed - 1) + closed * (rest + 1) if closed else 0

    def written(self, t: int) -> int:
        return self.count(t)

    def reach(self, n: int) -> int | None:
        return n * self.m + self.after if n > 0 else 0

    @property
    def text(self) -> str:
        counted = {0: "t", 1: "(t-1)"}.get(self.after, f"max(t - {self.after:,}, 0)")
        return f"floor({counted}/{self.m:,})" if self.m > 1 else counted

    @property
    def latex(self) -> str:
        counted = {0: "t", 1: "(t-1)"}.get(self.after, rf"\max(t - {self.after}, 0)")
        return rf"\lfloor {counted}/{self.m} \rfloor" if self.m > 1 else counted


@dataclass(frozen=True, slots=True)
class Window:
    """The last `size` tokens, the current one included, and the first `sinks` tokens for ever.   size=3, sinks=1, t=6: #..###"""

    size: int
    sinks: int = 0

    def count(self, t: int) -> int:
        return min(t, self.size + self.sinks)

    def area(self, t: int) -> int:
        full = self.size + self.sinks
        return triangle(min(t, full)) + full * max(t - full, 0)

    def written(self, t: int) -> int:
        return t

    def reach(self, n: int) -> int | None:
        return n if n <= self.size + self.sinks else None

    text = property(lambda self: f"min(t, {self.size + self.sinks:,})")
    latex = property(lambda self: rf"\min(t, {self.size + self.sinks})")


@dataclass(frozen=True, slots=True)
class Chunk:
    """The tokens of the current chunk of `size`; a new chunk starts empty.   size=4, t=6: ....##"""

    size: int

    def count(self, t: int) -> int:
        return (t - 1) % self.size + 1 if t else 0

    def area(self, t: int) -> int:
        full, rest = divmod(t, self.size)
        return full * triangle(self.size) + triangle(rest)

    def written(self, t: int) -> int:
        return t

    cycle = property(lambda self: (self.size, 1))
    text = property(lambda self: f"((t-1) mod {self.size:,} + 1)")
    latex = property(lambda self: rf"((t-1) \bmod {self.size} + 1)")


@dataclass(frozen=True, slots=True)
class Top:
    """The k chosen slots of another law, or all of them while there are fewer.   k=3 of every token, t=6: #..#.#"""

    k: int
    of: Monotone

    def count(self, t: int) -> int:
        return min(self.k, self.of.count(t))

    def area(self, t: int) -> int:
        full_at = self.of.reach(self.k)
        if full_at is None or t < full_at:
            return self.of.area(t)
        before = max(full_at, 1) - 1
        return self.of.area(before) + self.k * (t - before)

    def written(self, t: int) -> int:
        return self.of.written(t)

    def reach(self, n: int) -> int | None:
        return self.of.reach(n) if n <= self.k else None

    text = property(lambda self: f"min({self.k:,}, {self.of.text})")
    latex = property(lambda self: rf"\min({self.k}, {self.of.latex})")


@dataclass(frozen=True, slots=True)
class Each:
    """n slots for each slot of another law: the tokens of its blocks.   n=2 of every second token, t=5: ####."""

    n: int
    of: Monotone

    def count(self, t: int) -> int:
        return self.n * self.of.count(t)

    def area(self, t: int) -> int:
        return self.n * self.of.area(t)

    def written(self, t: int) -> int:
        return self.n * self.of.written(t)

    def reach(self, n: int) -> int | None:
        return self.of.reach(-(-n // self.n))

    text = property(lambda self: f"{self.n:,} x {self.of.text}")
    latex = property(lambda self: rf"{self.n} \cdot {self.of.latex}")


@dataclass(frozen=True, slots=True)
class Sum:
    """The slots of several laws, which have none in common.   One closed block of 4 and the open one, t=11: ....#######"""

    parts: tuple[Law, ...]

    def count(self, t: int) -> int:
        return sum(part.count(t) for part in self.parts)

    def area(self, t: int) -> int:
        return sum(part.area(t) for part in self.parts)

    def written(self, t: int) -> int:
        return sum(part.written(t) for part in self.parts)

    text = property(lambda self: f"({' + '.join(part.text for part in self.parts)})")
    latex = property(lambda self: f"({' + '.join(part.latex for part in self.parts)})")


@dataclass(frozen=True, slots=True)
class From:
    """One law for the first tokens, another from token `start` on.   All, then the newest block of 2; start=5: t=4: ####  t=5: ....#"""

    start: int
    before: Law
    then: Law

    parts = property(lambda self: (self.before, self.then))

    def count(self, t: int) -> int:
        return (self.before if t < self.start else self.then).count(t)

    def area(self, t: int) -> int:
        first = min(t, self.start - 1)
        return self.before.area(first) + self.then.area(t) - self.then.area(first)

    def written(self, t: int) -> int:
        first = min(t, self.start - 1)
        return self.before.written(first) + self.then.written(t) - self.then.written(first)

    text = property(lambda self: f"({self.then.text} [t >= {self.start:,}], {self.before.text} before)")
    latex = property(lambda self: rf"({self.then.latex}\,[t \ge {self.start}] + {self.before.latex}\,[t < {self.start}])")


@dataclass(frozen=True, slots=True)
class Fixed:
    """A fixed number of slots, held from the start and rewritten by every token.   n=1: # for every t"""

    n: int = 1

    def count(self, t: int) -> int:
        return self.n

    def area(self, t: int) -> int:
        return self.n * t

    def written(self, t: int) -> int:
        return self.n * t

    def reach(self, n: int) -> int | None:
        return 0 if n <= self.n else None

    text = property(lambda self: f"{self.n:,}")
    latex = property(lambda self: f"{self.n}")


@dataclass(frozen=True, slots=True)
class Given:
    """n slots that are written with the first token and stay as they are: an encoder's output.   n=3: ### for every t"""

    n: int

    def count(self, t: int) -> int:
        return self.n

    def area(self, t: int) -> int:
        return self.n * t

    def written(self, t: int) -> int:
        return self.n if t else 0

    def reach(self, n: int) -> int | None:
        return 0 if n <= self.n else None

    text = property(lambda self: f"{self.n:,}")
    latex = property(lambda self: f"{self.n}")


@dataclass(frozen=True, slots=True)
class Opening:
    """What the first token alone does, n times: projecting what is given.   n=3: t=1"""

    n: int

    def count(self, t: int) -> int:
        return self.n if t == 1 else 0

    def area(self, t: int) -> int:
        return self.n if t else 0

    def written(self, t: int) -> int:
        return 0

    text = property(lambda self: f"{self.n:,} [t = 1]")
    latex = property(lambda self: rf"{self.n}\,[t = 1]")


@dataclass(frozen=True, slots=True)
class OpenTail:
    """The tokens that wait in a compressor for their block of m to close.   m=4, t=6: ....##"""

    m: int

    def count(self, t: int) -> int:
        return t % self.m

    def area(self, t: int) -> int:
        full, rest = divmod(t, self.m)
        return full * triangle(self.m - 1) + triangle(rest)

    def written(self, t: int) -> int:
        return t

    cycle = property(lambda self: (self.m, 0))
    text = property(lambda self: f"(t mod {self.m:,})")
    latex = property(lambda self: rf"(t \bmod {self.m})")


@dataclass(frozen=True, slots=True)
class LastBlock:
    """The m tokens of the last closed block, which the next block overlaps. They stay where the tail left them.   m=4, t=6: ####.."""

    m: int

    def count(self, t: int) -> int:
        return self.m if t >= self.m else 0

    def area(self, t: int) -> int:
        return self.m * max(t - self.m + 1, 0)

    def written(self, t: int) -> int:
        return 0

    def reach(self, n: int) -> int | None:
        return self.m if n <= self.m else None

    text = property(lambda self: f"{self.m:,} [t >= {self.m:,}]")
    latex = property(lambda self: rf"{self.m}\,[t \ge {self.m}]")


@dataclass(frozen=True, slots=True)
class Closing:
    """What a compressor reads: `rows` slots at the token that closes a block of m, nothing at the others.   m=4, rows=4: t=4, 8, 12 ..."""

    m: int
    rows: int

    def count(self, t: int) -> int:
        return self.rows if t and t % self.m == 0 else 0

    def area(self, t: int) -> int:
        return self.rows * (t // self.m)

    def written(self, t: int) -> int:
        return 0

    text = property(lambda self: f"{self.rows:,} [t mod {self.m:,} = 0]")
    latex = property(lambda self: rf"{self.rows}\,[t \bmod {self.m} = 0]")


EVERY = Every()
ONCE_PER_TOKEN = Fixed(1)
NONE = Fixed(0)


def closed_blocks(k: int, m: int) -> Law:
    """The tokens of the k chosen blocks of m that are closed, and of the open one.   k=1, m=3, t=8: ###...##"""
    return Sum((Each(m, Top(k, EveryNth(m))), OpenTail(m)))


def newest_blocks(k: int, m: int) -> Law:
    """The tokens of k chosen blocks of m, the newest among them, which need not be full.   k=2, m=3, t=8: ###...##"""
    return Sum((Each(m, Top(k - 1, EveryNth(m, after=1))), Chunk(m)))


def cycle(law: Law) -> tuple[int, int] | None:
    """(period, low) of a law whose count falls back: it is least where t mod period = low. None for a law that never falls."""
    found: tuple[int, int] | None = getattr(law, "cycle", None)
    return found


def period(law: Law) -> int:
    """Tokens after which what a law counts repeats itself, beside its growth: 128 for what is read where a block of 128 closes."""
    inner: Law | None = getattr(law, "of", None)
    if inner is not None:
        return period(inner)
    parts: tuple[Law, ...] = getattr(law, "parts", ())
    if parts:
        return lcm(*(period(part) for part in parts))
    length: int = getattr(law, "m", 0) or (cycle(law) or (1, 0))[0]
    return length


def mean_read(law: Law, t: int) -> Fraction:
    """Slots that a token reads in the mean over the last period."""
    start = max(t - period(law), 0)
    return Fraction(law.area(t) - law.area(start), max(t - start, 1))


def mean_written(law: Law, t: int) -> Fraction:
    """Slots that a token writes in the mean over the last period."""
    start = max(t - period(law), 0)
    return Fraction(law.written(t) - law.written(start), max(t - start, 1))


def read_between(law: Law, start: int, end: int) -> int:
    """What tokens start + 1 ... end read in all."""
    return law.area(end) - law.area(start)


def written_between(law: Law, start: int, end: int) -> int:
    """Slots that tokens start + 1 ... end write."""
    return law.written(end) - law.written(start)
