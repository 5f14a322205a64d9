"""The real clock, on a loop that ends its sleeps early."""

import asyncio

import pytest

from drsync.adapters.system.clock import LONG_S, SystemClock


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
