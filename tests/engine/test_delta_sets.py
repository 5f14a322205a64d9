"""A line that is slower than the writes: what changed is sent once, whole, and again while it is needed."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from drsync.core.ladder import Rung
from drsync.engine import enforcement, resync_slots
from drsync.engine.term import OwnerTerm
from drsync.engine.views import READ_ONLY
from drsync.model.charter import IntentKind
from drsync.model.group import GroupSpec, Objectives, OnBreach
from drsync.model.operation import OperationState
from tests.engine.town import GROUP, Town, town

BLOCK = 4096
BLOCKS = 128  # 512 KiB, which are written over and over
LINE = 1.0e6  # bytes/s
TARGET_S = 1.0
SETS = 2
NOISE = os.urandom(16 << 20)  # more than is written in a while, because what comes again shrinks


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resync_slots, "JITTER_S", 0.01)
    monkeypatch.setattr(enforcement, "COUNT_S", 0.1)


def group(on_breach: OnBreach = OnBreach.ALERT) -> GroupSpec:
    policy = replace(GROUP.policy, max_pace_s=0.0, on_breach=on_breach, window_s=0.5, freeze_timeout_s=0.0)
    return replace(GROUP, objectives=Objectives(rpo_s=TARGET_S), policy=policy)


class Rewriter:
    """Writes the same blocks over and over, some at a time, as fast as answers and a short pause allow."""

    def __init__(self, place: Town) -> None:
        device = place.member("production").device("disk")
        assert device is not None
        self.device, self.number, self.answered, self.is_over = device, 0, 0, False

    def complete(self, cookies: list[bytes], error: int) -> None:
        assert error == 0
        self.answered += len(cookies)
        if not self.is_over:
            asyncio.get_running_loop().call_later(0.004, self.write, len(cookies))

    def resume(self) -> None:
        """It reads nothing."""

    def write(self, count: int) -> None:
        for _ in range(count):
            self.number += 1
            at = self.number * BLOCK % (len(NOISE) - BLOCK)
            piece = memoryview(NOISE)[at : at + BLOCK]
            self.device.write(self.number % BLOCKS * BLOCK, piece, self.number.to_bytes(8, "big"), fua=False)
        self.device.submit(self)


def term_of(place: Town) -> OwnerTerm:
    term = place.member("production").term
    assert term is not None
    return term


async def content(place: Town, center: str, seq: int) -> dict[str, str]:
    member = place.member(center)
    view = member.views.hold(f"look-{seq}", seq)
    view.may_keep(READ_ONLY)
    await view.build()
    try:
        return await view.hash()
    finally:
        member.views.release(view.id)


async def same_content(place: Town) -> None:
    """Both centers hold the same at the newest point of the remote one."""
    term, remote = term_of(place), place.member("remote").copy
    await place.until(lambda: not term.attachments["remote"].is_lost and bool(remote.points()))
    seq = remote.points()[-1].seq
    assert await content(place, "remote", seq) == await content(place, "production", seq)


async def while_writing(place: Town, is_so: Callable[[], bool]) -> Rewriter:
    """Write over a line that is too slow until something is so."""
    await place.until(lambda: term_of(place).lag("remote").records == 0)
    await place.until(lambda: "remote" in term_of(place).enforcer.verdicts)
    place.rates["production", "remote"] = LINE
    writer = Rewriter(place)
    writer.write(8)
    await place.until(is_so, 40)
    writer.is_over = True
    return writer


async def test_a_line_slower_than_the_writes_gets_what_changed_once(tmp_path: Path) -> None:
    async with town(tmp_path, group()) as place:
        remote = place.member("remote").copy
        points: set[int] = set()  # what the remote center could open while sets were on their way
        redo: list[int] = [0]

        def is_enough() -> bool:
            resyncs = term_of(place).resyncs
            progress = resyncs.progress("remote")
            if progress is not None and not remote.is_switching:
                points.add(remote.points()[-1].seq)
                redo.append(progress.redo_bytes)
            return resyncs.done.get("remote", 0) >= SETS

        await while_writing(place, is_enough)
        term = term_of(place)
        await place.until(lambda: term.lag("remote").seconds == 0.0, 40)
        await place.until(lambda: term.enforcer.verdicts["remote"].rung is Rung.STREAM)
        assert len(points) >= SETS, "its last consistent point moves with every set"
        assert max(redo) < 4 * BLOCK, "a set ends where it began, but for a checkpoint"
        assert place.carried < term.engine.stats.log_bytes * 0.8, "what is written again is sent once"
        await same_content(place)


async def test_without_its_moment_a_set_goes_on_as_any_session(tmp_path: Path) -> None:
    async with town(tmp_path, group()) as place:
        owner = place.member("production")
        taken = 0

        def is_enough() -> bool:
            nonlocal taken
            progress = term_of(place).resyncs.progress("remote")
            if progress is not None and progress.done and owner.views.release("resync-remote"):
                taken += 1
            return taken > 0

        await while_writing(place, is_enough)
        term = term_of(place)
        await place.until(lambda: term.lag("remote").seconds == 0.0, 40)
        await same_content(place)


async def test_writes_wait_by_policy_until_the_lag_is_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with town(tmp_path, group(OnBreach.STALL)) as place:
        await while_writing(place, lambda: bool(term_of(place).engine.gate.words))
        term = term_of(place)
        assert "remote" in term.engine.gate.words
        answered = term.engine.stats.writes
        late = Rewriter(place)
        late.is_over = True
        late.write(8)
        assert (late.answered, term.engine.stats.writes) == (0, answered), "a new write waits"
        device = late.device
        assert device.read_into(0, memoryview(bytearray(BLOCK))) == 0, "reads do not"
        monkeypatch.setattr(term, "_policy", replace(term._policy, freeze_timeout_s=0.4))
        await place.until(lambda: late.answered == 8, 40)
        assert place.member("production").term is term, "who waits by policy is not thrown out"
        assert not term.engine.gate.words
        lines = place.nodes["production"].lines
        assert any(line.startswith("writes_wait") for line in lines)
        await place.until(lambda: any(line.startswith("writes_taken") for line in lines))
        await place.until(lambda: term.lag("remote").seconds == 0.0, 40)
        await same_content(place)


async def test_a_peer_that_is_lost_stops_no_writes(tmp_path: Path) -> None:
    async with town(tmp_path, group(OnBreach.STALL)) as place:
        await while_writing(place, lambda: bool(term_of(place).engine.gate.words))
        late = Rewriter(place)
        late.is_over = True
        late.write(8)
        place.cut_off("remote")
        for link in place.links:
            if "remote" in (link.peer, link._me):
                link.close("the line is cut")
        await place.until(lambda: late.answered == 8, 10)


async def test_an_owner_whose_writes_wait_can_be_switched_over(tmp_path: Path) -> None:
    async with town(tmp_path, group(OnBreach.STALL)) as place:
        await while_writing(place, lambda: bool(term_of(place).engine.gate.words))
        late = Rewriter(place)
        late.is_over = True
        late.write(8)
        outcome = await place.run(IntentKind.SWITCHOVER, "same_city")
        assert outcome.state is OperationState.DONE
        assert late.answered == 0, "who waited is dropped with the connection, and asks the next owner"
        assert place.member("same_city").term is not None
