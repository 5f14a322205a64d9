"""The target's end of a session's stream: frames wait here in order until the target has time for them."""

from collections import deque
from collections.abc import Callable
from typing import Final

from drsync.engine.bulk import BulkChannel
from drsync.model.epoch import Epoch
from drsync.model.errors import DrsyncError, MalformedError
from drsync.wire import resync
from drsync.wire.frames import Frame, FrameType

WAITING_BYTES_MAX: Final = 64 << 20  # because a source keeps to a window of 32 MiB, and this one does not


class Intake:
    """One stream.

    Attributes:
        begin: what it began with.
        peer: who sends.
        frames: not taken yet, in order.
        is_over: nothing more is taken from it.
        is_lost: its link is gone, or the source ended it.
        has_begun: the stage is of its session.
        halted: why it was ended from our side, by something that came before it; empty while it was not.
        granules, block_bytes, redo_bytes: taken since it began.
    """

    def __init__(
        self, begin: resync.Begin, channel: BulkChannel, number: int, on_frames: Callable[[], None]
    ) -> None:
        self.begin = begin
        self.peer = channel.peer
        self.frames: deque[Frame] = deque()
        self.is_over = False
        self.is_lost = False
        self.has_begun = False
        self.halted = ""
        self.granules = 0
        self.block_bytes = 0
        self.redo_bytes = 0
        self._channel = channel
        self._number = number
        self._on_frames = on_frames
        self._waiting = 0

    @property
    def epoch(self) -> Epoch:
        """Of the source."""
        return self.begin.epoch

    def next(self) -> Frame | None:
        """The next frame; None when none waits."""
        if not self.frames:
            return None
        frame = self.frames.popleft()
        self._waiting -= len(frame.body)
        return frame

    def say(self, kind: FrameType, body: bytes) -> None:
        """Send a frame, if anybody is there."""
        if not self.is_lost:
            self._channel.send(kind, self._number, [body])

    def tell(self) -> None:
        """Say what was taken: that gives the source room, and tells it that somebody is there."""
        if not self.is_over:
            word = resync.Staged(self.epoch, self.granules, self.block_bytes, self.redo_bytes)
            self.say(FrameType.STAGED, resync.encode_staged(word))

    def refuse(self, error: DrsyncError) -> None:
        """End the session, with a reason."""
        if not self.is_over:
            word = resync.Refuse(self.epoch, error.code, str(error), error.remedy)
            self.say(FrameType.RESYNC_REFUSE, resync.encode_refuse(word))
            self.end()

    def end(self) -> None:
        """Take nothing more."""
        self.is_over = True
        self.frames.clear()
        self._channel.close_stream(self._number)
        self._on_frames()

    def end_link(self, error: MalformedError) -> None:
        """The source broke a format: nothing after it on this link can be trusted."""
        self.end()
        self._channel.close(f"malformed: {error}")

    # --- StreamHandler

    def frame_received(self, frame: Frame) -> None:
        """See StreamHandler."""
        if self.is_over:
            return
        if frame.type is FrameType.DETACH:
            self._channel.close_stream(self._number)
            self.lost("the source ended it")
            return
        self._waiting += len(frame.body)
        if self._waiting > WAITING_BYTES_MAX:
            raise MalformedError(f"a resync source sent {self._waiting} bytes beyond what was taken")
        self.frames.append(frame)

    def frames_ended(self) -> None:
        """See StreamHandler."""
        self._on_frames()

    def still_arriving(self) -> None:
        """See StreamHandler: a word for the source, because one frame may take long on a slow line."""
        self.tell()

    def pause(self) -> None:
        """See StreamHandler; words about what was taken are small and go on."""

    def resume(self) -> None:
        """See StreamHandler."""

    def lost(self, reason: str) -> None:
        """See StreamHandler: what is staged is kept."""
        del reason
        self.is_lost = True
        self._on_frames()
