"""Foreseeing flushes."""

from drsync.core.flush_habit import RUN_MAX, FlushHabit


def history(words: str) -> FlushHabit:
    """``w`` is a batch, ``f`` a flush."""
    habit = FlushHabit()
    for word in words:
        if word == "w":
            habit.wrote()
        else:
            habit.flushed()
    return habit


def test_nothing_is_expected_of_who_never_flushed_or_did_once() -> None:
    assert not history("www").wrote()
    assert not history("wf").wrote()


def test_who_flushes_after_each_batch_will_do_so_again() -> None:
    assert history("wfwf").wrote()


def test_a_run_of_batches_ends_where_the_last_one_did() -> None:
    habit = history("wwfwwf")
    assert not habit.wrote()
    assert habit.wrote()


def test_flushes_without_batches_say_nothing() -> None:
    assert not history("ffff").wrote()
    assert history("wfffwf").wrote()


def test_who_writes_on_and_on_is_not_expected_to_flush_any_more() -> None:
    habit = history("wfwf" + "w" * RUN_MAX)
    assert not habit.wrote()
    habit.flushed()
    assert not habit.wrote()
