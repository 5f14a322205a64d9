"""A line that is too slow for what is written: what the owner does, in which order, and what it costs."""

import asyncio
import os
from dataclasses import dataclass, replace
from pathlib import Path

from drsync.core.ladder import Rung
from drsync.model.group import GroupSpec, Objectives
from drsync.model.objectives import Standing
from tests.engine.town import GROUP, Town, town

BLOCK = 4096
DEPTH = 4
TARGET_S = 2.0
BOUND_S = 1.25 * TARGET_S  # because this machine is shared, and the world of this test has one thread
MAX_PACE_S = 0.02
LINE = 0.8e6  # bytes/s; a paced client of this depth writes half of it at the least
NOISE = os.urandom(24 << 20)  # more than is written, because what comes again shrinks
TEXT = (b"an order of one thing to one place, paid by card; " * 30_000)[: 1 << 20]


class Client:
    """Keeps some writes in flight, each `pause_s` after an answer, for as long as it is told."""

    def __init__(self, place: Town, content: bytes, pause_s: float) -> None:
        device = place.member("production").device("disk")
        assert device is not None
        self.device, self.content = device, content
        self.number = 0
        self.pause_s = pause_s
        self.is_over = False

    def complete(self, cookies: list[bytes], error: int) -> None:
        assert error == 0
        if not self.is_over:
            asyncio.get_running_loop().call_later(self.pause_s, self.write, len(cookies))

    def resume(self) -> None:
        """It reads nothing."""

    def write(self, count: int) -> None:
        for _ in range(count):
            self.number += 1
            at = self.number * BLOCK % (len(self.content) - BLOCK)
            piece = memoryview(self.content)[at : at + BLOCK]
            self.device.write(self.number % 512 * BLOCK, piece, self.number.to_bytes(8, "big"), fua=False)
        self.device.submit(self)


@dataclass(frozen=True)
class Seen:
    """What an owner showed while its client wrote."""

    lag_s: float
    steps: tuple[Rung, ...]
    paced: int
    paced_mean_s: float
    level: int
    standing: Standing


async def written_to(
    place: Town, content: bytes, seconds: float, stop_at_lag: float = float("inf"), pause_s: float = 0.0
) -> Seen:
    """Write as fast as answers come, over a slow line to the remote center."""
    term = place.member("production").term
    assert term is not None
    await place.until(lambda: term.lag("remote").records == 0)
    place.rates["production", "remote"] = LINE
    client = Client(place, content, pause_s)
    client.write(DEPTH)
    lags, steps, level = [0.0], [Rung.STREAM], 0
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while loop.time() < until and lags[-1] < stop_at_lag:
        await asyncio.sleep(0.02)
        lags.append(term.lag("remote").seconds or 0.0)
        level = max(level, term.attachments["remote"].sender.level)
        step = term.enforcer.verdicts["remote"].rung
        if step is not steps[-1]:
            steps.append(step)
    client.is_over = True
    stats = term.engine.stats
    standing = term.enforcer.verdicts["remote"].state
    place.rates.clear()
    return Seen(max(lags), tuple(steps), stats.paced, stats.paced_s / max(1, stats.paced), level, standing)


def group(max_pace_s: float) -> GroupSpec:
    policy = replace(GROUP.policy, max_pace_s=max_pace_s)
    return replace(GROUP, objectives=Objectives(rpo_s=TARGET_S), policy=policy)


async def test_pacing_is_the_last_step_and_holds_the_target(tmp_path: Path) -> None:
    async with town(tmp_path, group(MAX_PACE_S)) as place:
        seen = await written_to(place, NOISE, 5.0, pause_s=0.008)
        assert seen.steps[:5] == (Rung.STREAM, Rung.LARGER, Rung.HARDER, Rung.QUIET, Rung.PACE)
        assert seen.lag_s < BOUND_S, seen
        assert seen.paced > 0
        assert seen.paced_mean_s <= MAX_PACE_S
        term = place.member("production").term
        assert term is not None
        await place.until(lambda: term.lag("remote").seconds == 0.0)
        await place.until(lambda: term.enforcer.verdicts["remote"].rung is Rung.STREAM)
        assert term.engine.pacer.rate == 0.0
        assert term.engine.held_until is None


async def test_without_pacing_the_same_writes_miss_the_target(tmp_path: Path) -> None:
    async with town(tmp_path, group(0.0)) as place:
        seen = await written_to(place, NOISE, 20.0, stop_at_lag=BOUND_S, pause_s=0.008)
        assert seen.lag_s >= BOUND_S
        assert seen.standing is Standing.OVER
        assert seen.paced == 0


async def test_content_that_shrinks_needs_no_pacing(tmp_path: Path) -> None:
    async with town(tmp_path, group(MAX_PACE_S)) as place:
        seen = await written_to(place, TEXT, 3.0, pause_s=0.004)
        assert seen.level > 0
        assert Rung.PACE not in seen.steps
        assert seen.lag_s < TARGET_S
        assert seen.paced == 0
