"""A bulk link shared by many groups: one stream number per group and direction.

The side that dialed opens streams with an ATTACH or FETCH frame; the other side answers on the same
stream. Frames that arrive together are answered together. A malformed frame closes the link: nothing after it
can be trusted.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from drsync.model.errors import MalformedError
from drsync.ports.journal import Buffer
from drsync.ports.transport import Link
from drsync.wire.frames import Decoder, Frame, FrameType, encode_parts

STREAMS_MAX = 64  # because an agent holds tens of groups
SIGN_S = 3.0  # because SSH asks after 5 s of silence whether somebody is there, and its question queues up


class StreamHandler(Protocol):
    """One end of a stream."""

    def frame_received(self, frame: Frame) -> None:
        """A frame of this stream. Raises MalformedError to have the link closed."""
        ...

    def frames_ended(self) -> None:
        """All frames that arrived together were delivered: answer now."""
        ...

    def still_arriving(self) -> None:
        """Bytes come, though perhaps no whole frame of this stream for long: every `SIGN_S` at most."""
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


class Listener:
    """A `StreamHandler` that sends nothing after its question, as far as it is the same for all of them."""

    def frames_ended(self) -> None:
        """See StreamHandler."""

    def still_arriving(self) -> None:
        """See StreamHandler."""

    def pause(self) -> None:
        """See StreamHandler."""

    def resume(self) -> None:
        """See StreamHandler."""


Accept = Callable[["BulkChannel", Frame], StreamHandler | None]
"""A peer opened a stream with this frame; None refuses it."""


OnMalformed = Callable[[str, MalformedError], None]
"""Called with the peer's name when it broke a format; its link is closed."""


class BulkChannel:
    """The streams of one bulk link; its LinkHandler.

    A bulk link says no HELLO: the peer is known by its key, and an ATTACH names a group by its random id.
    Compressed frames are read on all of them; who may be sent some has said so when it was asked to follow.

    Attributes:
        peer: the other side.
        lost_event: set when the link has ended.
        on_lost: told why it has ended, after its streams were.
    """

    def __init__(self, link: Link, accept: Accept | None, on_malformed: OnMalformed) -> None:
        self.peer = link.peer
        self.lost_event = asyncio.Event()
        self.on_lost: Callable[[str], None] = _ignore
        self._link = link
        self._accept = accept
        self._on_malformed = on_malformed
        self._decoder = Decoder(may_compress=True)
        self._streams: dict[int, StreamHandler] = {}
        self._touched: dict[int, StreamHandler] = {}  # those whose frames are not answered yet
        self._next = 1
        self._is_paused = False
        self._sign_at = 0.0
        link.set_handler(self)

    @property
    def is_lost(self) -> bool:
        """Whether the link has ended."""
        return self.lost_event.is_set()

    @property
    def stream_count(self) -> int:
        """Streams that are open."""
        return len(self._streams)

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

    def send(self, kind: FrameType, stream: int, parts: Sequence[Buffer], flags: int = 0) -> None:
        """Send one frame whose body is `parts` joined."""
        self._link.write(encode_parts(kind, parts, stream=stream, flags=flags))

    def close(self, reason: str) -> None:
        """End the link."""
        self._link.close(reason)

    # --- LinkHandler

    def data_received(self, data: bytes | memoryview) -> None:
        """See LinkHandler."""
        touched = self._touched
        was_untouched = not touched
        try:
            for frame in self._decoder.feed(data):
                handler = self._streams.get(frame.stream) or self._opened(frame)
                if handler is not None:
                    handler.frame_received(frame)
                    touched[frame.stream] = handler
        except MalformedError as error:
            touched.clear()
            self._on_malformed(self.peer, error)
            self._link.close(f"malformed: {error}")
            return
        now = asyncio.get_running_loop().time()
        if now >= self._sign_at:
            self._sign_at = now + SIGN_S
            for handler in list(self._streams.values()):
                handler.still_arriving()
        if touched and was_untouched:
            self._link.soon(self._end_frames)  # because SSH hands over what one read brought in many pieces

    def _end_frames(self) -> None:
        touched, self._touched = self._touched, {}
        for handler in touched.values():
            handler.frames_ended()

    def _opened(self, frame: Frame) -> StreamHandler | None:
        if self._accept is None or len(self._streams) >= STREAMS_MAX:
            return None
        handler = self._accept(self, frame)
        if handler is not None:
            self._streams[frame.stream] = handler
            if self._is_paused:
                handler.pause()
        return handler

    def pause_writing(self) -> None:
        """See LinkHandler."""
        self._is_paused = True
        for handler in list(self._streams.values()):
            handler.pause()

    def resume_writing(self) -> None:
        """See LinkHandler."""
        self._is_paused = False
        for handler in list(self._streams.values()):
            handler.resume()

    def connection_lost(self, reason: str) -> None:
        """See LinkHandler."""
        self.lost_event.set()
        self._touched.clear()
        streams, self._streams = self._streams, {}
        for handler in streams.values():
            handler.lost(reason)
        self.on_lost(reason)


def _ignore(_reason: str) -> None:
    """Nobody listens."""
