"""What was put aside becomes durable and is read back beside what comes; what is wrong is told next."""

import threading

import pytest

from drsync.engine.resync_back import ReadingBack
from drsync.ports.stage import FailedStageError, Stage


class Slow:
    """Of a stage, what is needed here: reads when it is told to, and says in which order it was used."""

    def __init__(self, failure: str = "") -> None:
        self.calls: list[str] = []
        self.may_read = threading.Event()
        self._failure = failure

    def sync(self) -> None:
        self.calls.append("sync")

    def verify(self) -> None:
        assert self.may_read.wait(20)
        self.calls.append("read")
        if self._failure:
            raise FailedStageError(self._failure)


async def settled(back: ReadingBack, slow: Slow) -> None:
    stage: Stage = slow  # type: ignore[assignment]  # nothing else of it is used
    await back.settle(stage)


async def test_more_is_taken_while_what_is_durable_is_read_back() -> None:
    back, slow = ReadingBack(), Slow()
    await back.done()
    await settled(back, slow)
    assert slow.calls == ["sync"], "nobody waits for the reading"
    slow.may_read.set()
    await settled(back, slow)
    assert slow.calls[:3] == ["sync", "read", "sync"], "never two at once"
    await back.done()
    assert slow.calls == ["sync", "read", "sync", "read"]


async def test_rot_is_told_to_who_comes_next_and_once() -> None:
    back, slow = ReadingBack(), Slow("volume 0, byte 0 is another one")
    slow.may_read.set()
    await settled(back, slow)
    with pytest.raises(FailedStageError, match="byte 0 is another"):
        await settled(back, slow)
    assert slow.calls == ["sync", "read"]
    await back.done()
