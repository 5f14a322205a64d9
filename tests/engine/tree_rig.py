"""One replica's tree without a town: real directory and index; the owner's frames are the test's."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from drsync.adapters.system.clock import SystemClock
from drsync.adapters.tree.tree import LinuxTree
from drsync.agent.file_store import FileStores
from drsync.delta import entries as codec
from drsync.delta.marks import GenerationCut
from drsync.engine.bulk import BulkChannel
from drsync.engine.copy import GroupCopy
from drsync.engine.file_set import FileSet
from drsync.engine.file_sink import Sink
from drsync.engine.file_source import Source
from drsync.engine.term import OwnerTerm
from drsync.model import epoch as epochs
from drsync.model.epoch import Epoch
from drsync.model.fileset import Entry, FileKind, FileSetSpec, Generation, GenerationStart, block_bytes
from drsync.wire import files as wire
from drsync.wire.files import BeginFlags, PieceStatus, StateFlags
from drsync.wire.frames import Frame, FrameType
from tests.engine.town import GROUP

FIRST, SECOND = epochs.make(1, 1, 1), epochs.make(1, 1, 2)


class Channel:
    """What the replica says, and the owner's tree from which it is answered."""

    peer = "production"

    def __init__(self) -> None:
        self.states: list[wire.TreeState] = []
        self.wants: list[tuple[int, list[wire.Want]]] = []
        self.closed = ""
        self.said = asyncio.Event()

    def send(self, kind: FrameType, stream: int, parts: Sequence[bytes], flags: int = 0) -> None:
        del stream, flags
        body = b"".join(parts)
        if kind is FrameType.TREE_STATE:
            self.states.append(wire.read_state(body))
        elif kind is FrameType.TREE_WANT:
            self.wants.append(wire.read_want(body))
        self.said.set()

    def close_stream(self, stream: int) -> None:
        del stream

    def close(self, reason: str) -> None:
        self.closed = reason
        self.said.set()


@dataclass
class _Durable:
    follow: Epoch


class _Copy:
    def __init__(self, epoch: Epoch) -> None:
        self.commit = 1 << 40
        self.durable = _Durable(epoch)


@dataclass
class Owner:
    """A tree that another center owns."""

    root: Path
    epoch: Epoch = FIRST
    number: int = 0
    lineage: tuple[GenerationStart, ...] = ()
    known: dict[bytes, Entry] = field(default_factory=dict)

    def cut(self, epoch: Epoch | None = None) -> Generation:
        """A generation of what is there now."""
        self.epoch = epoch or self.epoch
        if not self.lineage or self.lineage[-1].epoch != self.epoch:
            self.lineage += (GenerationStart(self.epoch, self.number),)
        self.number += 1
        tree = LinuxTree(str(self.root), "0" * 32)
        now = {seen.path: tree.entry(seen) for seen in tree.scan().seen}
        tree.close()
        for path, entry in now.items():
            old = self.known.get(path)
            if old is None or old.deleted or replace(old, generation=0) != entry:
                self.known[path] = replace(entry, generation=self.number)
        for path, entry in list(self.known.items()):
            if path not in now and not entry.deleted:
                self.known[path] = Entry(path, entry.kind, self.number, deleted=True)
        return Generation(self.epoch, self.number)

    def entries(self, base: int | None) -> list[Entry]:
        """Everything, or what changed since `base`."""
        found = [self.known[path] for path in sorted(self.known)]
        if base is None:
            return [entry for entry in found if not entry.deleted]
        return [entry for entry in found if entry.generation > base]

    @property
    def digest(self) -> str:
        return codec.digest_of(self.entries(None))

    def piece(self, entry: Entry, ordinal: int, block: int) -> wire.Piece:
        size = block_bytes(entry.size)
        with (self.root / entry.path.decode(errors="surrogateescape")).open("rb") as file:
            file.seek(block * size)
            return wire.Piece(ordinal, block, 0, PieceStatus.DATA, file.read(size))


class Rig:
    """The replica."""

    def __init__(self, directory: Path, root: Path | None = None) -> None:
        self.directory = directory
        self.root = root or directory / "trees" / "docs"
        roots = (("remote", str(root)),) if root is not None else ()
        self.spec = FileSetSpec("5e" * 16, "docs", 1, roots)
        self.files = self.fresh()
        self.sink: Sink | None = None
        self.channel = Channel()

    def fresh(self) -> FileSet:
        """As a process finds it when it starts."""
        store = FileStores("remote", self.directory, GROUP, (str(self.directory),))
        return FileSet(self.spec, store, SystemClock())

    async def restart(self) -> None:
        """Another process."""
        self.files.close()
        self.files = self.fresh()
        await self.files.load()

    async def take(
        self,
        owner: Owner,
        *,
        base: int | None = None,
        entries: Sequence[Entry] | None = None,
        digest: str | None = None,
        stop_after: int | None = None,
        follow: Epoch | None = None,
        repeat_as_gone: bool = False,
    ) -> Channel:
        """One stream with one generation.

        `stop_after`: so many blocks, then the stream is lost. `repeat_as_gone`: each block comes once more,
        as gone.
        """
        channel = self.channel = Channel()
        copy = cast("GroupCopy", _Copy(follow or owner.epoch))
        sink = self.sink = Sink(
            self.files, copy, owner.epoch, cast("BulkChannel", channel), 1, self.files._clock
        )
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(sink.run())
            await self._until(lambda: bool(channel.states) or running.done())
            if running.done():
                return channel
            if entries is None:
                wants_full = bool(channel.states[0].flags & StateFlags.WANTS_FULL) or base is None
                base = None if wants_full else base
                entries = owner.entries(base)
            self._begin(owner, entries, base, digest or owner.digest)
            given = 0
            while not running.done() and self.files.held != Generation(owner.epoch, owner.number):
                while channel.wants and (stop_after is None or given < stop_after):
                    number, wants = channel.wants.pop(0)
                    for want in wants[: None if stop_after is None else stop_after - given]:
                        pieces = [owner.piece(entries[want.ordinal], *want)]
                        if repeat_as_gone:
                            pieces.append(wire.Piece(*want, 0, PieceStatus.GONE))
                        self._send(FrameType.TREE_BLOCKS, b"".join(wire.blocks_parts(number, pieces)))
                        given += 1
                if stop_after is not None and given >= stop_after:
                    await self._until(lambda: not sink._frames)
                    async with self.files.changing:
                        pass
                    break
                channel.said.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.02):
                        await channel.said.wait()
            await self._until(lambda: running.done() or not self.files.changing.locked())
            sink.close()
        return channel

    def _begin(self, owner: Owner, entries: Sequence[Entry], base: int | None, digest: str) -> None:
        flags = BeginFlags.FULL if base is None else BeginFlags.NONE
        target = Generation(owner.epoch, owner.number)
        begin = wire.TreeBegin(
            target, base or 0, flags, len(entries), bytes.fromhex(digest), owner.lineage, 1
        )
        self._send(FrameType.TREE_BEGIN, wire.encode_begin(begin))
        packed = b"".join(codec.encode(entry) for entry in entries)
        if entries:
            self._send(FrameType.TREE_ENTRIES, wire.entries_header(0) + packed)

    def _send(self, kind: FrameType, body: bytes) -> None:
        assert self.sink is not None
        self.sink.frame_received(Frame(kind, 0, 1, 0, body))

    async def _until(self, what: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not what():
                await asyncio.sleep(0.002)


def names(root: Path) -> list[str]:
    """What a person sees in a tree."""
    return sorted(
        str(path.relative_to(root))
        for path in root.rglob("*")
        if not path.relative_to(root).parts[0].startswith(".drsync")
    )


def file_entry(path: bytes, data: bytes, generation: int = 1) -> Entry:
    return Entry(
        path, FileKind.FILE, generation, mode=0o644, size=len(data), blocks=(codec.hash_packed(data),)
    )


class _Engine:
    is_frozen = False
    is_leased = True
    is_closed = False


class _Term:
    def __init__(self, epoch: Epoch) -> None:
        self.engine = _Engine()
        self.charter = _Charter(epoch)
        self.cuts: list[GenerationCut] = []

    def cut_generation(self, cut: GenerationCut) -> int:
        self.cuts.append(cut)
        return len(self.cuts)


@dataclass
class _Charter:
    epoch: Epoch


def source_of(files: FileSet, epoch: Epoch = FIRST) -> Source:
    """The owner's part, of which the test calls each round."""
    return Source(files, cast("OwnerTerm", _Term(epoch)), files._clock)
