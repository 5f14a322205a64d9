"""When somebody waits awake for what comes next."""

from hypothesis import given
from hypothesis import strategies as st

from drsync.core.busy_poll import LONE_BYTES, RESTS_MAX, BusyPoll


def tries(pace: BusyPoll, turns: int, *, is_rewarded: bool) -> int:
    """How often it is waited awake in so many turns."""
    tried = 0
    for _ in range(turns):
        if pace.is_due(100):
            tried += 1
            pace.ended(is_rewarded=is_rewarded)
    return tried


def test_who_always_answers_at_once_is_always_waited_for() -> None:
    assert tries(BusyPoll(), 1000, is_rewarded=True) == 1000


def test_who_never_does_costs_next_to_nothing() -> None:
    pace = BusyPoll()
    tries(pace, 2 * RESTS_MAX, is_rewarded=False)
    assert tries(pace, 10 * (RESTS_MAX + 1), is_rewarded=False) == 10


def test_who_gets_faster_is_waited_for_again_at_the_first_success() -> None:
    pace = BusyPoll()
    tries(pace, 4 * RESTS_MAX, is_rewarded=False)
    while not pace.is_due(100):
        pass
    pace.ended(is_rewarded=True)
    assert tries(pace, 100, is_rewarded=True) == 100


def test_who_has_much_in_flight_is_not_waited_for_and_nothing_is_learned_of_it() -> None:
    pace = BusyPoll()
    pace.ended(is_rewarded=False)
    assert not pace.is_due(LONE_BYTES + 1)
    assert not pace.is_due(LONE_BYTES), "the one rest that is due"
    assert pace.is_due(LONE_BYTES)


@given(st.lists(st.booleans(), max_size=300))
def test_a_rest_is_never_longer_than_its_bound(rewards: list[bool]) -> None:
    pace = BusyPoll()
    for is_rewarded in rewards:
        rests = 0
        while not pace.is_due(1):
            rests += 1
        assert rests <= RESTS_MAX
        pace.ended(is_rewarded=is_rewarded)
