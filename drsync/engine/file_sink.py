"""The replica's end of a tree's stream: collect a generation beside the tree, then let it be applied.

Everything of a generation is staged and verified before anything of the tree changes; it is applied when the
log of this center says that the owner cut it. From then on it only rolls forward.
"""

import asyncio
import errno
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field

from drsync.delta import blocks
from drsync.delta import entries as codec
from drsync.engine.bulk import BulkChannel
from drsync.engine.copy import GroupCopy
from drsync.engine.file_apply import Applier
from drsync.engine.file_set import CutAt, FileSet
from drsync.engine.threads import in_thread
from drsync.model.epoch import Epoch
from drsync.model.errors import DrsyncError, MalformedError, RefusedError
from drsync.model.fileset import Entry, FileKind, block_bytes
from drsync.ports.clock import Clock
from drsync.ports.tree import StagedFile, Tree
from drsync.wire import files as wire
from drsync.wire.files import BeginFlags, PieceStatus, StateFlags
from drsync.wire.frames import Frame, FrameType

WINDOW_BYTES = 16 << 20  # because it covers 1 Gbit/s x 130 ms
WANTS_PER_FRAME = 4096  # because a frame holds 256 KiB of them, and a few are enough to keep a link busy
QUEUED_BYTES_MAX = 512 << 20  # because the entries of a million names come without being asked for
CHECK_S = 60.0  # because a person who changes a replica's tree should not find out at the next failover
_FULL = frozenset((errno.ENOSPC, errno.EDQUOT))
CUT_POLL_S = 0.01  # because the record of a cut is in the log a moment after its content


class LostError(Exception):
    """The stream has ended or belongs to an epoch that is over. Never leaves this file."""


@dataclass(slots=True)
class Job:
    """A file that is being put together.

    Attributes:
        ordinal: of its entry in the generation.
        missing: blocks that must come from the owner, not yet asked for.
        awaited: blocks asked for → what has come of each.
        local: (block, path, offset in that file) of blocks that are in the tree already.
    """

    ordinal: int
    entry: Entry
    key: str
    missing: deque[int] = field(default_factory=deque)
    awaited: dict[int, bytearray] = field(default_factory=dict)
    local: list[tuple[int, bytes, int]] = field(default_factory=list)
    staged: StagedFile | None = None


class Sink:
    """Receives one tree from its owner in one epoch. Implements `StreamHandler`."""

    def __init__(
        self, files: FileSet, copy: GroupCopy, epoch: Epoch, channel: BulkChannel, stream: int, clock: Clock
    ) -> None:
        self.is_lost = False
        self._files = files
        self._copy = copy
        self._epoch = epoch
        self._channel = channel
        self._stream = stream
        self._clock = clock
        self._frames: deque[Frame] = deque()
        self._queued_bytes = 0
        self._arrived = asyncio.Event()
        self._begin: wire.TreeBegin | None = None
        self._entries: list[Entry] = []
        self._jobs: dict[int, Job] = {}
        self._flying_bytes = 0

    # --- StreamHandler

    def frame_received(self, frame: Frame) -> None:
        """See StreamHandler."""
        self._frames.append(frame)
        self._queued_bytes += len(frame.body)
        if self._queued_bytes > QUEUED_BYTES_MAX:
            raise MalformedError(f"{self._queued_bytes} bytes of a tree came without being asked for")
        self._arrived.set()

    def frames_ended(self) -> None:
        """See StreamHandler."""

    def still_arriving(self) -> None:
        """See StreamHandler."""

    def pause(self) -> None:
        """See StreamHandler; what is asked for is small and goes on."""

    def resume(self) -> None:
        """See StreamHandler."""

    def lost(self, reason: str) -> None:
        """See StreamHandler."""
        del reason
        self.is_lost = True
        self._arrived.set()

    # --- life

    def close(self) -> None:
        """Take nothing more from this stream."""
        if not self.is_lost:
            self._channel.send(FrameType.DETACH, self._stream, [])
            self._channel.close_stream(self._stream)
            self.lost("closed")

    async def run(self) -> None:
        """Until the stream is lost or the epoch is over. Trouble of this tree is noted at the tree."""
        files = self._files
        try:
            await self._begin_tree()
            self._state()
            while True:
                await self._handle(await self._next())
        except LostError:
            pass
        except MalformedError as error:
            self._channel.close(f"malformed: {error}")
        except (DrsyncError, OSError) as error:
            files.held_back(_told(error))
            if isinstance(error, OSError) and error.errno in _FULL:
                await in_thread(self._give_room_back)
            if not self.is_lost:
                self._state(StateFlags.HELD_BACK)
        finally:
            await in_thread(self._let_go)
            self.close()

    async def _begin_tree(self) -> None:
        files = self._files
        async with files.changing:
            self._check_epoch()  # else somebody here may own the tree by now
            try:
                await in_thread(lambda: Applier(files, self._epoch).begin())
            except RefusedError as error:
                if error.code != "unholdable":
                    raise
                files.held_back(error)  # the owner may have mended it: the next generation tells
            else:
                files.held_back(None)

    async def _next(self) -> Frame:
        while not self._frames:
            if self.is_lost:
                raise LostError
            self._arrived.clear()
            try:
                async with asyncio.timeout(CHECK_S):
                    await self._arrived.wait()
            except TimeoutError:
                await self._check_tree()
        self._check_epoch()
        frame = self._frames.popleft()
        self._queued_bytes -= len(frame.body)
        return frame

    async def _check_tree(self) -> None:
        """Nothing comes: see that the tree is what the index says. What is not is asked for again."""
        files = self._files
        before = files.state
        if self._begin is not None or before.doubted or not files.is_check_due:
            return
        async with files.changing:
            self._check_epoch()
            await in_thread(Applier(files, self._epoch).doubt)
        if files.state.doubted:
            self._state()

    def _check_epoch(self) -> None:
        if self.is_lost or self._copy.durable.follow != self._epoch:
            raise LostError

    async def _handle(self, frame: Frame) -> None:
        match frame.type:
            case FrameType.TREE_OPEN:
                return
            case FrameType.TREE_BEGIN:
                await self._started(wire.read_begin(frame.body))
            case FrameType.TREE_ENTRIES:
                await self._listed(frame.body)
            case FrameType.TREE_BLOCKS:
                await self._brought(frame.body)
            case FrameType.DETACH:
                raise LostError
            case _:
                raise MalformedError(f"frame {frame.type} does not belong on a tree's stream")
        if self._begin is not None and len(self._entries) == self._begin.total:
            await self._go_on(self._begin)

    def _state(self, flags: StateFlags = StateFlags.NONE) -> None:
        files = self._files
        if files.state.doubted:
            flags |= StateFlags.WANTS_FULL
        body = wire.encode_state(wire.TreeState(flags, files.held, files.staged))
        self._channel.send(FrameType.TREE_STATE, self._stream, [body])

    def keep_ended(self) -> None:
        """A view of the kept generation was cloned: the owner may send newer ones."""
        if not self.is_lost:
            self._state(StateFlags.GO_ON)

    # --- a generation comes

    def _require_honest(self, begin: wire.TreeBegin) -> None:
        """Numbers that no tree of this epoch has would stay in the index for ever."""
        epochs = [start.epoch for start in begin.lineage]
        highest = max((start.after for start in begin.lineage), default=0)
        if begin.target.epoch != self._epoch or epochs[-1:] != [self._epoch] or epochs != sorted(set(epochs)):
            raise MalformedError(f"a generation of epoch {begin.target.epoch} came in epoch {self._epoch}")
        if not highest < begin.target.number <= codec.GENERATION_MAX:
            raise MalformedError(f"generation {begin.target.number} came, its epoch goes on after {highest}")

    async def _started(self, begin: wire.TreeBegin) -> None:
        self._require_honest(begin)
        files = self._files
        await in_thread(self._discard)
        files.ready = None
        self._begin, self._entries, self._jobs, self._flying_bytes = begin, [], {}, 0
        is_full = bool(begin.flags & BeginFlags.FULL)
        if not is_full and begin.base != files.state.held.number:
            raise MalformedError(
                f"changes since {begin.base} came; this tree is at {files.state.held.number}"
            )
        await in_thread(
            lambda: files.with_index(
                lambda index: index.begin_incoming(
                    begin.target, begin.lineage, is_full=is_full, digest=begin.digest.hex()
                )
            )
        )
        files.note_known(begin.target)

    async def _listed(self, body: bytes) -> None:
        begin = self._begin
        first, packed = wire.read_entries(body)
        if begin is None or first != len(self._entries):
            raise MalformedError(f"entry {first} of a tree came; {len(self._entries)} was expected")
        entries = await in_thread(lambda: self._keep_entries(packed, begin.target.number))
        self._entries += entries
        if len(self._entries) > begin.total:
            raise MalformedError(f"{len(self._entries)} entries came, {begin.total} were announced")
        if len(self._entries) == begin.total:
            await in_thread(self._plan)

    def _keep_entries(self, packed: memoryview, newest: int) -> list[Entry]:
        entries = codec.unpack(packed)
        if any(entry.generation > newest for entry in entries):
            raise MalformedError(f"an entry is newer than its generation {newest}")
        self._files.with_index(lambda index: index.add_incoming(entries))
        return entries

    def _plan(self) -> None:
        """What must be staged, and from where. Files whose content is here are put together at once."""
        files, tree = self._files, self._files.tree()
        have, is_blank = tree.staged(), not files.state.entries
        names = []
        for ordinal, entry in enumerate(self._entries):
            known = None if is_blank else files.find(entry.path)
            own = known[0] if known is not None else None
            if own is not None and own.says_same(entry):
                continue
            if own is None and entry.deleted:
                continue
            names.append(entry.path)
            if entry.deleted or entry.kind is not FileKind.FILE or (own and own.has_content_of(entry)):
                continue
            key = codec.stage_key(entry)
            if key in have and (key in files.sealed or self._is_whole(entry, key)):
                continue
            job = Job(ordinal, entry, key)
            self._sources(job, own, is_blank=is_blank)
            self._jobs[ordinal] = job
        files.note_pending(names)
        self._require_room(tree)
        for job in [job for job in self._jobs.values() if not job.missing]:
            self._begin_file(job)
            self._end_file_if_whole(job)

    def _require_room(self, tree: Tree) -> None:
        """Better nothing is staged than a disk filled up that volumes may share."""
        needed = sum(
            job.entry.size - sum(length for _, length in job.entry.holes) for job in self._jobs.values()
        )
        room = tree.room()
        if needed > room:
            raise RefusedError(
                f"changed files need {needed >> 20} MiB of space, {room >> 20} MiB are free for them",
                code="no_space",
                remedy="Make space on the file system of the tree; it goes on by itself then.",
            )

    def _is_whole(self, entry: Entry, key: str) -> bool:
        """Whether what a process before this one sealed has its content: power may have failed since."""
        staged = self._files.tree().stage(key, entry.size)
        size = block_bytes(entry.size)
        for block, name in enumerate(entry.blocks):
            if staged.hash(block * size, _length(entry, block)) != name:
                staged.discard()
                return False
        staged.seal(entry)
        self._files.sealed.add(key)
        return True

    def _sources(self, job: Job, own: Entry | None, *, is_blank: bool) -> None:
        """Where each block of a file comes from; `is_blank`: nothing is here yet."""
        entry, size = job.entry, block_bytes(job.entry.size)
        is_alike = own is not None and own.kind is FileKind.FILE and block_bytes(own.size) == size
        for block, name in enumerate(entry.blocks):
            length = min(size, entry.size - block * size)
            if name == blocks.zero_hash(length):
                continue  # a staged file is zeros where nothing was written
            if own is not None and is_alike and block < len(own.blocks) and own.blocks[block] == name:
                job.local.append((block, own.path, block * size))
                continue
            places = [] if is_blank else self._files.where(name)
            if places:
                path, number = places[0]
                found = self._files.find(path)
                if found is not None:
                    job.local.append((block, path, number * block_bytes(found[0].size)))
                    continue
            job.missing.append(block)

    async def _go_on(self, begin: wire.TreeBegin) -> None:
        """Ask for more, or, with everything here, apply."""
        if self._jobs:
            self._ask()
            return
        files = self._files
        await in_thread(lambda: files.tree().sync())
        files.staged, files.ready = begin.target, CutAt(self._epoch, begin.cut_seq)
        self._state()
        while self._copy.commit < begin.cut_seq:
            self._check_epoch()
            await self._clock.sleep_until(self._clock.now() + CUT_POLL_S)
        self._check_epoch()
        async with files.changing:
            await in_thread(lambda: Applier(files, self._epoch).apply())
            files.ready = None
            files.held_back(None)
        self._begin, self._entries = None, []
        self._state()

    # --- blocks

    def _ask(self) -> None:
        wants: list[wire.Want] = []
        for job in self._jobs.values():
            size = block_bytes(job.entry.size)
            while job.missing and self._flying_bytes < WINDOW_BYTES and len(wants) < WANTS_PER_FRAME:
                block = job.missing.popleft()
                job.awaited[block] = bytearray()
                self._flying_bytes += min(size, job.entry.size - block * size)
                wants.append(wire.Want(job.ordinal, block))
            if self._flying_bytes >= WINDOW_BYTES or len(wants) >= WANTS_PER_FRAME:
                break
        if wants:
            assert self._begin is not None
            body = wire.encode_want(self._begin.target.number, wants)
            self._channel.send(FrameType.TREE_WANT, self._stream, [body])

    async def _brought(self, body: bytes) -> None:
        number, pieces = wire.read_blocks(body)
        if self._begin is None or number != self._begin.target.number:
            return  # of a generation that was given up
        if len(self._entries) < self._begin.total:
            raise MalformedError("blocks came before the entries they belong to")
        if not await in_thread(lambda: self._take(pieces)):
            await in_thread(self._discard)
            self._begin, self._entries = None, []
            self._state(StateFlags.GAVE_UP)

    def _take(self, pieces: list[wire.Piece]) -> bool:
        """Put pieces where they belong; whether all of them were to be had."""
        for piece in pieces:
            job = self._jobs.get(piece.ordinal)
            if job is None or (piece.block not in job.awaited and piece.block not in job.missing):
                continue  # pushed unasked, and it is here already
            if piece.status is PieceStatus.GONE:
                return False
            self._take_piece(job, piece)
        return True

    def _take_piece(self, job: Job, piece: wire.Piece) -> None:
        if piece.block in job.missing:  # pushed before it was asked for
            job.missing.remove(piece.block)
            job.awaited[piece.block] = bytearray()
            self._flying_bytes += _length(job.entry, piece.block)
        held = job.awaited.get(piece.block)
        if held is None:
            return
        if piece.offset != len(held):
            raise MalformedError(f"a piece at {piece.offset} of a block came; {len(held)} was expected")
        held += piece.data
        length = _length(job.entry, piece.block)
        if len(held) < length:
            return
        if len(held) > length or blocks.hash_block(held) != job.entry.blocks[piece.block]:
            raise MalformedError(f"block {piece.block} of entry {job.ordinal} is not what was asked for")
        del job.awaited[piece.block]
        self._flying_bytes -= length
        staged = self._begin_file(job)
        staged.write(piece.block * block_bytes(job.entry.size), memoryview(held))
        self._end_file_if_whole(job)

    def _begin_file(self, job: Job) -> StagedFile:
        """The file beside the tree, with what the tree has of it. What is not as it was said is asked for."""
        if job.staged is not None:
            return job.staged
        entry, size = job.entry, block_bytes(job.entry.size)
        job.staged = staged = self._files.tree().stage(job.key, entry.size)
        for block, path, offset in job.local:
            length = min(size, entry.size - block * size)
            try:
                found = staged.copy_from(path, offset, block * size, length)
            except OSError:
                found = b""
            if found != entry.blocks[block]:
                job.missing.append(block)
        job.local = []
        return staged

    def _end_file_if_whole(self, job: Job) -> None:
        if job.missing or job.awaited:
            return
        assert job.staged is not None
        job.staged.seal(job.entry)
        self._files.sealed.add(job.key)
        del self._jobs[job.ordinal]
        self._files.pending = max(0, self._files.pending - 1)

    def _give_room_back(self) -> None:
        """What was staged in vain; not what a change under way needs."""
        files = self._files
        self._discard()
        if files.with_index(lambda index: index.state()).applying is None:
            with suppress(DrsyncError, OSError):
                files.tree().sweep(())

    def _let_go(self) -> None:
        """Nothing is held that would keep the root from being unmounted. What is sealed stays."""
        self._discard()
        self._files.release()

    def _discard(self) -> None:
        jobs, self._jobs = self._jobs, {}
        for job in jobs.values():
            if job.staged is not None:
                job.staged.discard()


def _length(entry: Entry, block: int) -> int:
    size = block_bytes(entry.size)
    return min(size, entry.size - block * size)


def _told(error: Exception) -> DrsyncError:
    if isinstance(error, DrsyncError):
        return error
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return RefusedError(
        f"the tree cannot be written: {reason}",
        code="tree",
        remedy="It goes on by itself when that is mended.",
    )
