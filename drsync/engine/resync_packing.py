"""Bodies of a resync session on their way to the link: in order, each compressed in a thread or as it is.

Reading, compressing and sending overlap: a few bodies are compressed at once, and whoever brings the next one
waits when there are too many. What shrinks nothing costs a quarter of a millisecond a body, so everything is
tried.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from drsync.ports.clock import Clock
from drsync.ports.journal import Buffer
from drsync.wire.compression import Packer
from drsync.wire.frames import COMPRESSED, FrameType

AHEAD: Final = 3  # bodies, because one is read while two are compressed; each is a mebibyte of memory


@dataclass(slots=True, eq=False)
class Parcel:
    """A body in line.

    Attributes:
        kind: of its frame.
        parts: what to send.
        raw: its bytes before it was compressed.
        granules, redo: what it carries.
        level: to compress it at; 0 sends it as it is.
        flags: of its frame.
        seconds: that compressing took; 0 when nothing was tried.
        is_ready: to be sent as soon as those before it are.
    """

    kind: FrameType
    parts: list[Buffer]
    raw: int
    granules: int = 0
    redo: int = 0
    level: int = 0
    flags: int = 0
    seconds: float = 0.0
    is_ready: bool = True

    @property
    def wire(self) -> int:
        """Bytes as they go out."""
        return sum(map(len, self.parts))


class ParcelQueue:
    """Hands parcels on in the order in which they came.

    Attributes:
        waiting: raw bytes that are not handed on yet.
    """

    def __init__(self, clock: Clock, hand_on: Callable[[Parcel], None]) -> None:
        self.waiting = 0
        self._clock = clock
        self._hand_on = hand_on
        self._parcels: deque[Parcel] = deque()
        self._packers = [Packer() for _ in range(AHEAD)]  # each is for one thread at a time
        self._has_room = asyncio.Event()
        self._is_closed = False

    async def room(self) -> None:
        """Wait until another body may be compressed; returns at once when everything is over."""
        while not self._packers and not self._is_closed:
            self._has_room.clear()
            await self._has_room.wait()

    def add(self, parcel: Parcel) -> None:
        """The next one; for one that is to be compressed there must be room."""
        if self._is_closed:
            return
        self._parcels.append(parcel)
        self.waiting += parcel.raw
        if parcel.level:
            self._pack(parcel)
        self._drain()

    def close(self) -> None:
        """Hand on nothing more."""
        self._is_closed = True
        self._parcels.clear()
        self._has_room.set()

    def _pack(self, parcel: Parcel) -> None:
        packer = self._packers.pop()
        parcel.is_ready = False

        def work() -> tuple[bytes, float]:
            began = self._clock.now()
            return packer.pack(b"".join(parcel.parts), parcel.level), self._clock.now() - began

        def done(future: asyncio.Future[tuple[bytes, float]]) -> None:
            self._packers.append(packer)
            # Without memory for zstd's tables the body goes as it is.
            if not future.cancelled() and future.exception() is None:
                packed, parcel.seconds = future.result()
                if len(packed) < parcel.raw:
                    parcel.parts, parcel.flags = [packed], COMPRESSED
            parcel.is_ready = True
            self._has_room.set()
            self._drain()

        asyncio.get_running_loop().run_in_executor(None, work).add_done_callback(done)

    def _drain(self) -> None:
        while self._parcels and self._parcels[0].is_ready:
            parcel = self._parcels.popleft()
            self.waiting -= parcel.raw
            self._hand_on(parcel)
