"""Which records belong: checked against full lists of records, for every small story of openings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.core.lineage import (
    append_start,
    belongs,
    end_of,
    is_loss_stated_after,
    mint,
    mint_forced,
    mint_generation,
)
from drsync.model.epoch import ERA_MAX, NEVER, TERM_MAX, Epoch, era, generation, make, term
from drsync.model.position import History, Loss
from tests.core.logs import Story, runs_of, shared, start, stories, written

STORIES = stories(openings=3, records=4)
epochs = st.builds(make, st.integers(0, 3), st.integers(0, 3), st.integers(0, 5))


def next_start(history: History, epoch: Epoch) -> int | None:
    """The tempting rule, and a wrong one: an epoch ends where the next one starts."""
    later = [opening for opening in history if opening.epoch > epoch]
    return later[0].fork_seq if later else None


def test_an_epoch_ends_at_the_lowest_of_all_later_starts() -> None:
    history = (start(1, 0), start(2, 5), start(3, 3), start(4, 4))
    assert [end_of(history, Epoch(n)) for n in (0, 1, 2, 3, 4)] == [0, 3, 3, 4, None]


def test_a_log_that_missed_two_openings_is_cut_by_the_lower_one() -> None:
    """KIP-101: epoch 2 kept ten records of epoch 1, epoch 3 only six; the next start alone would keep ten."""
    history = (start(1, 0), start(2, 10), start(3, 6))
    log = written((1, 10))
    assert next_start(history, Epoch(1)) == 10
    assert belongs(history, runs_of(log), 1) == 6


def test_belongs_is_what_two_full_logs_share() -> None:
    for story in STORIES:
        for _, log in story.member_logs():
            truth = shared(log, story.log)
            for trimmed in range(len(log)):
                assert belongs(story.history, runs_of(log, trimmed + 1), trimmed + 1) == truth, (story, log)


def test_the_short_history_answers_like_the_full_one() -> None:
    for story in STORIES:
        assert len(story.history) <= len(story.starts)
        for _, log in story.member_logs():
            runs = runs_of(log)
            assert belongs(story.history, runs, 1) == belongs(story.starts, runs, 1)


def test_the_short_history_still_knows_who_may_have_lost_something() -> None:
    for story in STORIES:
        for opening in (start(0, 0), *story.starts):
            assert is_loss_stated_after(story.history, opening.epoch) == is_loss_stated_after(
                story.starts, opening.epoch
            )


def test_the_starts_of_a_short_history_only_rise() -> None:
    for story in STORIES:
        forks = [opening.fork_seq for opening in story.history]
        assert forks == sorted(forks)


def test_an_opening_that_contributed_nothing_is_forgotten_unless_it_stated_a_loss() -> None:
    story = Story().opened(1, 0, Loss.NONE, 4).opened(2, 3, Loss.NONE, 0).opened(3, 2, Loss.NONE, 0)
    assert [opening.epoch for opening in story.history] == [1, 3]
    lossy = Story().opened(1, 0, Loss.NONE, 4).opened(2, 3, Loss.FORCED, 0).opened(3, 2, Loss.NONE, 0)
    assert [(opening.epoch, opening.fork_seq) for opening in lossy.history] == [(1, 0), (2, 2), (3, 2)]
    assert lossy.history[1].fork_chain == lossy.history[2].fork_chain


def test_nothing_is_left_of_an_epoch_nobody_opened_for_the_group() -> None:
    assert belongs((start(1, 0),), runs_of(written((1, 2), (7, 2))), 1) == 2
    assert belongs((), runs_of(written((1, 2))), 1) == 0
    assert belongs((start(1, 0),), (), 1) == 0


def test_what_was_trimmed_belongs_until_the_first_run_shows_otherwise() -> None:
    history = (start(1, 0), start(2, 1, Loss.FORCED))
    assert belongs(history, (), 5) == 4
    assert belongs(history, runs_of(written((1, 4)), 4), 4) == 1


def test_an_older_epoch_cannot_be_appended() -> None:
    with pytest.raises(AssertionError, match="rise"):
        append_start((start(2, 0),), start(2, 0))


@given(st.lists(epochs, max_size=4))
def test_every_new_epoch_is_above_all_seen(seen: list[Epoch]) -> None:
    top = max(seen, default=NEVER)
    normal, forced = mint(seen), mint_forced(seen)
    assert top < normal < forced
    assert (generation(normal), era(normal), term(normal)) == (generation(top), era(top), term(top) + 1)
    assert (generation(forced), era(forced), term(forced)) == (generation(top), era(top) + 1, 0)


@given(st.lists(epochs, max_size=4), st.integers(0, 5), st.lists(epochs, min_size=1, max_size=3))
def test_a_new_generation_is_above_all_an_old_store_can_still_mint(
    seen: list[Epoch], newest: int, unheard: list[Epoch]
) -> None:
    first = mint_generation(seen, newest)
    assert generation(first) > newest
    stale = [epoch for epoch in unheard if generation(epoch) <= newest] or [NEVER]
    assert first > max(mint(stale), mint_forced(stale), *seen)


def test_a_full_term_carries_into_the_era_and_a_full_era_is_the_end() -> None:
    assert mint((make(1, 2, TERM_MAX),)) == make(1, 3, 0)
    with pytest.raises(AssertionError, match="65535"):
        mint_forced((make(0, ERA_MAX, 0),))
