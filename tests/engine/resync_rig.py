"""An owner with a real journal and images, and a target that puts aside in memory what it is sent."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

from xxhash import xxh3_128_digest

from drsync.adapters.system.clock import SystemClock, SystemRandom
from drsync.agent.copy_store import FileCopyStore
from drsync.core import extents
from drsync.core.extents import GRANULE, NOTHING, Extents, Run
from drsync.core.group_log import GroupLog
from drsync.core.resync import EndWord
from drsync.delta.batch import KIND_WRITE, KIND_ZERO, records, split
from drsync.engine.bulk import BulkChannel
from drsync.engine.copy import GroupCopy, Self
from drsync.engine.owner import OwnerDevice, OwnerEngine
from drsync.engine.peers import Peers
from drsync.engine.resync_ask import Answer, Kept, Mode
from drsync.engine.resync_marks import PlainMarks
from drsync.engine.resync_pages import hashes_of
from drsync.engine.resync_reader import digests_of
from drsync.engine.resync_source import ResyncSource, Surroundings, Wanted
from drsync.engine.views import Views
from drsync.model.charter import Charter
from drsync.model.copy import CopyState, Statement
from drsync.model.epoch import Epoch
from drsync.model.errors import DrsyncError
from drsync.model.group import Durability, VolumeSpec
from drsync.model.position import ORIGIN, EpochStart
from drsync.ports.journal import Buffer
from drsync.ports.transport import LinkHandler, LinkKind
from drsync.wire import data, resync, resync_pages
from drsync.wire.control import dump, load
from drsync.wire.frames import Frame, FrameType
from tests.engine.town import GROUP, SEGMENT_BYTES

EPOCH = Epoch(1)
SIZES = (40 * GRANULE + 8192, 3 * GRANULE)  # the last granule of the first is short
SPEC = replace(
    GROUP,
    volumes=tuple(
        VolumeSpec(f"{index:02d}" * 16, f"disk{index}", size, index) for index, size in enumerate(SIZES)
    ),
)
CHARTER = Charter(
    SPEC, version=3, owner="production", epoch=EPOCH, in_sync=frozenset(("production",)),
    history=(EpochStart(EPOCH, "u", 0, bytes(16)),),
)  # fmt: skip
PEER = "remote"


class Pipe:
    """One end of a line in memory."""

    def __init__(self, peer: str) -> None:
        self.peer, self.kind = peer, LinkKind.BULK
        self.other: Pipe | None = None
        self.handler: LinkHandler | None = None
        self.is_closed = False
        self.bytes = 0

    def soon(self, callback: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_soon(callback)

    def set_handler(self, handler: LinkHandler) -> None:
        self.handler = handler

    def write(self, content: bytes) -> None:
        self.bytes += len(content)
        if not self.is_closed and self.other is not None:
            asyncio.get_running_loop().call_soon(self.other.deliver, content)

    def deliver(self, content: bytes) -> None:
        if not self.is_closed and self.handler is not None:
            self.handler.data_received(content)

    def close(self, reason: str) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        if self.handler is not None:
            asyncio.get_running_loop().call_soon(self.handler.connection_lost, reason)
        if self.other is not None:
            self.other.close(reason)


class Target:
    """Takes sessions as a center does, but holds its copy in memory and never acts of itself.

    Attributes:
        images: its copy, by volume.
        taken: names of the frames that came, in order.
        on_frame: called before a frame is looked at; True swallows it.
        changed, free, refusal: what it answers.
        lie: what becomes of the hashes of a granule's pages before they are told.
    """

    def __init__(self) -> None:
        self.images = [bytearray(size) for size in SIZES]
        self.position = ORIGIN
        self.taken: list[str] = []
        self.on_frame: Callable[[Frame], bool] = lambda _: False
        self.changed: Extents | None = NOTHING
        self.free = 1 << 40
        self.refusal: resync.Refuse | None = None
        self.lie: Callable[[bytes], bytes] = lambda hashes: hashes
        self.keeps = True
        self.switched: EndWord | None = None
        self.staged: dict[tuple[int, int], bytes] = {}
        self.fresh: set[tuple[int, int]] = set()
        self.redo: list[bytes] = []
        self.begun: resync.Begin | None = None
        self.data_bytes = 0
        self._granules = self._redo_bytes = 0
        self._channel: BulkChannel | None = None
        self._stream = 0

    @property
    def statement(self) -> Statement:
        seq = self.position.seq
        state = CopyState.REPLICA if seq else CopyState.BLANK
        return Statement(
            PEER, "5e" * 16, "1ca1", state, EPOCH, EPOCH, seq + 1, (), seq, seq, seq, seq, self.position
        )

    def answer(self) -> Answer:
        begun = self.begun
        stage = None
        if begun is not None and self.keeps:
            stage = Kept(begun.session.hex(), begun.generation, begun.rounds, begun.epoch)
        return Answer(
            self.statement,
            self.changed,
            self.free,
            stage,
            _runs(self.staged) if self.keeps else NOTHING,
            _runs(self.fresh) if self.keeps else NOTHING,
            self.switched,
        )

    def accept(self, channel: BulkChannel, frame: Frame) -> "Target | None":
        if frame.type is not FrameType.RESYNC_BEGIN:
            return None
        self._channel, self._stream = channel, frame.stream
        self._granules = self._redo_bytes = 0
        return self

    def frame_received(self, frame: Frame) -> None:
        self.taken.append(frame.type.name)
        if self.on_frame(frame):
            return
        match frame.type:
            case FrameType.RESYNC_BEGIN:
                self._begin(resync.read_begin(frame.body))
            case FrameType.DIGEST_WANT:
                want = resync.read_want(frame.body)
                begins = want.first * GRANULE
                content = memoryview(bytes(self.images[want.volume]))[
                    begins : begins + want.granules * GRANULE
                ]
                told = resync.Digests(want.epoch, want.volume, want.first, memoryview(digests_of(content)))
                self._send(FrameType.DIGESTS, resync.digests_parts(told))
            case FrameType.PAGES_WANT:
                self._tell_pages(resync_pages.read_want(frame.body))
            case FrameType.BLOCKS:
                self._put(frame.body)
            case FrameType.RESYNC_ROUND:
                word = resync.read_round(frame.body)
                assert self.begun is not None
                self.begun = self.begun._replace(generation=word.generation, rounds=word.rounds, p0=word.p0)
                self.redo.clear()
                self.fresh.clear()
            case FrameType.BATCHES:
                _, view = data.read_batches(frame.body)
                self.redo.append(bytes(view))
                self._redo_bytes += len(view)
            case FrameType.RESYNC_END:
                self._end(resync.read_end(frame.body))
            case _:
                assert frame.type is FrameType.DETACH, frame.type

    def _begin(self, begin: resync.Begin) -> None:
        if self.refusal is not None:
            self._send(FrameType.RESYNC_REFUSE, [resync.encode_refuse(self.refusal)])
            return
        if begin.flags & resync.BeginFlags.RESUME:
            assert self.begun is not None
            assert (begin.session, begin.p0) == (self.begun.session, self.begun.p0)
            self.redo.clear()
        else:
            self.staged, self.fresh, self.redo = {}, set(), []
        self.begun = begin
        self._send(FrameType.RESYNC_READY, [resync.encode_ready(resync.Ready(begin.epoch, begin.session))])

    def _tell_pages(self, question: resync_pages.PagesWant) -> None:
        told = b"".join(
            self.lie(hashes_of(self._granule(volume, granule)))
            for volume, first, end in question.runs
            for granule in range(first, end)
        )
        answer = resync_pages.PageHashes(question.epoch, question.number, memoryview(told))
        self._send(FrameType.PAGES, resync_pages.hashes_parts(answer))

    def _granule(self, volume: int, granule: int) -> memoryview:
        return memoryview(self.images[volume])[granule * GRANULE : (granule + 1) * GRANULE]

    def _laid(self, block: resync.Block) -> bytes | None:
        content = bytearray(self._granule(block.volume, block.first))
        resync_pages.lay(memoryview(content), block.data)
        if xxh3_128_digest(content) == block.hash:
            return bytes(content)
        refusal = resync.Refuse(EPOCH, "pages_misfit", "pages do not fit", "")
        self._send(FrameType.RESYNC_REFUSE, [resync.encode_refuse(refusal)])
        return None

    def _put(self, body: bytes) -> None:
        assert not self.redo, "blocks after redo"
        for block in resync.read_blocks(body)[1]:
            self.data_bytes += len(block.data)
            if block.kind is resync.BlockKind.PAGES:
                content = self._laid(block)
                if content is None:
                    return
                block = block._replace(data=content)  # noqa: PLW2901  # what it stands for
            elif block.kind is resync.BlockKind.DATA:
                assert xxh3_128_digest(block.data) == block.hash
            for index in range(block.granules):
                key = (block.volume, block.first + index)
                piece = bytes(block.data[index * GRANULE : (index + 1) * GRANULE])
                size = min(GRANULE, SIZES[block.volume] - key[1] * GRANULE)
                self.staged[key] = piece or bytes(size)
                assert len(self.staged[key]) == size
                self.fresh.add(key)
            self._granules += block.granules

    def _end(self, end: resync.End) -> None:
        begun = self.begun
        assert begun is not None
        assert end.whole == resync.runs_hash(_runs(self.staged))
        assert (end.size, end.generation) == (len(self.staged), begun.generation)
        if begun.flags & resync.BeginFlags.EVERYTHING:
            self.images = [bytearray(size) for size in SIZES]
        for (volume, granule), content in self.staged.items():
            self.images[volume][granule * GRANULE : granule * GRANULE + len(content)] = content
        last = begun.p0.seq
        for batches in self.redo:
            last = self._apply(batches, last)
        assert last == end.p1.seq
        self.position, self.begun = end.p1, None
        self.switched = EndWord(end.session.hex(), end.generation, end.p1.seq, end.size)
        done = resync.Done(end.epoch, end.session, end.generation, end.p1.seq)
        self._send(FrameType.RESYNC_DONE, [resync.encode_done(done)])

    def _apply(self, batches: bytes, last: int) -> int:
        for at, header in split(batches):
            assert header.first_seq == last + 1
            for offset, _, length, start, volume, kind, _, _ in records(batches, at, header):
                if kind == KIND_WRITE:
                    begins = at + header.payload_start + start
                    self.images[volume][offset : offset + length] = batches[begins : begins + length]
                elif kind == KIND_ZERO:
                    self.images[volume][offset : offset + length] = bytes(length)
            last = header.last_seq
        return last

    def frames_ended(self) -> None:
        epoch = self.begun.epoch if self.begun is not None else EPOCH
        staged = resync.Staged(epoch, self._granules, 0, self._redo_bytes)
        self._send(FrameType.STAGED, [resync.encode_staged(staged)])

    def _send(self, kind: FrameType, parts: list[Buffer]) -> None:
        assert self._channel is not None
        self._channel.send(kind, self._stream, parts)

    def still_arriving(self) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def lost(self, reason: str) -> None: ...


def _runs(keys: Iterable[tuple[int, int]]) -> Extents:
    return extents.normal(Run(volume, granule, granule + 1) for volume, granule in keys)


class Rig:
    """An owner, a target and the line between them; also the `Peers` of the source."""

    def __init__(self, directory: Path) -> None:
        self.clock = SystemClock()
        self.dice = random.Random(7)
        self.target = Target()
        self.marks = PlainMarks()
        self.told: list[tuple[str, str]] = []
        self.troubles: list[DrsyncError] = []
        self.acknowledged = 0
        self.tasks: list[asyncio.Task[bool]] = []
        self.ends: Pipe | None = None
        me = Self("production", "5e55" * 8, "boot")
        store = FileCopyStore(directory, "cluster", "production", segment_bytes=SEGMENT_BYTES)
        self.copy = GroupCopy.open(me, SPEC, store, "ab" * 16, self.clock.now())
        log = GroupLog("production", EPOCH, 0, 0, 0, Durability.APPEND)
        self.engine = OwnerEngine(
            log=log,
            journal=self.copy.journal,
            volumes=self.copy.volumes,
            clock=self.clock,
            on_trouble=self.troubles.append,
        )
        self.engine.lease_until = self.clock.now() + 1e6
        self.engine.wake_sync = self._sync
        self.source = ResyncSource(
            PEER,
            Surroundings(
                copy=self.copy,
                engine=self.engine,
                peers=cast("Peers", self),
                clock=self.clock,
                dice=SystemRandom(),
                marks=self.marks,
                charter=lambda: CHARTER,
                note_point=lambda: 0,
                views=Views(self.copy),
                tell=lambda event, reason: self.told.append((event, reason)),
                on_trouble=self.troubles.append,
            ),
        )

    def _sync(self) -> None:
        self.engine.log.sync(self.copy.journal.sync())

    # Peers

    async def call(
        self, center: str, method: str, body: dict[str, object], timeout_s: float
    ) -> dict[str, object]:
        assert (center, method) == (PEER, "group.resync")
        del timeout_s
        assert load(dump(body))["epoch"] == EPOCH
        return load(dump(self.target.answer().to_json()))

    async def bulk(self, center: str) -> BulkChannel:
        ours, theirs = Pipe(center), Pipe("production")
        ours.other, theirs.other = theirs, ours
        BulkChannel(theirs, self.target.accept, self._malformed)
        self.ends = ours
        return BulkChannel(ours, None, self._malformed)

    def _malformed(self, peer: str, error: DrsyncError) -> None:
        self.told.append((f"malformed from {peer}", str(error)))

    def cut(self) -> None:
        assert self.ends is not None
        self.ends.close("cut by the test")

    # the application

    def complete(self, cookies: list[bytes], error: int) -> None:
        assert not error
        self.acknowledged += len(cookies)

    def resume(self) -> None: ...

    def device(self, volume: int = 0) -> OwnerDevice:
        return OwnerDevice(self.engine, volume, SIZES[volume])

    def write(self, volume: int, offset: int, content: bytes) -> None:
        device = self.device(volume)
        device.write(offset, memoryview(content), b"c", fua=False)
        device.submit(self)

    def zero(self, volume: int, offset: int, length: int) -> None:
        device = self.device(volume)
        device.zero(offset, length, b"c", fua=False, is_trim=True)
        device.submit(self)

    def scribble(self, count: int) -> None:
        """Random writes, aligned or not, and zeros."""
        dice = self.dice
        for _ in range(count):
            volume = dice.randrange(len(SIZES))
            length = dice.choice((512, 4096, 10_000, GRANULE))
            offset = dice.randrange(SIZES[volume] - length)
            if dice.random() < 0.5:
                offset -= offset % 4096
            if dice.random() < 0.2:
                self.zero(volume, offset, length)
            else:
                self.write(volume, offset, dice.randbytes(length))

    def content(self) -> list[bytes]:
        found = []
        for volume, size in enumerate(SIZES):
            kept = bytearray(size)
            assert self.device(volume).read_into(0, memoryview(kept)) == 0
            found.append(bytes(kept))
        return found

    def outgrow(self) -> None:
        """The journal asks for a new round, as soon as it may."""
        self._sync()
        self.tasks.append(asyncio.create_task(self.source.outgrow(self.copy.journal.tip.seq)))

    def wanted(self, mode: Mode, *, can_page: bool = False) -> Wanted:
        statement = self.target.statement
        tip = statement.tip
        return Wanted(statement, tip.seq, tip.chain, mode, can_unpack=True, can_page=can_page)

    def close(self) -> None:
        self.copy.journal.close()
        self.copy.volumes.close()


@asynccontextmanager
async def rig(directory: Path) -> AsyncIterator[Rig]:
    made = Rig(directory)
    try:
        yield made
    finally:
        made.close()
