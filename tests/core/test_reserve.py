"""As many files are kept for the next segments as the writing of now uses between two rounds, and no more."""

from drsync.core.reserve import QUIET_ROUNDS_MAX, SPARES_MAX, SPARES_MIN, SPARES_TIGHT, Reserve

PLENTY = 1000


def busy(reserve: Reserve, begun: int, rounds: int = 1, files_max: int = PLENTY) -> int:
    """So many rounds in which so many segments are begun and as many dropped."""
    for _ in range(rounds):
        for _ in range(begun):
            reserve.begun()
        reserve.dropped(begun)
        reserve.round_ended(files_max)
    return reserve.most


def test_a_journal_that_nothing_is_known_of_keeps_the_least() -> None:
    assert Reserve().most == SPARES_MIN


def test_what_a_round_drops_is_kept_where_the_next_one_begins_as_many() -> None:
    assert busy(Reserve(), 12) == 12


def test_a_burst_that_is_over_is_forgotten_by_halves_while_segments_are_dropped() -> None:
    reserve = Reserve()
    busy(reserve, 16)
    assert [busy(reserve, 1) for _ in range(4)] == [8, 4, 2, SPARES_MIN]


def test_segments_that_are_dropped_seldom_and_many_at_once_are_all_wanted() -> None:
    reserve = Reserve()
    for _ in range(QUIET_ROUNDS_MAX - 1):
        for _ in range(3):
            reserve.begun()
        reserve.dropped(0)
        reserve.round_ended(PLENTY)
    reserve.dropped(20)
    assert reserve.most == 3 * (QUIET_ROUNDS_MAX - 1)


def test_where_nothing_is_written_any_more_the_space_is_given_back() -> None:
    reserve = Reserve()
    assert busy(reserve, 16) == 16
    for _ in range(QUIET_ROUNDS_MAX):
        reserve.round_ended(PLENTY)
    assert reserve.most == SPARES_MIN


def test_want_of_space_comes_before_what_is_wanted() -> None:
    reserve = Reserve()
    assert busy(reserve, 16, files_max=5) == 5
    assert busy(reserve, 16, files_max=1) == SPARES_MIN, "one is taken while the next is made"
    assert busy(reserve, 16, files_max=0) == SPARES_TIGHT
    assert busy(reserve, 10 * SPARES_MAX) == SPARES_MAX
