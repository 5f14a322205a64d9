"""Dirty sets beside a naive set, and what may never make them clean."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.core import dirty as marks
from drsync.core import extents
from drsync.core.dirty import EMPTY, DirtySet, Marks
from drsync.core.extents import GRANULE, NOTHING, Extents, Run

Naive = set[tuple[int, int]]

runs = st.builds(
    lambda volume, first, length: Run(volume, first, first + length),
    st.integers(0, 2),
    st.integers(0, 30),
    st.integers(0, 6),
)
bags = st.lists(runs, max_size=8)


def naive(some: list[Run] | Extents | None) -> Naive:
    assert some is not None
    return {(run.volume, number) for run in some for number in range(run.first, run.end)}


# --- sets


@given(bags)
def test_a_set_has_one_form(bag: list[Run]) -> None:
    made = extents.normal(bag)
    assert naive(made) == naive(bag)
    assert extents.normal(reversed(made)) == made
    assert extents.size(made) == len(naive(bag))
    for before, after in pairwise(made):
        assert (before.volume, before.end) < (after.volume, after.first)


@given(bags, bags)
def test_sets_add_and_subtract_like_sets(one: list[Run], other: list[Run]) -> None:
    a, b = extents.normal(one), extents.normal(other)
    assert naive(extents.union(a, b)) == naive(a) | naive(b)
    left = extents.subtract(a, b)
    assert naive(left) == naive(a) - naive(b)
    assert left == extents.normal(left)
    assert extents.covers(a, b) == (naive(b) <= naive(a))


@given(bags, st.integers(0, 40))
def test_blocks_are_taken_in_order(bag: list[Run], count: int) -> None:
    made = extents.normal(bag)
    taken, rest = extents.take(made, count)
    assert sorted(naive(made))[:count] == sorted(naive(taken))
    assert naive(taken) | naive(rest) == naive(made)
    assert extents.size(taken) + extents.size(rest) == extents.size(made)


@given(bags, st.integers(0, 8))
def test_coarser_sets_hold_more_never_less(bag: list[Run], runs_max: int) -> None:
    made = extents.normal(bag)
    coarse = extents.coarsened(made, runs_max)
    if coarse is None:
        assert runs_max < len({run.volume for run in made})
        return
    assert len(coarse) <= max(runs_max, 0)
    assert naive(coarse) >= naive(made)
    assert len(made) > runs_max or coarse == made


@given(bags, st.integers(0, 8))
def test_fewer_runs_hold_less_never_more(bag: list[Run], runs_max: int) -> None:
    made = extents.normal(bag)
    small = extents.fewer(made, runs_max)
    assert len(small) == min(runs_max, len(made))
    assert extents.normal(small) == small
    assert naive(small) <= naive(made)
    left_out = extents.subtract(made, small)
    lengths = [run.end - run.first for run in small]
    assert all(run.end - run.first <= min(lengths, default=1 << 60) for run in left_out)


@pytest.mark.parametrize(
    ("offset", "length", "granules"),
    [
        (0, 0, NOTHING),
        (0, 1, (Run(3, 0, 1),)),
        (GRANULE - 1, 1, (Run(3, 0, 1),)),
        (GRANULE - 1, 2, (Run(3, 0, 2),)),
        (GRANULE, GRANULE, (Run(3, 1, 2),)),
    ],
)
def test_bytes_touch_granules(offset: int, length: int, granules: Extents) -> None:
    assert extents.extent(3, offset, length) == granules


# --- marks of a peer

A: Extents = (Run(0, 1, 2),)
B: Extents = (Run(0, 5, 7),)
AB: Extents = (Run(0, 1, 2), Run(0, 5, 7))


def marked(runs: Extents = A, cursor: int = 10, through: int = 20) -> DirtySet:
    return marks.mark(DirtySet(), cursor, through, runs, trimmed=0)


def test_marks_stand_for_the_records_between_cursor_and_through() -> None:
    dirty = marked()
    assert (dirty.runs, dirty.since, dirty.through, dirty.is_clean) == (A, 10, 20, False)
    assert marks.mark(dirty, 10, 20, A, trimmed=20) == dirty
    assert marks.journal_floor(dirty, 10) == 20
    assert marks.journal_floor(dirty, 25) == 25


def test_marks_over_records_that_are_gone_are_unknown() -> None:
    dirty = marks.mark(DirtySet(), 10, 20, A, trimmed=11)
    assert not dirty.is_known
    assert not dirty.is_clean


def test_marks_that_begin_again_after_a_gap_reach_back_to_the_gap_only() -> None:
    dirty = marks.mark_different(marked(), B)
    dirty = marks.mark(dirty, 30, 40, B, trimmed=0)
    assert (dirty.since, dirty.through, dirty.runs) == (30, 40, AB)


def test_marks_do_not_stand_for_what_a_peer_that_went_back_lacks_before_them() -> None:
    dirty = marked(A, cursor=15, through=20)
    assert marks.journal_floor(dirty, 10) == 10
    again = marks.mark(dirty, 10, 20, AB, trimmed=8)
    assert (again.since, again.runs) == (10, AB)
    assert not marks.mark(dirty, 10, 20, B, trimmed=12).is_known


@pytest.mark.parametrize(
    ("fork", "trimmed", "does"),
    [(9, 15, False), (10, 15, True), (20, 20, True), (15, 21, False), (21, 21, True), (50, 40, True)],
)
def test_marks_reach_from_where_they_began(fork: int, trimmed: int, does: bool) -> None:
    assert marked().reaches(fork, trimmed) == does
    assert not marks.unknown().reaches(fork, trimmed)


@pytest.mark.parametrize(
    ("generation", "p1", "left"),
    [(1, 20, NOTHING), (1, 19, A), (0, 20, A), (2, 20, A)],
)
def test_only_the_end_of_the_same_generation_clears(generation: int, p1: int, left: Extents) -> None:
    begun = marks.begin(marked())
    assert begun.generation == 1
    after = marks.ended(begun, generation, p1)
    assert after.runs == left
    assert (after == begun) == bool(left)


def test_what_was_marked_during_a_session_stays() -> None:
    begun = marks.begin(marked())
    more = marks.mark(begun, 10, 30, B, trimmed=20)
    after = marks.ended(more, 1, 25)
    assert (after.runs, after.since, after.through) == (B, 25, 30)


def test_a_session_that_was_dropped_takes_everything_again_under_a_new_generation() -> None:
    again = marks.begin(marks.mark(marks.begin(marked()), 10, 30, B, trimmed=20))
    assert (again.generation, again.older.runs, again.live) == (2, AB, EMPTY)
    assert marks.ended(again, 1, 99) == again
    assert marks.begin(again, generation=7).generation == 8


@pytest.mark.parametrize(("cursor", "is_clean"), [(19, False), (20, True)])
def test_a_position_clears_marks_of_records_up_to_it(cursor: int, is_clean: bool) -> None:
    after = marks.reached(marked(), cursor)
    assert after.is_clean == is_clean
    assert after.since == (20 if is_clean else 10)


def test_a_position_clears_one_buffer_and_not_the_other() -> None:
    both = marks.mark(marks.begin(marked()), 10, 30, B, trimmed=20)
    after = marks.reached(both, 20)
    assert (after.runs, after.since) == (B, 20)
    early = DirtySet(3, 5, Marks(A, 40), Marks(B, 20))
    assert marks.reached(early, 20) == DirtySet(3, 5, Marks(A, 40), EMPTY)


def test_no_position_clears_rot_or_a_fork() -> None:
    dirty = marks.mark_different(marked(), B)
    assert marks.reached(dirty, 1000) == dirty
    assert marks.ended(marks.begin(dirty), 1, 1000).is_clean


def test_what_is_unknown_becomes_known_by_the_end_of_a_session_alone() -> None:
    lost = marks.unknown(4)
    assert (lost.is_clean, lost.is_known, lost.runs) == (False, False, None)
    assert marks.reached(lost, 1000) == lost
    begun = marks.begin(marks.mark(lost, 0, 30, A, trimmed=0))
    assert (begun.generation, begun.runs) == (5, None)
    assert marks.ended(begun, 5, 30).is_clean


def test_a_fork_lowers_the_records_that_marks_stand_for_and_keeps_the_marks() -> None:
    dirty = marks.mark(marks.begin(marked()), 10, 40, B, trimmed=0)
    after = marks.clamped(dirty, 15)
    assert (after.generation, after.since, after.through, after.runs) == (1, 10, 15, AB)
    assert marks.clamped(after, 5).since == 5
    # What is written after the fork under the old numbers is marked anew, and not taken for confirmed.
    assert marks.journal_floor(after, 12) == 15
    assert marks.mark(after, 12, 30, A, trimmed=16).runs is None


def test_too_many_runs_become_fewer_and_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks, "RUNS_MAX", 2)
    dirty = marked((Run(0, 0, 1), Run(0, 2, 3), Run(0, 9, 10)))
    assert dirty.runs == (Run(0, 0, 3), Run(0, 9, 10))
    assert not marked((Run(0, 0, 1), Run(1, 0, 1), Run(2, 0, 1))).is_known


# --- on disk

sets = st.builds(
    DirtySet,
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1),
    st.builds(Marks, st.none() | bags.map(extents.normal), st.integers(0, 2**64 - 1), st.booleans()),
    st.builds(Marks, st.none() | bags.map(extents.normal), st.integers(0, 2**64 - 1), st.booleans()),
)


@given(sets)
def test_what_is_written_is_read_again(dirty: DirtySet) -> None:
    assert marks.decode(marks.encode(dirty), dirty.generation) == dirty


@given(sets, st.data())
def test_what_is_damaged_is_unknown(dirty: DirtySet, data: st.DataObject) -> None:
    raw = bytearray(marks.encode(dirty))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    assert marks.decode(bytes(raw), 3) == marks.unknown(3)
    assert marks.decode(bytes(raw[:at]), 3) == marks.unknown(3)


def test_what_is_lost_or_older_than_the_superblock_is_unknown() -> None:
    assert marks.decode(None, 3) == marks.unknown(3)
    old = marks.encode(marks.begin(marked()))
    assert marks.decode(old, 1).is_known
    assert marks.decode(old, 2) == marks.unknown(2)


def test_another_format_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks, "_FORMAT", 2)
    raw = marks.encode(marked())
    monkeypatch.undo()
    assert marks.decode(raw, 0) == marks.unknown(0)


# --- a peer that comes and goes, beside a naive set


@given(st.lists(st.tuples(st.sampled_from("wtbeac"), st.integers(0, 7)), max_size=60))
def test_journal_and_marks_hold_what_a_peer_lacks(steps: list[tuple[str, int]]) -> None:
    """Write, trim, begin, end, acknowledge, confirm too late: nothing is ever held by neither (INV-11)."""
    dirty, cursor, trimmed, log = DirtySet(), 0, 0, [0]
    ends: list[tuple[int, int]] = []
    for step, number in steps:
        tip = len(log) - 1
        match step:
            case "w":
                log.append(number)
            case "t":
                floor = marks.journal_floor(dirty, cursor)
                through = min(tip, floor + number)
                new = extents.normal(Run(0, log[seq], log[seq] + 1) for seq in range(floor + 1, through + 1))
                dirty = marks.mark(dirty, cursor, through, new, trimmed)
                trimmed = max(trimmed, through)
            case "b":
                dirty = marks.begin(dirty)
                ends.append((dirty.generation, max(tip, dirty.older.through)))
            case "e" if ends and ends[-1][0] == dirty.generation:
                cursor = max(cursor, ends[-1][1])
                dirty = marks.ended(dirty, *ends[-1])
            case "a":
                cursor = min(tip, max(cursor, trimmed) + number) if dirty.is_clean else cursor
                dirty = marks.reached(dirty, cursor)
            case _:
                for generation, p1 in ends[:number]:
                    assert generation == dirty.generation or marks.ended(dirty, generation, p1) == dirty
        lacking = {log[seq] for seq in range(cursor + 1, len(log))}
        in_journal = {log[seq] for seq in range(trimmed + 1, len(log))}
        assert lacking <= in_journal | {number for _, number in naive(dirty.runs)}
