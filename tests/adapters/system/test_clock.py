"""The real clock, on a loop that ends its sleeps early."""

import asyncio
from itertools import pairwise

import pytest

from drsync.adapters.system.clock import LONG_S, SHORT_S, SystemClock


class CoarseTime:
    """Sleeps are rounded to whole milliseconds, and end almost one early, as uvloop's do."""

    def __init__(self) -> None:
        self.now = 1000.0007
        self.sleeps: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += max(round(seconds * 1000) - 0.9, 0.05) / 1000


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> CoarseTime:
    coarse = CoarseTime()
    monkeypatch.setattr(asyncio, "sleep", coarse.sleep)
    monkeypatch.setattr(SystemClock, "now", lambda _: coarse.now)
    return coarse


@pytest.mark.parametrize("seconds", [2 * LONG_S, 0.05, 0.0504, 0.0509, 1.0, 7.77])
async def test_a_long_sleep_wakes_once_and_not_too_early(coarse: CoarseTime, seconds: float) -> None:
    until = coarse.now + seconds
    await SystemClock().sleep_until(until)
    assert len(coarse.sleeps) == 1, "each wake costs an idle process more than what it then does"
    assert until <= coarse.now <= until + 0.0025


async def test_a_short_sleep_is_exact(coarse: CoarseTime) -> None:
    until = coarse.now + 0.003
    await SystemClock().sleep_until(until)
    assert until <= coarse.now <= until + 0.001


@pytest.mark.parametrize("rest_s", [0.0002, 0.0004, 0.0009])
async def test_what_little_remains_is_slept_and_not_turned_through(coarse: CoarseTime, rest_s: float) -> None:
    """A loop that is asked for less than half a millisecond comes back at once, some fifty times."""
    until = coarse.now + rest_s
    await SystemClock().sleep_until(until)
    assert min(coarse.sleeps) >= SHORT_S
    assert until <= coarse.now <= until + 0.001


@pytest.mark.parametrize("period_s", [0.5, 1.0, 0.6])
async def test_loops_of_one_period_wake_together(coarse: CoarseTime, period_s: float) -> None:
    clock, woken = SystemClock(), list[list[float]]()
    for began in (1000.2207, 1000.31, 1000.44):
        coarse.now, turns = began, []
        for _ in range(4):
            await clock.sleep_until(clock.now() + clock.until_round(period_s))
            turns.append(round(coarse.now, 2))
        woken.append(turns)
    assert woken[0] == woken[1] == woken[2]
    assert {round(late - early, 2) for early, late in pairwise(woken[0])} == {period_s}


@pytest.mark.parametrize("early_s", [0.0, 0.0004, 0.001])
async def test_a_timer_that_ends_early_does_not_make_a_round_of_its_own(
    coarse: CoarseTime, early_s: float
) -> None:
    coarse.now = 1001.0 - early_s
    assert SystemClock().until_round(1.0) == pytest.approx(1.0 + early_s)


async def test_slack_lets_a_round_of_half_a_second_come_with_those_of_a_second(coarse: CoarseTime) -> None:
    coarse.now = 1000.1
    clock = SystemClock()
    assert clock.until_round(0.5) == pytest.approx(0.4)
    assert clock.until_round(0.5, slack_s=0.5) == pytest.approx(0.9)
