"""Reading back what was put aside, beside what is put aside meanwhile.

A disk that is asked for both at once does them in little more time than the longer of them takes.
"""

import asyncio
from typing import Final

from drsync.engine.threads import in_thread
from drsync.ports.stage import Stage
from drsync.wire.frames import FrameType

BESIDE: Final = frozenset((FrameType.BLOCKS, FrameType.DIGEST_WANT, FrameType.PAGES_WANT))
"""Frames that may be taken while something is read back: they change nothing that is durable."""


class ReadingBack:
    """What is read back of one stage at a time."""

    def __init__(self) -> None:
        self._reading: asyncio.Future[None] | None = None

    async def settle(self, stage: Stage) -> None:
        """What was put aside so far becomes durable, and is read back beside whatever follows.

        Raises:
            NoSpaceError, FailedStageError: see the port; also for what was read back since the last call.
        """
        await self.done()
        await in_thread(stage.sync)
        self._reading = asyncio.get_running_loop().run_in_executor(None, stage.verify)
        self._reading.add_done_callback(_noted)

    async def done(self) -> None:
        """Nothing is read back any more. Raises FailedStageError: it is not what was put aside."""
        reading = self._reading
        if reading is not None:
            await asyncio.wait([reading])
            self._reading = None
            reading.result()


def _noted(reading: "asyncio.Future[None]") -> None:
    """An error is told to who waits; perhaps the stage is given up before anybody does."""
    if not reading.cancelled():
        reading.exception()
