"""Sending one stream's batches as they are or compressed, always in order. `core.compression` decides which.

Compressing happens in a thread, one body at a time. Meanwhile the stream is held: batches stay in the
journal, where the next body is read from, and small frames wait behind the body that was to go before them.
While nothing is compressed, nothing here costs a live batch more than a test of a flag.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from drsync.core import compression
from drsync.core.compression import Advice, Memory, Sample
from drsync.engine.feed import PUMP_BYTES, UNACKNOWLEDGED_BYTES_MAX, Feed
from drsync.ports.clock import Clock
from drsync.ports.journal import Buffer
from drsync.wire.compression import Packer
from drsync.wire.frames import COMPRESSED, FrameType

PACK_BYTES_MIN = 1 << 10  # because a smaller body saves less than a turn of a thread costs
PACKED_PUMP_BYTES = 512 << 10  # because larger bodies compress better, and the line is slow anyway
PRESSED_PUMP_BYTES = 1 << 20  # because a body holds that much
PRESSED = 0.25  # of the target: from here on bodies are as large as they may be
PROBE_BYTES = 4 << 10
PROBES = 3  # because a body mixes records; three places tell what most of them are
WAITS_MAX = 2400  # because a tick every 50 ms covers two minutes
TICK_S = 0.05  # how often a term looks
DRAIN_S = 2.0  # because acknowledgments of large bodies come in lumps, and lines change
DRAIN_S_MIN = 0.5  # because less than that may hold no lump at all
WINDOW_S = (
    0.5  # because that fills any line whose round trip is shorter; more only waits in buffers, unpacked
)
WINDOW_BYTES_MIN = 512 << 10  # because a body must fit, and one behind it
LIVE_S = 0.02  # because what a line carries in this time is no queue yet
LIVE_BYTES_MIN = 32 << 10  # because a write or two are none either
BODY_S = 0.25  # because a body delays what comes after it by so much, and is lost with the link
BODY_BYTES_MIN = 64 << 10  # because smaller bodies cost more turns than they save time
PROBE_RATIO_MIN = 1.05  # because what does not shrink in three places does not shrink

Send = Callable[[FrameType, list[Buffer], int], None]
"""Writes one frame of the stream: type, body, flags."""


class _Taken(NamedTuple):
    """Totals at one tick: bytes of batches acknowledged, the same as they were sent, bytes appended here."""

    instant: float
    raw: int
    wire: int
    appended: int


class Sender:
    """One stream to a peer that may be able to unpack.

    Attributes:
        advice: what is done now, and why.
        is_busy: a body is being compressed: it and what is queued behind it are not on the link yet.
        raw_bytes: bytes of batches sent.
        wire_bytes: the same as they went out.
        drain: bytes of batches the peer acknowledges per second while the line holds us back; else 0.
        mark_ratio: raw to wire between the last two checkpoints; None when nothing was sent between them.
    """

    def __init__(self, send: Send, clock: Clock, *, can_unpack: bool, pick: Callable[[], Feed]) -> None:
        """`pick` gives the feed, which is made after its sender."""
        self.advice = Advice(words="" if can_unpack else "not wanted, or the peer cannot unpack")
        self.is_busy = False
        self.raw_bytes = 0
        self.wire_bytes = 0
        self.drain = 0.0
        self.mark_ratio: float | None = None
        self._send = send
        self._clock = clock
        self._can_unpack = can_unpack
        self._pick = pick
        self._packer = Packer()
        self._memory = Memory()
        self._later: list[tuple[FrameType, bytes]] = []
        self._saved: deque[tuple[int, int]] = deque()  # (last record, raw minus wire) of compressed bodies
        self._saved_acked = 0
        self._taken: deque[_Taken] = deque()
        self._waits: deque[tuple[int, float]] = deque()  # (last record appended, when), one for each tick
        self._marked = (0, 0)
        self._is_closed = False

    @property
    def level(self) -> int:
        """Level of zstd in use; 0 for none."""
        return self.advice.level

    @property
    def ratio(self) -> float:
        """Raw to wire over everything sent; 1 before anything was."""
        return self.raw_bytes / self.wire_bytes if self.wire_bytes else 1.0

    def small(self, kind: FrameType, body: bytes) -> None:
        """A frame that is never compressed; goes out after the batches that were handed over before it."""
        if self.is_busy:
            self._later.append((kind, body))
        else:
            self._send(kind, [body], 0)

    def batches(self, parts: list[Buffer], last_seq: int, *, is_live: bool) -> None:
        """A BATCHES body whose last record is `last_seq`; the stream must not be busy.

        One that is live goes as it is: the line has room for it now, and a thread would only delay it.
        """
        size = sum(map(len, parts))
        is_raw = is_live or not self.advice.level or size < PACK_BYTES_MIN
        if is_raw or not self._memory.is_worth_a_try():
            self._send(FrameType.BATCHES, parts, 0)
            self.raw_bytes += size
            self.wire_bytes += size
            return
        self._pack(b"".join(parts), last_seq, self.advice.level)

    def _pack(self, body: bytes, last_seq: int, level: int) -> None:
        def work() -> tuple[bytes | None, float]:
            began = self._clock.now()
            tried = probe(body)
            if len(self._packer.pack(tried, 1)) * PROBE_RATIO_MIN > len(tried):
                return None, 0.0
            return self._packer.pack(body, level), self._clock.now() - began

        def done(future: asyncio.Future[tuple[bytes | None, float]]) -> None:
            # Without memory for zstd's tables the body goes as it is.
            is_done = not future.cancelled() and future.exception() is None
            packed, seconds = future.result() if is_done else (None, 0.0)
            self._packed(body, packed, last_seq, level, seconds)

        self.is_busy = self._pick().is_held = True
        asyncio.get_running_loop().run_in_executor(None, work).add_done_callback(done)

    def _packed(self, body: bytes, packed: bytes | None, last_seq: int, level: int, seconds: float) -> None:
        self.is_busy = self._pick().is_held = False
        if self._is_closed:
            return
        self._memory.tried(len(body), len(body) if packed is None else len(packed), level, seconds)
        self.raw_bytes += len(body)
        if packed is None or len(packed) >= len(body):
            self._send(FrameType.BATCHES, [body], 0)
            self.wire_bytes += len(body)
        else:
            self._send(FrameType.BATCHES, [packed], COMPRESSED)
            self.wire_bytes += len(packed)
            self._saved.append((last_seq, len(body) - len(packed)))
        later, self._later = self._later, []
        for kind, small in later:
            self._send(kind, [small], 0)
        self._pick().pump()

    def close(self) -> None:
        """The stream has ended: what is being compressed is dropped."""
        self._is_closed = True
        self._later.clear()

    # --- measuring, each tick

    def tick(self, appended_bytes: int, *, is_waited_for: bool, pressure: float) -> None:
        """Look at what happened since the last tick; `appended_bytes` is all the owner ever appended."""
        now, feed = self._clock.now(), self._pick()
        delay_s = self._delay(feed, now)
        raw = feed.sent_bytes - feed.unacknowledged_bytes
        is_held = delay_s >= compression.HELD_S
        taken = _Taken(now, raw, raw - self._saved_by(feed.appended), appended_bytes)
        since = self._since(taken, is_held=is_held)
        if now <= since.instant:
            return
        seconds = now - since.instant
        self.drain = (raw - since.raw) / seconds if is_held and seconds >= DRAIN_S_MIN else 0.0
        if self._can_unpack:
            sample = Sample(
                now=now,
                raw=(raw - since.raw) / seconds,
                wire=(taken.wire - since.wire) / seconds,
                demand=(appended_bytes - since.appended) / seconds,
                delay_s=delay_s,
                is_waited_for=is_waited_for,
                pressure=pressure,
                ratio=self._memory.ratio,
                slowness=self._memory.slowness,
            )
            self.advice = compression.advise(self.advice, sample)
            feed.live_bytes = _live_bytes(self.advice)
        feed.pump_bytes = _pump_bytes(self.advice, pressure, self.drain)
        feed.may_grow = not is_held
        if is_held:
            feed.window = _window((raw - since.raw) / seconds)

    def _since(self, now: _Taken, *, is_held: bool) -> _Taken:
        """What to compare with: some seconds ago while held back, else the last tick.

        Over seconds, because acknowledgments of large bodies come in lumps; and not further back than the
        line has been holding us back, because before that it carried what there was and not what it could.
        """
        taken = self._taken
        taken.append(now)
        keep = 2 if not is_held else int(DRAIN_S / TICK_S)
        while len(taken) > keep:
            taken.popleft()
        return taken[0]

    def _delay(self, feed: Feed, now: float) -> float:
        waits = self._waits
        while waits and waits[0][0] <= feed.appended:
            waits.popleft()
        if feed.tip_seq > feed.appended and (not waits or waits[-1][0] < feed.tip_seq):
            waits.append((feed.tip_seq, now))
            if len(waits) > WAITS_MAX:
                del waits[1]  # the oldest is what counts
        return now - waits[0][1] if waits else 0.0

    def _saved_by(self, appended: int) -> int:
        while self._saved and self._saved[0][0] <= appended:
            self._saved_acked += self._saved.popleft()[1]
        return self._saved_acked

    def mark(self) -> None:
        """A checkpoint was written: what was sent since the one before gives its ratio."""
        raw, wire = self.raw_bytes - self._marked[0], self.wire_bytes - self._marked[1]
        self._marked = (self.raw_bytes, self.wire_bytes)
        self.mark_ratio = raw / wire if wire else None


def _live_bytes(advice: Advice) -> int:
    return max(LIVE_BYTES_MIN, int(advice.line * LIVE_S)) if advice.level else UNACKNOWLEDGED_BYTES_MAX


def _window(rate: float) -> int:
    return max(WINDOW_BYTES_MIN, min(UNACKNOWLEDGED_BYTES_MAX, int(rate * WINDOW_S)))


def _pump_bytes(advice: Advice, pressure: float, drain: float) -> int:
    wanted = PACKED_PUMP_BYTES if advice.level else PUMP_BYTES
    wanted = PRESSED_PUMP_BYTES if pressure >= PRESSED else wanted
    rate = drain or advice.line
    return max(BODY_BYTES_MIN, min(wanted, int(rate * BODY_S))) if rate else wanted


def probe(body: bytes) -> bytes:
    """A few places of a body, `PROBES` times `PROBE_BYTES` together; all of it when it is not larger."""
    if len(body) <= PROBES * PROBE_BYTES:
        return body
    step = (len(body) - PROBE_BYTES) // (PROBES - 1)
    return b"".join(body[at : at + PROBE_BYTES] for at in range(0, step * PROBES, step))
