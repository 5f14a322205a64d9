"""How fast anything is read in the background: by bytes, and by the time that it takes of the process."""

import pytest

from drsync.engine.background_reading import BUSY_SHARE, DEBT_S, Pace

MIB = 1 << 20


def test_a_moments_debt_is_nothing_and_more_is_waited_for() -> None:
    pace = Pace(MIB, 10.0)
    pace.take(int(DEBT_S * MIB) // 2, 10.0, 10.0)
    assert pace.wait_s(10.0) == 0
    pace.take(MIB, 10.0, 10.0)
    assert pace.wait_s(10.0) == pytest.approx(1 + DEBT_S / 2)
    assert pace.wait_s(12.0) == 0


def test_over_time_no_more_is_read_than_the_rate_allows() -> None:
    pace, now, done = Pace(8 * MIB, 0.0), 0.0, 0
    while now < 10.0:
        pace.take(MIB, now, now + 0.001)
        done += MIB
        now += 0.001 + pace.wait_s(now + 0.001)
    assert done / now == pytest.approx(8 * MIB, rel=0.05)


def test_what_makes_work_leaves_the_process_to_others_most_of_the_time() -> None:
    pace, now, worked = Pace(1 << 40, 0.0), 0.0, 0.0
    while now < 10.0:
        pace.take(MIB, now, now + 0.05)
        worked += 0.05
        now += 0.05 + pace.wait_s(now + 0.05)
    assert worked / now == pytest.approx(BUSY_SHARE, rel=0.05)
