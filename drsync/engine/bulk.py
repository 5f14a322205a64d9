"""A bulk link shared by many groups: one stream number per group and direction.

The side that dialed opens streams with an ATTACH or FETCH frame; the other side answers on the same
stream. Frames that arrive together are answered together: `frames_ended` comes once per turn of the loop.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from drsync.engine.rpc import Endpoint
from drsync.model.errors import DrsyncError
from drsync.ports.journal import Buffer
from drsync.wire.frames import Frame, FrameType

STREAMS_MAX = 64  # because an agent holds tens of groups


class StreamHandler(Protocol):
    """One end of a stream."""

    def frame_received(self, frame: Frame) -> None:
        """A frame of this stream. Raises MalformedError to have the link closed."""
        ...

    def frames_ended(self) -> None:
        """All frames that arrived together were delivered: answer now."""
        ...

    def pause(self) -> None:
        """Send nothing until `resume`."""
        ...

    def resume(self) -> None:
        """Send again."""
        ...

    def lost(self, reason: str) -> None:
        """The link is gone."""
        ...


Accept = Callable[["BulkChannel", Frame], StreamHandler | None]
"""A peer opened a stream with this frame; None refuses it."""


class BulkChannel:
    """The streams of one bulk link. Hand its methods to an `Endpoint`, then call `serve`.

    Attributes:
        peer: the other side.
        lost_event: set when the link has ended.
    """

    def __init__(self, peer: str, accept: Accept | None) -> None:
        self.peer = peer
        self.lost_event = asyncio.Event()
        self._accept = accept
        self._endpoint: Endpoint | None = None
        self._streams: dict[int, StreamHandler] = {}
        self._touched: dict[int, StreamHandler] = {}
        self._next = 1
        self._is_paused = False

    @property
    def is_lost(self) -> bool:
        """Whether the link has ended."""
        return self.lost_event.is_set()

    async def serve(self, endpoint: Endpoint) -> DrsyncError:
        """Run the endpoint until its link ends; returns why."""
        self._endpoint = endpoint
        try:
            reason = await endpoint.run()
        finally:
            self.lost_event.set()
            streams, self._streams = self._streams, {}
            for handler in streams.values():
                handler.lost("the bulk link ended")
        return reason

    def open_stream(self, handler: StreamHandler) -> int:
        """A new stream of ours; its number goes into every frame."""
        number = self._next
        self._next += 1
        self._streams[number] = handler
        if self._is_paused:
            handler.pause()
        return number

    def close_stream(self, number: int) -> None:
        """Deliver nothing to that stream any more."""
        self._streams.pop(number, None)

    def send(self, kind: FrameType, stream: int, parts: Sequence[Buffer]) -> None:
        """Send one frame whose body is `parts` joined."""
        if self._endpoint is not None:
            self._endpoint.send(kind, *parts, stream=stream)

    def close(self, reason: str) -> None:
        """End the link."""
        if self._endpoint is not None:
            self._endpoint.close(reason)

    # --- the endpoint's callbacks

    def frame_received(self, frame: Frame) -> None:
        """A frame from type 16 on. Raises MalformedError."""
        handler = self._streams.get(frame.stream) or self._opened(frame)
        if handler is None:
            return
        handler.frame_received(frame)
        if not self._touched:
            asyncio.get_running_loop().call_soon(self._frames_ended)
        self._touched[frame.stream] = handler

    def _frames_ended(self) -> None:
        touched, self._touched = self._touched, {}
        for handler in touched.values():
            handler.frames_ended()

    def _opened(self, frame: Frame) -> StreamHandler | None:
        if self._accept is None or len(self._streams) >= STREAMS_MAX:
            return None
        handler = self._accept(self, frame)
        if handler is not None:
            self._streams[frame.stream] = handler
        return handler

    def paused(self, is_paused: bool) -> None:  # noqa: FBT001  # the endpoint's callback
        """The link asks to stop writing, or to go on."""
        self._is_paused = is_paused
        for handler in list(self._streams.values()):
            if is_paused:
                handler.pause()
            else:
                handler.resume()
