"""When a blocking call may be made from the event loop."""

from drsync.core.brevity import BRIEF_CALLS, BRIEF_S, KNOWN_CALLS, LONG_S, Brevity


def known(seconds: float, calls: int = KNOWN_CALLS) -> Brevity:
    brevity = Brevity()
    for _ in range(calls):
        brevity.took(seconds)
    return brevity


def test_nothing_is_brief_before_it_is_known() -> None:
    assert not Brevity().is_brief
    assert not known(0.0, BRIEF_CALLS - 1).is_brief


def test_a_disk_that_is_quicker_than_a_thread_is_asked_directly() -> None:
    assert known(BRIEF_S / 2).is_brief
    assert not known(BRIEF_S * 2).is_brief


def test_some_calls_that_took_longer_tell_of_a_busy_machine_and_many_of_the_disk() -> None:
    brevity = known(BRIEF_S / 2)
    for _ in range(KNOWN_CALLS - BRIEF_CALLS):
        brevity.took(BRIEF_S * 100)
        assert brevity.is_brief
    brevity.took(BRIEF_S * 100)
    assert not brevity.is_brief


def test_a_disk_that_becomes_quick_again_is_asked_directly_again() -> None:
    brevity = known(BRIEF_S * 100)
    for _ in range(BRIEF_CALLS):
        assert not brevity.is_brief
        brevity.took(0.0)
    assert brevity.is_brief


def test_after_a_long_call_threads_make_the_next_ones_and_each_time_twice_as_many() -> None:
    brevity = known(0.0)
    for calls in (KNOWN_CALLS, 2 * KNOWN_CALLS, 4 * KNOWN_CALLS):
        brevity.took(LONG_S)
        for _ in range(calls):
            assert not brevity.is_brief
            brevity.took(0.0)
        assert brevity.is_brief
