"""Generations of trees: what two copies share, however often ownership moved."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.core.file_lineage import STARTS_MAX, Base, base, common, follow, holds, lag_s
from drsync.model.epoch import NEVER, Epoch
from drsync.model.fileset import BEFORE_ALL, Generation, GenerationStart

E1, E2, E3 = Epoch(1), Epoch(2), Epoch(3)


def lineage(*starts: tuple[int, int]) -> tuple[GenerationStart, ...]:
    return tuple(GenerationStart(Epoch(epoch), after) for epoch, after in starts)


def at(epoch: int, number: int) -> Generation:
    return Generation(Epoch(epoch), number)


LINE = lineage((1, 0), (2, 5), (3, 8))
TIP = at(3, 11)


@pytest.mark.parametrize(
    ("asked", "is_held"),
    [
        (at(1, 1), True),
        (at(1, 5), True),
        (at(1, 6), False),  # the old owner went on after it had lost the epoch
        (at(2, 5), False),  # never cut
        (at(2, 8), True),
        (at(3, 11), True),
        (at(3, 12), False),
        (at(4, 9), False),
        (BEFORE_ALL, False),
    ],
)
def test_a_generation_is_on_the_lineage_only_within_its_epoch(asked: Generation, is_held: bool) -> None:
    assert holds(LINE, TIP, asked) is is_held
    assert base(LINE, TIP, asked) == (Base(asked.number, is_full=False) if is_held else Base(0, is_full=True))


def test_a_copy_is_sent_everything_if_it_asks_or_tombstones_are_forgotten() -> None:
    assert base(LINE, TIP, at(2, 8), is_full=True) == Base(0, is_full=True)
    assert base(LINE, TIP, at(2, 8), horizon=9) == Base(0, is_full=True)
    assert base(LINE, TIP, at(2, 8), horizon=8) == Base(8, is_full=False)


def test_an_epoch_ends_at_the_lowest_later_start() -> None:
    assert not holds(lineage((1, 0), (2, 9), (3, 4)), at(3, 6), at(1, 5))


def test_following_adds_an_epoch_once_and_forgets_the_oldest() -> None:
    one = follow((), E1, 0)
    assert follow(one, E1, 7) == one
    assert follow(one, E2, 7) == lineage((1, 0), (2, 7))
    long = lineage(*((n, n) for n in range(STARTS_MAX)))
    assert len(follow(long, Epoch(STARTS_MAX), STARTS_MAX)) == STARTS_MAX


@pytest.mark.parametrize(
    ("held", "own", "number"),
    [
        (at(2, 7), (), 7),
        (at(1, 9), (), 5),  # it went on alone after 5
        (at(2, 9), lineage((1, 0), (2, 5)), 8),
        (at(4, 9), lineage((1, 0), (2, 5), (4, 7)), 7),  # another center opened there
        (at(4, 9), (), 0),
        (BEFORE_ALL, (), 0),
    ],
)
def test_two_trees_share_what_both_went_through(
    held: Generation, own: tuple[GenerationStart, ...], number: int
) -> None:
    assert common(LINE, held, own) == number


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(0, 5), st.integers(0, 60))
def test_whoever_follows_shares_all_that_it_holds(steps: list[int], ahead: int, asked: int) -> None:
    """A copy that only ever followed is on the lineage, and is sent what is newer than what it has."""
    starts, number = [], 0
    for epoch, step in enumerate(steps, start=1):
        starts.append(GenerationStart(Epoch(epoch), number))
        number += step
    tip = Generation(Epoch(len(steps)), number + ahead)
    through = [
        Generation(start.epoch, n)
        for start, after in zip(starts, [*(s.after for s in starts[1:]), tip.number], strict=True)
        for n in range(start.after + 1, after + 1)
    ]
    assert all(holds(starts, tip, held) for held in through)
    assert all(common(starts, held, starts) == held.number for held in through)
    for epoch in range(len(steps) + 2):
        held = Generation(Epoch(epoch), asked)
        assert holds(starts, tip, held) == (held in through)


def test_lag_is_the_age_of_the_oldest_cut_that_is_missing() -> None:
    cuts = [(at(3, 9), 10.0), (at(3, 10), 11.0), (at(3, 11), 12.0)]
    assert lag_s(cuts, at(3, 11), 20.0) == 0.0
    assert lag_s(cuts, at(3, 9), 20.0) == 9.0
    assert lag_s(cuts, at(2, 11), 20.0) == 10.0
    assert lag_s(cuts, Generation(NEVER, 0), 5.0) == 0.0  # a clock that has just started
    assert lag_s([], BEFORE_ALL, 20.0) == 0.0
