"""The source's end of a session's stream: what was sent and not taken yet, and what the target said last.

Where the peer unpacks, every body of some size is compressed: nobody waits for a single block, and bytes cost
more than processors do. A slow line gets a higher level, unless processors are what is short
(`core.compression`).
"""

import asyncio
from collections import deque
from typing import Final, NamedTuple

from drsync.core import compression
from drsync.core.compression import Advice, Memory, Sample
from drsync.core.extents import Extents, Run
from drsync.engine.bulk import BulkChannel
from drsync.engine.packing import PACK_BYTES_MIN
from drsync.engine.resync_packing import Parcel, ParcelQueue
from drsync.model.epoch import Epoch
from drsync.model.errors import MalformedError
from drsync.ports.clock import Clock
from drsync.ports.journal import Buffer
from drsync.wire import resync, resync_pages
from drsync.wire.frames import Frame, FrameType

WINDOW_LOW_BYTES: Final = 8 << 20  # because the target says what it took after 4 MiB: less would wait for it
WINDOW_HIGH_BYTES: Final = 32 << 20  # because the target holds no more than twice that
SAMPLE_S: Final = 0.25  # because words about what was taken come in lumps
RATE_S: Final = 10.0  # because a rate over less jumps, and who waits for hours does not care for more
EAGER: Final = 1e12  # bytes/s that a session could send: more than any line carries


class _Flight(NamedTuple):
    """A body on its way: totals of granules and redo once it is taken, its bytes raw and as sent, when."""

    granules: int
    redo: int
    raw: int
    wire: int
    at: float


class _Taken(NamedTuple):
    """Totals at one instant: bytes taken, raw and as sent."""

    at: float
    raw: int
    wire: int


class Line:
    """One connection of a session.

    Attributes:
        number: of the stream.
        is_ready: the target opened its stage.
        is_lost: nothing comes any more; `reason` says why.
        refusal, done: the target's words; None before them.
        pages: what was answered of pages, by question, until it is taken from here.
        digests: what was answered, by volume and first granule, until it is taken from here.
        heard: set with every word of the target, and when room to send comes back.
        heard_at: when it last said anything.
        granules, redo_bytes: sent on this line.
        wire_bytes: bytes of bodies as they went out, since the session began to be sent here.
        rate: raw bytes taken per second, lately.
    """

    def __init__(self, channel: BulkChannel, epoch: Epoch, clock: Clock, *, can_unpack: bool) -> None:
        self.is_ready = False
        self.is_lost = False
        self.reason = ""
        self.refusal: resync.Refuse | None = None
        self.done: resync.Done | None = None
        self.digests: dict[tuple[int, int], resync.Digests] = {}
        self.pages: deque[tuple[int, memoryview]] = deque()
        self.heard = asyncio.Event()
        self.heard_at = clock.now()
        self.granules = 0
        self.redo_bytes = 0
        self.wire_bytes = 0
        self.rate = 0.0
        self.advice = Advice(words="" if can_unpack else "not wanted, or the peer cannot unpack")
        self._can_unpack = can_unpack
        self._channel = channel
        self._epoch = epoch
        self._clock = clock
        self._is_paused = False
        self._flight: deque[_Flight] = deque()
        self._flight_bytes = 0
        self._taken: deque[_Taken] = deque([_Taken(clock.now(), 0, 0)])
        self._raw = self._wire = 0
        self._window = WINDOW_LOW_BYTES
        self._parcels = ParcelQueue(clock, self._send)
        self._memory = Memory()
        self._sampled_at = clock.now()
        self.number = channel.open_stream(self)

    # --- sending

    @property
    def has_room(self) -> bool:
        """Whether more may be sent now."""
        return not self._is_paused and self._flight_bytes + self._parcels.waiting < self._window

    def small(self, kind: FrameType, body: bytes) -> None:
        """A frame that steers; goes out after what was handed over before it."""
        self._parcels.add(Parcel(kind, [body], 0))

    def want_digests(self, run: Run) -> None:
        """Ask what the target holds there."""
        want = resync.Want(self._epoch, run.volume, run.first, run.end - run.first)
        self.small(FrameType.DIGEST_WANT, resync.encode_want(want))

    def want_pages(self, number: int, runs: Extents) -> None:
        """Ask for the hashes of the pages of some granules."""
        want = resync_pages.PagesWant(self._epoch, number, tuple(resync.WireRun(*run) for run in runs))
        self.small(FrameType.PAGES_WANT, resync_pages.encode_want(want))

    async def bulk(self, kind: FrameType, parts: list[Buffer], *, granules: int = 0, redo: int = 0) -> None:
        """A frame of `granules` granules of blocks, or of batches of `redo` bytes."""
        await self._parcels.room()
        if self.is_lost:
            return
        size = sum(map(len, parts))
        is_packed = self._can_unpack and size >= PACK_BYTES_MIN
        level = compression.bulk_level(self.advice, self._memory.slowness) if is_packed else 0
        self._parcels.add(Parcel(kind, parts, size, granules, redo, level))

    def _send(self, parcel: Parcel) -> None:
        if self.is_lost:
            return
        sent = parcel.wire
        self._channel.send(parcel.kind, self.number, parcel.parts, parcel.flags)
        if not parcel.raw:
            return
        self.wire_bytes += sent
        self.granules += parcel.granules
        self.redo_bytes += parcel.redo
        self._flight.append(_Flight(self.granules, self.redo_bytes, parcel.raw, sent, self._clock.now()))
        self._flight_bytes += parcel.raw
        if parcel.seconds:
            self._memory.tried(parcel.raw, sent, parcel.level, parcel.seconds)

    def detach(self, reason: str) -> None:
        """End the stream from our side."""
        if not self.is_lost:
            self._parcels.close()
            self._channel.send(FrameType.DETACH, self.number, [])
            self._channel.close_stream(self.number)
            self.lost(reason)

    def give_up(self, reason: str) -> None:
        """End the whole link: it carries nothing, whatever TCP says."""
        self._channel.close(reason)

    # --- StreamHandler

    def frame_received(self, frame: Frame) -> None:
        """See StreamHandler. What bears another epoch is late and says nothing."""
        self.heard_at = self._clock.now()
        self.heard.set()
        if frame.type is FrameType.DETACH:
            self._channel.close_stream(self.number)
            self.lost("the peer ended the session")
            return
        self._read(frame)

    def _read(self, frame: Frame) -> None:
        match frame.type:
            case FrameType.RESYNC_READY:
                self.is_ready = self.is_ready or resync.read_ready(frame.body).epoch == self._epoch
            case FrameType.RESYNC_REFUSE:
                self.refusal = resync.read_refuse(frame.body)
            case FrameType.DIGESTS:
                told = resync.read_digests(frame.body)
                if told.epoch == self._epoch:
                    self.digests[told.volume, told.first] = told
            case FrameType.PAGES:
                hashes = resync_pages.read_hashes(frame.body)
                if hashes.epoch == self._epoch:
                    self.pages.append((hashes.number, hashes.values))
            case FrameType.STAGED:
                staged = resync.read_staged(frame.body)
                if staged.epoch == self._epoch:
                    self._take(staged)
            case FrameType.RESYNC_DONE:
                done = resync.read_done(frame.body)
                self.done = done if done.epoch == self._epoch else self.done
            case _:
                raise MalformedError(f"frame {frame.type} does not belong on a resync stream")

    def _take(self, staged: resync.Staged) -> None:
        flight, before = self._flight, self._flight_bytes
        while flight and flight[0].granules <= staged.granules and flight[0].redo <= staged.redo_bytes:
            gone = flight.popleft()
            self._flight_bytes -= gone.raw
            self._raw += gone.raw
            self._wire += gone.wire
        self._window = min(WINDOW_HIGH_BYTES, self._window + before - self._flight_bytes)
        self._measure()

    def _measure(self) -> None:
        """What the line carries, and what follows for compression and window."""
        now = self._clock.now()
        if now - self._sampled_at < SAMPLE_S:
            return
        self._sampled_at = now
        self._taken.append(_Taken(now, self._raw, self._wire))
        while len(self._taken) > 2 and now - self._taken[0].at > RATE_S:  # noqa: PLR2004  # two make a rate
            self._taken.popleft()
        since = self._taken[0]
        seconds = now - since.at
        self.rate = (self._raw - since.raw) / seconds
        delay_s = now - self._flight[0].at if self._flight else 0.0
        if delay_s >= compression.HELD_S:  # what waits in buffers holds up the other groups of this link
            self._window = max(WINDOW_LOW_BYTES, min(WINDOW_HIGH_BYTES, int(self.rate)))
        if self._can_unpack:
            sample = Sample(
                now=now,
                raw=self.rate,
                wire=(self._wire - since.wire) / seconds,
                demand=EAGER,
                delay_s=delay_s,
                ratio=self._memory.ratio,
                slowness=self._memory.slowness,
            )
            self.advice = compression.advise(self.advice, sample)

    def frames_ended(self) -> None:
        """See StreamHandler."""

    def still_arriving(self) -> None:
        """See StreamHandler: the target is there."""
        self.heard_at = self._clock.now()

    def pause(self) -> None:
        """See StreamHandler."""
        self._is_paused = True

    def resume(self) -> None:
        """See StreamHandler."""
        self._is_paused = False
        self.heard.set()

    def lost(self, reason: str) -> None:
        """See StreamHandler."""
        self.reason = self.reason or reason
        self.is_lost = True
        self._parcels.close()
        self.heard.set()
