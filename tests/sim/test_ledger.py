"""What applications were told is remembered, and what contradicts it is noticed."""

import pytest

from drsync.model.epoch import Epoch
from drsync.model.position import EpochStart, History, Loss
from drsync.sim.ledger import Ledger, Write, covering, holds

ONE, TWO, FORCED = Epoch(1), Epoch(2), Epoch(1 << 32)


def start(epoch: Epoch, fork: int, loss: Loss = Loss.NONE) -> EpochStart:
    return EpochStart(epoch, f"{epoch:032x}", fork, bytes(16), loss)


FIRST: History = (start(ONE, 0),)


@pytest.fixture
def ledger() -> Ledger:
    found = Ledger()
    found.opened(ONE, FIRST, "agent 1")
    return found


def write(ledger: Ledger, number: int, seq: int, *, epoch: Epoch = ONE, answered: bool = True) -> Write:
    made = Write(number, number, number % 4, "production", epoch, seq, float(number))
    ledger.appended(made)
    if answered:
        ledger.answered(made, number + 0.5)
    return made


def broken(ledger: Ledger) -> str:
    return ledger.broken.invariant if ledger.broken is not None else ""


def test_an_opening_with_every_acknowledged_write_is_right(ledger: Ledger) -> None:
    write(ledger, 1, 1)
    write(ledger, 2, 2, answered=False)
    ledger.opened(TWO, (*FIRST, start(TWO, 1)), "agent 2")
    assert broken(ledger) == ""


def test_an_opening_without_an_acknowledged_write_is_noticed(ledger: Ledger) -> None:
    write(ledger, 1, 1)
    write(ledger, 2, 2)
    ledger.opened(TWO, (*FIRST, start(TWO, 1)), "agent 2")
    assert broken(ledger) == "INV-01"


def test_an_answer_after_an_opening_that_lacks_the_write_is_noticed(ledger: Ledger) -> None:
    late = write(ledger, 1, 1, answered=False)
    ledger.opened(TWO, (*FIRST, start(TWO, 0)), "agent 2")
    assert broken(ledger) == ""
    ledger.answered(late, 9.0)
    assert broken(ledger) == "INV-01"


def test_a_loss_that_was_accepted_covers_what_is_gone(ledger: Ledger) -> None:
    write(ledger, 1, 1)
    ledger.opened(FORCED, (*FIRST, start(FORCED, 0, Loss.FORCED)), "agent 2")
    assert (broken(ledger), ledger.lost) == ("", 1)


@pytest.mark.parametrize(("is_flushed", "expected"), [(False, ""), (True, "INV-01")])
def test_a_volatile_loss_never_covers_what_was_flushed(
    ledger: Ledger, *, is_flushed: bool, expected: str
) -> None:
    write(ledger, 1, 1)
    if is_flushed:
        ledger.flushed(ONE, 1)
    ledger.opened(TWO, (*FIRST, start(TWO, 0, Loss.VOLATILE)), "agent 2")
    assert broken(ledger) == expected


def test_what_a_reader_saw_may_not_vanish(ledger: Ledger) -> None:
    write(ledger, 1, 1, answered=False)
    ledger.was_read(ONE, 1, 1, 1, "production", 2.0)
    ledger.opened(TWO, (*FIRST, start(TWO, 0)), "agent 2")
    assert broken(ledger) == "INV-01"


def test_a_reader_who_gets_something_else_than_was_committed_is_noticed(ledger: Ledger) -> None:
    write(ledger, 1, 1)
    write(ledger, 5, 2, answered=False)  # the same slot, not committed yet
    ledger.was_read(ONE, 1, 1, 1, "production", 6.0)
    assert broken(ledger) == ""
    ledger.was_read(ONE, 1, 1, 5, "production", 6.0)
    assert broken(ledger) == "INV-14"


@pytest.mark.parametrize(("excused_until", "expected"), [(0.0, "INV-14"), (20.0, "")])
def test_reads_after_somebody_else_took_writes_are_stale_unless_the_clock_stood_still(
    ledger: Ledger, excused_until: float, expected: str
) -> None:
    ledger.opened(TWO, (*FIRST, start(TWO, 0)), "agent 2")
    write(ledger, 1, 1, epoch=TWO)
    ledger.suspended("production", excused_until)
    ledger.was_read(ONE, 0, 1, 0, "production", 9.0)
    assert broken(ledger) == expected


def test_two_processes_never_open_the_same_epoch(ledger: Ledger) -> None:
    ledger.opened(ONE, FIRST, "agent 1")
    assert broken(ledger) == ""
    ledger.opened(ONE, FIRST, "agent 2")
    assert broken(ledger) == "INV-02"


def test_a_write_is_answered_once(ledger: Ledger) -> None:
    ledger.answered(write(ledger, 1, 1), 3.0)
    assert broken(ledger) == "INV-02"


def test_the_highest_record_that_somebody_relies_on_is_that_of_the_history(ledger: Ledger) -> None:
    write(ledger, 1, 1)
    write(ledger, 2, 5)
    forced: History = (*FIRST, start(FORCED, 3, Loss.FORCED))
    ledger.opened(FORCED, forced, "agent 2")
    assert (ledger.top_promised(FIRST), ledger.top_promised(forced)) == (5, 1)
    write(ledger, 3, 4, epoch=FORCED)
    assert ledger.top_promised(forced) == 4
    assert [one.number for one in ledger.promised_after(forced, 1)] == [3]
    assert [one.number for one in ledger.relied_on(3)] == [2, 3]


def test_what_a_history_holds_and_what_it_admits_to_have_lost() -> None:
    forced: History = (*FIRST, start(FORCED, 3, Loss.FORCED))
    assert holds(forced, ONE, 3)
    assert not holds(forced, ONE, 4)
    assert not holds(forced, TWO, 1)
    assert covering(forced, ONE, 4) == {Loss.FORCED}
    assert covering(forced, ONE, 3) == set()


def test_a_loss_that_was_stated_before_the_write_was_last_held_covers_nothing(ledger: Ledger) -> None:
    write(ledger, 1, 1)
    write(ledger, 2, 2)
    ledger.opened(FORCED, (*FIRST, start(FORCED, 2, Loss.FORCED)), "agent 2")
    later = Epoch(FORCED + 1)
    ledger.opened(later, (*FIRST, start(FORCED, 1, Loss.FORCED), start(later, 1)), "agent 3")
    assert broken(ledger) == "INV-01"


def test_a_read_below_what_was_acknowledged_is_noticed(ledger: Ledger) -> None:
    write(ledger, 1, 1)
    write(ledger, 2, 2)
    ledger.was_read(ONE, 1, 3, 0, "production", 9.0)
    assert broken(ledger) == "INV-14"
