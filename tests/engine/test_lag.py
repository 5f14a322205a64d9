"""How far a peer is behind is never told as less than it is."""

import pytest

from drsync.engine.lag import Lag, LagLedger


def test_the_age_is_that_of_the_oldest_record_that_is_missing() -> None:
    ledger = LagLedger(10, 1.0)
    ledger.note(11, 100, 1.0)
    ledger.note(15, 500, 2.0)
    ledger.note(20, 900, 3.0)

    assert ledger.lag(20, 20, 900, 9.0) == Lag(0, 0, 0.0)
    assert ledger.lag(15, 20, 900, 9.0) == Lag(5, 400, 7.0)
    assert ledger.lag(12, 20, 900, 9.0) == Lag(8, 800, 8.0)


def test_a_peer_that_lacks_records_of_an_owner_before_has_an_unknown_age() -> None:
    ledger = LagLedger(10, 1.0)
    ledger.note(11, 100, 1.0)

    assert ledger.lag(9, 11, 100, 1.5).seconds is None
    assert ledger.lag(10, 11, 100, 1.5).seconds == 0.5


def test_what_was_written_before_the_first_note_is_as_old_as_the_term() -> None:
    ledger = LagLedger(10, 5.0)
    assert ledger.lag(10, 12, 200, 5.1).seconds == pytest.approx(0.1)
    ledger.note(12, 200, 5.2)
    assert ledger.lag(10, 12, 200, 6.0) == Lag(2, 200, 1.0)
