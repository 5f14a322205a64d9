"""Which writes an owner takes: as a table."""

from dataclasses import replace

import pytest

from drsync.core.admission import GATES, TAKEN, Gate, Standing, Why, admit

FINE = Standing()

REASONS = {
    Why.ENDED: replace(FINE, is_ended=True),
    Why.FROZEN: replace(FINE, is_frozen=True),
    Why.JOURNAL_FULL: replace(FINE, is_full=True),
    Why.TARGET_MISSED: replace(FINE, stalls=("remote",)),
}


def test_a_write_of_the_owner_is_taken() -> None:
    assert admit(FINE) == TAKEN


@pytest.mark.parametrize("why", Why)
def test_each_reason_stands_alone(why: Why) -> None:
    verdict = admit(REASONS[why])
    assert (verdict.gate, verdict.reasons) == (GATES[why], (why,))
    assert verdict.gate is not Gate.TAKE


def test_no_reason_hides_another_and_the_strictest_rules() -> None:
    verdict = admit(Standing(is_frozen=True, is_full=True, stalls=("remote",)))
    assert verdict.gate is Gate.LEAVE, "a frozen owner keeps nothing for later: there is no later"
    assert verdict.reasons == (Why.FROZEN, Why.JOURNAL_FULL, Why.TARGET_MISSED)
