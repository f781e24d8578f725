"""The laws of t against enumeration: closed forms are right when they count what a loop counts."""

from hypothesis import given
from hypothesis import strategies as st

from kvcalc.slots import (
    EVERY,
    Chunk,
    Closing,
    Each,
    EveryNth,
    Fixed,
    From,
    Given,
    LastBlock,
    Law,
    Opening,
    OpenTail,
    Sum,
    Top,
    Window,
    closed_blocks,
    mean_read,
    newest_blocks,
    read_between,
    triangle,
    written_between,
)

sizes = st.integers(1, 60)
base = st.one_of(
    st.just(EVERY),
    st.builds(EveryNth, sizes, st.integers(0, 90)),
    st.builds(Window, sizes, st.integers(0, 5)),
    st.builds(Fixed, st.integers(1, 9)),
    st.builds(LastBlock, sizes),
    st.builds(Given, sizes),
)
base = st.one_of(base, st.builds(Each, st.integers(1, 9), base))
simple = st.one_of(
    base,
    st.builds(Top, sizes, base),
    st.builds(Top, sizes, st.builds(Top, sizes, base)),
    st.builds(Chunk, sizes),
    st.builds(OpenTail, sizes),
    st.builds(Closing, sizes, st.integers(1, 9)),
    st.builds(Opening, sizes),
)
laws = st.one_of(
    simple,
    st.builds(Sum, st.tuples(simple, simple)),
    st.builds(From, st.integers(1, 200), simple, simple),
    st.builds(closed_blocks, sizes, sizes),
    st.builds(newest_blocks, sizes, sizes),
)
contexts = st.integers(0, 400)


@given(laws, contexts)
def test_area_is_the_sum_of_counts(law: Law, t: int) -> None:
    assert law.area(t) == sum(law.count(x) for x in range(1, t + 1))


@given(laws, contexts, st.integers(0, 500))
def test_between_two_tokens_is_the_sum_of_the_counts_there(law: Law, start: int, more: int) -> None:
    end = start + more
    assert read_between(law, start, end) == sum(law.count(x) for x in range(start + 1, end + 1))
    assert written_between(law, 0, end) == written_between(law, 0, start) + written_between(law, start, end)


@given(base, contexts, st.integers(1, 80))
def test_reach_is_the_first_token_with_that_many(law: Law, t: int, n: int) -> None:
    first = law.reach(n)  # type: ignore[attr-defined]
    found = next((x for x in range(0, 60 * 80 + 91) if law.count(x) >= n), None)
    assert first == found


def hold(size: int, sinks: int, t: int) -> list[int]:
    """A cache that is told nothing but the rule: keep the first `sinks` tokens and the last `size` others."""
    kept: list[int] = []
    for token in range(t):
        kept.append(token)
        if len(kept) > size + sinks:
            del kept[sinks]
    return kept


@given(sizes, st.integers(0, 5), contexts)
def test_a_window_counts_what_a_cache_would_hold(size: int, sinks: int, t: int) -> None:
    assert Window(size, sinks).count(t) == len(hold(size, sinks, t))


@given(sizes, contexts)
def test_a_compressor_made_of_a_list(m: int, t: int) -> None:
    tail, entries, last_block, read, written = [], 0, 0, 0, 0
    for token in range(t):
        tail.append(token)
        written += 1
        if len(tail) == m:
            entries, last_block, read, tail = entries + 1, m, read + m, []
    assert (OpenTail(m).count(t), EveryNth(m).count(t), LastBlock(m).count(t)) == (len(tail), entries, last_block)
    assert (OpenTail(m).written(t), EveryNth(m).written(t), Closing(m, m).area(t)) == (written, entries, read)


@given(sizes, contexts)
def test_a_chunk_made_of_a_list(size: int, t: int) -> None:
    chunk: list[int] = []
    for token in range(t):
        chunk = [token] if len(chunk) == size else [*chunk, token]
    assert Chunk(size).count(t) == len(chunk)


@given(sizes, sizes, contexts)
def test_chosen_blocks_made_of_lists(k: int, m: int, t: int) -> None:
    tokens = list(range(t))
    blocks = [tokens[i : i + m] for i in range(0, t, m)]
    closed = [block for block in blocks if len(block) == m]
    open_ = [block for block in blocks if len(block) < m]
    assert closed_blocks(k, m).count(t) == sum(map(len, closed[:k] + open_))
    assert newest_blocks(k, m).count(t) == sum(map(len, blocks[-k:]))


@given(sizes, sizes, st.integers(10, 20))
def test_the_mean_over_a_period_does_not_depend_on_where_it_ends(k: int, m: int, more: int) -> None:
    settled = (k + 1) * m
    for law in (closed_blocks(k, m), newest_blocks(k, m)):
        assert mean_read(law, settled + m + more) == mean_read(law, settled + m)


@given(sizes, base, contexts)
def test_top_never_reads_more_than_k_or_than_there_is(k: int, law: Law, t: int) -> None:
    assert Top(k, law).count(t) == min(k, law.count(t))  # type: ignore[arg-type]


@given(laws, st.integers(0, 300))
def test_writes_never_shrink_and_start_at_nothing(law: Law, t: int) -> None:
    assert law.written(0) == 0
    assert law.written(t + 1) >= law.written(t)


def test_seventy_bits_stay_exact() -> None:
    t = 2**40
    assert EVERY.area(t) == t * (t + 1) // 2 == triangle(t)
    assert EVERY.area(t).bit_length() > 64


def test_every_law_says_its_formula() -> None:
    assert Window(512).text == "min(t, 512)"
    assert Top(512, EveryNth(4)).text == "min(512, floor(t/4))"
    assert Top(512, EveryNth(4)).latex == r"\min(512, \lfloor t/4 \rfloor)"
    assert EveryNth(1).text == "t"
    assert EveryNth(16, after=16).text == "floor(max(t - 16, 0)/16)"
    assert closed_blocks(512, 4).text == "(4 x min(512, floor(t/4)) + (t mod 4))"
    assert closed_blocks(512, 4).latex == r"(4 \cdot \min(512, \lfloor t/4 \rfloor) + (t \bmod 4))"
    assert From(9, EVERY, Window(4)).text == "(min(t, 4) [t >= 9], t before)"
    assert From(9, EVERY, Window(4)).latex == r"(\min(t, 4)\,[t \ge 9] + t\,[t < 9])"
