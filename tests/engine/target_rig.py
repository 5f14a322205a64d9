"""A center that is brought level by blocks, and a source that says whatever a test wants."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from xxhash import xxh3_128_digest

from drsync.adapters.segments.journal import SEGMENT_BYTES_MIN
from drsync.adapters.system.clock import SystemClock
from drsync.agent.copy_store import FileCopyStore
from drsync.core import extents
from drsync.core.extents import GRANULE, Extents
from drsync.engine.bulk import BulkChannel, StreamHandler
from drsync.engine.copy import GroupCopy, Self
from drsync.engine.resync_ask import Answer, Mode
from drsync.engine.resync_target import Asked, ResyncTarget
from drsync.model.epoch import Epoch
from drsync.model.errors import DrsyncError
from drsync.model.position import Position
from drsync.ports.journal import Buffer
from drsync.wire import data, resync
from drsync.wire.frames import Frame, FrameType
from drsync.wire.resync import BeginFlags, Block, BlockKind
from drsync.wire.stream import session_bytes
from tests.engine.resync_rig import Pipe
from tests.engine.switch_rig import GROUP, HISTORY, NEW, OLD, P0, P1, SESSION, F, Log, charter, fill

ME = "5" * 32


@dataclass
class Events:
    """The member: what it was told, and what it answers.

    Attributes:
        why: why it may not switch.
        told: events and reasons.
    """

    why: str = ""
    told: list[tuple[str, str]] = field(default_factory=list)
    troubles: list[DrsyncError] = field(default_factory=list)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def resync_told(self, event: str, reason: str) -> None:
        self.told.append((event, reason))

    def copy_troubled(self, error: DrsyncError) -> None:
        self.troubles.append(error)

    def requests_held(self) -> asyncio.Lock:
        return self.lock

    @asynccontextmanager
    async def views_given_up(self) -> AsyncIterator[None]:
        yield

    def may_switch(self, epoch: Epoch) -> str:
        del epoch
        return self.why


class Source:
    """The other end of the stream; remembers what it hears."""

    def __init__(self, rig: "TargetRig") -> None:
        self.heard: list[Frame] = []
        self.is_lost = False
        self._rig = rig
        ours, theirs = Pipe("remote"), Pipe("production")
        ours.other, theirs.other = theirs, ours
        self.link = ours
        BulkChannel(theirs, self._accept, lambda peer, error: None)
        self.channel = BulkChannel(ours, None, lambda peer, error: None)
        self.number = self.channel.open_stream(self)

    def _accept(self, channel: BulkChannel, frame: Frame) -> StreamHandler:
        begin = resync.read_begin(frame.body)
        return self._rig.target.accept(begin, channel, frame.stream)

    def frame_received(self, frame: Frame) -> None:
        self.heard.append(frame)

    def frames_ended(self) -> None: ...

    def still_arriving(self) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def lost(self, reason: str) -> None:
        del reason
        self.is_lost = True

    # what it says

    def send(self, kind: FrameType, *parts: Buffer) -> None:
        self.channel.send(kind, self.number, list(parts))

    def begin(self, p0: Position, flags: BeginFlags = BeginFlags.NONE, session: str = SESSION) -> None:
        group = bytes.fromhex(GROUP.id)
        begin = resync.Begin(NEW, group, session_bytes(ME), session_bytes(session), 3, 0, flags, p0)
        self.send(FrameType.RESYNC_BEGIN, resync.encode_begin(begin))

    def blocks(self, *blocks: Block, epoch: Epoch = NEW) -> None:
        self.send(FrameType.BLOCKS, *resync.blocks_parts(epoch, blocks))

    def granules(self, runs: Extents, content: bytes) -> None:
        for run in runs:
            piece = content[run.first * GRANULE : run.end * GRANULE]
            kind, digest = BlockKind.DATA, xxh3_128_digest(piece)
            self.blocks(Block(run.volume, run.first, run.end - run.first, kind, digest, piece))

    def redo(self, log: Log, after: int, through: int, epoch: Epoch = NEW) -> None:
        for batch in log.batches[after:through]:
            head = data.batches_header(data.BatchesHeader(epoch, through, 0, batch.first_seq))
            self.send(FrameType.BATCHES, head, *batch.parts)

    def blocks_after_redo(self, log: Log, block: Block) -> None:
        self.redo(log, P0, P1)
        self.blocks(block)

    def end(self, whole: Extents, p1: Position, size: int | None = None) -> None:
        count = sum(run.end - run.first for run in whole) if size is None else size
        end = resync.End(NEW, session_bytes(SESSION), 3, count, p1, resync.runs_hash(whole))
        self.send(FrameType.RESYNC_END, resync.encode_end(end))

    # what it hears

    def has_heard(self, kind: FrameType) -> bool:
        return any(frame.type is kind for frame in self.heard)

    @property
    def taken(self) -> int:
        """Granules, by the last word about them."""
        words = [resync.read_staged(frame.body) for frame in self.heard if frame.type is FrameType.STAGED]
        return words[-1].granules if words else 0

    @property
    def refusal(self) -> str:
        """The code of the refusal; empty without one."""
        found = [frame for frame in self.heard if frame.type is FrameType.RESYNC_REFUSE]
        return resync.read_refuse(found[0].body).code if found else ""


class TargetRig:
    """The center."""

    def __init__(self, directory: Path, ours: Log, theirs: Log) -> None:
        self.ours, self.theirs = ours, theirs
        self.directory = directory
        self.events = Events()
        self.store = FileCopyStore(directory, "cluster", "remote", segment_bytes=SEGMENT_BYTES_MIN)
        self.copy = GroupCopy.open(Self("remote", ME, "boot"), GROUP, self.store, "1" * 32, 0.0)
        self.target = ResyncTarget(self.copy, SystemClock(), self.events)

    async def prepare(self) -> None:
        fill(self.copy, self.ours)
        self.copy.commit = self.ours.tip.seq
        said = charter(self.theirs)
        await self.copy.store(lambda d: replace(d, follow=OLD, promised=NEW, history=HISTORY, charter=said))

    async def ask(self, mode: Mode = Mode.DIRTY, session: str = SESSION) -> Answer:
        chain = self.theirs.at(F).chain
        await self.target.settle()
        async with self.events.lock:
            return await self.target.ask(Asked("production", NEW, 2, session, 3, mode, F, chain))

    def whole(self, answer: Answer) -> Extents:
        """What a source sends."""
        return extents.union(answer.changed or (), self.theirs.changed(F, P0))

    def send_all(self, source: Source, whole: Extents) -> None:
        """Blocks as they were at p1, and the redo."""
        source.begin(self.theirs.at(P0))
        source.granules(whole, self.theirs.content[P1])
        source.redo(self.theirs, P0, P1)

    async def until(self, what: Callable[[], bool], seconds: float = 20.0) -> None:
        """Wait for a condition."""
        async with asyncio.timeout(seconds):
            while not what():
                await asyncio.sleep(0.005)


@asynccontextmanager
async def target_rig(directory: Path, ours: Log, theirs: Log) -> AsyncIterator[TargetRig]:
    """A center whose log forked, with its loop running."""
    made = TargetRig(directory, ours, theirs)
    await made.prepare()
    running = asyncio.create_task(made.target.run())
    try:
        yield made
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        made.copy.journal.close()
        made.copy.volumes.close()
