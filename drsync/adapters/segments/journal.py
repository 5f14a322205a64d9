"""The journal of one group as a directory of segment files: `SegmentJournal`.

Order of durability, which is the argument for safety:

* append: bytes of the batch (page cache), then the tip. A full disk leaves the tip where it was; what was
  written of the batch lies beyond the end, where the next append or the next opening removes it.
* sync: data of every segment with new batches, directory entries, then `durable_seq`; only then footers.
* cut: later segments are unlinked from the last one backwards, each made durable, then the segment is
  truncated and made durable. Whatever is left after a crash in between is a prefix of the log. The caller
  lowers its persisted durable position before it cuts.
* trim: names go oldest first, each made durable, by the next `sync`; some files are used again (`Spares`).
"""

import os
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from drsync.adapters.segments.directory import BatchDirectory
from drsync.adapters.segments.files import (
    IOV_MAX,
    Files,
    OsFiles,
    ensure_directory,
    is_full,
    sync_directory,
    write_all,
)
from drsync.adapters.segments.layers import SegmentLayers
from drsync.adapters.segments.layout import (
    HEADER_BYTES,
    TRAILER_BYTES,
    Identity,
    SegmentHeader,
    encode_header,
)
from drsync.adapters.segments.marks import KIND_AT, forget_beyond, marks_after, note
from drsync.adapters.segments.mending import mend
from drsync.adapters.segments.opening import BadPlace, Opened, read_directory, refuse_loss
from drsync.adapters.segments.rewriting import write_again
from drsync.adapters.segments.segment import Segment, empty_after, file_name
from drsync.adapters.segments.shelf import Shelf
from drsync.adapters.segments.spares import Spares, write_over, zeros_after
from drsync.adapters.segments.tidying import tidy
from drsync.adapters.segments.turns import Turns
from drsync.delta.batch import HEADER_BYTES as BATCH_HEADER_BYTES
from drsync.delta.batch import KIND_ZERO
from drsync.model.errors import DrsyncError, FailedCopyError, MalformedError, NoSpaceError, RefusedError
from drsync.model.position import ORIGIN, Position, Runs
from drsync.ports.journal import BatchPlace, Buffer, HeldSegment, Layer, Locator

SEGMENT_BYTES = 64 << 20  # because space comes back in such pieces, and a crash scans at most one
SEGMENT_BYTES_MIN = 64 << 10  # because a segment must hold more than its header
SEGMENT_BYTES_MAX = 256 << 20  # because offsets in locators have 32 bits, and an opening scans one
FORKS = "forks"


def no_label() -> int:
    """The creation label of a journal without a clock."""
    return 0


class SegmentJournal:
    """`drsync.ports.journal.Journal` on files. See the port for what survives after each call.

    Args:
        directory: created if missing; locked against other processes until `close`.
        identity: whose journal it is; cluster, group and center must match existing segments.
        durable_hint: persisted durable position. Above it a torn tail is cut and the rest written again, at
            or below it damage is corruption and nothing is touched.
        segment_bytes: size of a segment, 64 KiB to 256 MiB.
        start: position before the first record, for a journal that does not begin the log.
        wall_us: label for new segments.
        files: system calls, replaced by tests.

    Raises:
        CorruptJournalError: records up to `durable_hint` are not all there.
        RefusedError: another process has the journal open.
        NoSpaceError: nothing was cut; to be tried again.
        FailedCopyError: reading or repairing the directory failed.
    """

    def __init__(
        self,
        directory: Path,
        identity: Identity,
        durable_hint: int,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        start: Position = ORIGIN,
        wall_us: Callable[[], int] = no_label,
        files: Files | None = None,
    ) -> None:
        assert SEGMENT_BYTES_MIN <= segment_bytes <= SEGMENT_BYTES_MAX
        self._directory = directory
        self._identity = identity
        self._segment_bytes = segment_bytes
        self._wall_us = wall_us
        self._files: Files = OsFiles() if files is None else files
        self._failed = ""
        self._turns = Turns()
        self._is_directory_dirty = False  # these two are guarded by self._shelf.shared
        self._doomed: list[Segment] = []
        self._spares = Spares(self._files, directory, segment_bytes)
        self._active: Segment | None = None
        self._lock_fd = -1
        self.cut_when_opened: BadPlace | None = None
        """The torn place that was cut when the journal was opened."""
        opened = Opened(start)
        self._shelf = Shelf(self._files, opened.segments, opened.runs, start)
        self._layers = SegmentLayers(self._files, directory, self._shelf)
        try:
            self._lock()
            opened = read_directory(self._files, directory, start, identity)
            refuse_loss(opened, durable_hint)
            self._shelf = Shelf(self._files, opened.segments, opened.runs, opened.tip)
            self._layers = SegmentLayers(self._files, directory, self._shelf)
            self._repair(opened.doomed, durable_hint)
        except OSError as error:
            self.close()
            raise self._fail("open", error) from error
        except BaseException:
            self.close()
            raise
        self.cut_when_opened = opened.bad
        self._durable_seq = opened.tip.seq

    def _lock(self) -> None:
        ensure_directory(self._files, self._directory)
        self._lock_fd = self._files.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._files.lock(self._lock_fd)
        except BlockingIOError as error:
            raise RefusedError(
                f"journal {self._directory} is open in another process", code="busy"
            ) from error

    def _repair(self, doomed: list[Path], durable_hint: int) -> None:
        """Remove what does not continue the log, make durable what does, and get ready for appends."""
        self._spares.sweep()
        for segment in self._shelf.segments:
            if not segment.is_sealed and segment.last.seq > durable_hint:
                after = self._shelf.end_at_or_below(max(durable_hint, segment.prior.seq))
                fd, directory = self._shelf.reopen(segment), self._shelf.directory(segment)
                write_again(self._files, fd, segment, directory, after)
        for path in reversed(doomed):
            self._files.unlink(path)
            self._files.fsync(self._lock_fd)
        for segment in self._shelf.segments[:-1]:
            if not segment.is_sealed:
                self._files.fsync(self._shelf.reopen(segment))
                self._shelf.unsynced.append(segment)
        if self._shelf.segments:
            self._activate(self._shelf.segments[-1])
        self._files.fsync(self._lock_fd)

    def _activate(self, segment: Segment) -> None:
        """Make the last segment ready for appends: durably nothing but zeros after its batches."""
        directory = self._shelf.directory(segment)
        fd = self._shelf.reopen(segment)
        segment.capacity = max(segment.capacity, segment.end + TRAILER_BYTES)
        if not empty_after(self._files, fd, segment.end, segment.capacity):
            segment.capacity = segment.end  # the next append makes room, or says that there is none
        segment.is_sealed, segment.held = False, None
        segment.directory = directory
        segment.file_bytes = segment.clean_end = segment.capacity
        self._active = segment
        with self._shelf.shared:
            if segment not in self._shelf.unsynced:
                self._shelf.unsynced.append(segment)

    # -- what it holds ---------------------------------------------------------------------------------

    @property
    def tip(self) -> Position:
        """See the port."""
        return self._shelf.tip

    @property
    def first_seq(self) -> int:
        """See the port."""
        return self._shelf.first_seq

    @property
    def durable_seq(self) -> int:
        """See the port."""
        return self._durable_seq

    @property
    def runs(self) -> Runs:
        """See the port."""
        return self._shelf.runs.all()

    @property
    def held_bytes(self) -> int:
        """See the port. Counts reserved space; files still to be unlinked by `sync` count no more."""
        segments = sum(segment.file_bytes for segment in self._shelf.segments)
        return segments + self._spares.held_bytes + self._layers.held_bytes

    def held_bytes_after(self, seq: int) -> int:
        """See the port. Space comes back in whole segments, and the last one always stays."""
        segments = self._shelf.segments
        return sum(s.file_bytes for s in segments if s.last.seq > seq or s is segments[-1])

    def sealed(self) -> Sequence[HeldSegment]:
        """See the port."""
        return self._held.full()

    # -- writing ---------------------------------------------------------------------------------------

    def append(self, parts: Sequence[Buffer], first_seq: int, end: Position) -> Locator:
        """See the port."""
        shelf = self._held
        assert first_seq == shelf.tip.seq + 1, "batches follow each other without a gap"
        length = sum(map(len, parts))
        segment = self._active
        try:
            if segment is None or segment.end + length > segment.capacity - TRAILER_BYTES:
                segment = self._roll(length)
            at = segment.end
            assert segment.fd is not None
            if at + length + BATCH_HEADER_BYTES > segment.clean_end:
                write_over(self._files, segment, parts, length)
            else:
                written = self._files.pwritev(segment.fd, parts, at) if len(parts) <= IOV_MAX else 0
                if written != length:
                    write_all(self._files, segment.fd, parts, at)
        except OSError as error:
            raise self._refused("append", error) from error
        assert segment.directory is not None
        segment.directory.add(first_seq, at, end.chain)
        if len(parts[0]) <= KIND_AT or parts[0][KIND_AT] > KIND_ZERO:
            note(segment, parts, at)
        segment.end = at + length
        segment.last = end
        shelf.runs.note(first_seq, end)
        shelf.tip = end
        return segment.number << 32 | at

    def _roll(self, length: int) -> Segment:
        """Start the next segment. Its header and name become durable with the next `sync`."""
        shelf = self._shelf
        prior = shelf.tip
        capacity = max(self._segment_bytes, HEADER_BYTES + length + TRAILER_BYTES)
        if self._active is not None and self._active.end == HEADER_BYTES:
            return self._widen(self._active, capacity)
        path = self._directory / file_name(prior.seq + 1)
        spare = self._spares.take()
        header = SegmentHeader(shelf.next_number, capacity, self._wall_us(), prior, self._identity)
        clean = zeros_after(HEADER_BYTES, HEADER_BYTES, capacity) if spare.is_reused else b""
        try:
            if capacity > self._segment_bytes:
                self._files.allocate(spare.fd, 0, capacity)
            write_all(self._files, spare.fd, [encode_header(header), clean], 0)
            self._files.rename(spare.path, path)
        except OSError:
            self._spares.keep(spare)
            raise
        segment = Segment(
            path, header.number, prior, capacity, HEADER_BYTES, prior, capacity, BatchDirectory(), spare.fd
        )
        segment.marks = array("Q")
        segment.clean_end = HEADER_BYTES + len(clean) if spare.is_reused else capacity
        shelf.add(segment)
        with shelf.shared:
            shelf.unsynced.append(segment)
            self._is_directory_dirty = True
        self._active = segment
        return segment

    def _widen(self, segment: Segment, capacity: int) -> Segment:
        """Make room in an empty segment, whose name the next one would have."""
        assert segment.fd is not None
        self._files.allocate(segment.fd, 0, capacity)
        if segment.clean_end == segment.capacity:
            segment.clean_end = capacity
        segment.capacity = segment.file_bytes = capacity
        return segment

    def establish(self) -> None:
        """Make the position before the first record durable where nothing is held. Raises as `append`."""
        try:
            if not self._shelf.segments:
                self._roll(0)
        except OSError as error:
            raise self._refused("begin", error) from error
        self.sync()

    def make_room(self) -> None:
        """See the port: the next segment's file is reserved."""
        self._refuse_failed()
        try:
            self._spares.room()
        except OSError as error:
            raise self._refused("make room", error) from error

    def hold_reserve(self, most_bytes: int) -> None:
        """See the port."""
        self._spares.reserve.round_ended(-(-most_bytes // self._segment_bytes))

    def sync(self) -> int:
        """See the port. Also writes footers of full segments, unlinks trimmed ones and prepares the next."""
        with self._turns:
            return self._sync()

    @property
    def is_sync_brief(self) -> bool:
        """See the port."""
        return self._files.is_sync_brief

    def sync_at_once(self) -> int | None:
        """See the port. Whatever is to be tidied is left to `sync`."""
        is_alone = self.is_sync_brief and self._turns.begin()
        try:
            return self._sync() if self._failed or (is_alone and self._has_only_data()) else None
        finally:
            if is_alone:
                self._turns.end()

    def begin_sync(self, told: Callable[[DrsyncError | None], None]) -> bool:
        """See the port."""
        if self._failed or not self._turns.begin():
            return False
        target, wait = self._shelf.tip.seq, None

        def ended(error: OSError | None) -> None:
            found = None if error is None else self._fail("sync", error)
            self._durable_seq = self._durable_seq if error else target
            self._turns.end()
            told(found)

        if target > self._durable_seq and self._has_only_data():
            fd = self._shelf.unsynced[0].fd
            assert fd is not None
            wait = self._files.begin_fdatasync(fd, ended)
        return self._turns.lend(wait)

    def _has_only_data(self) -> bool:
        """Nothing is to be tidied or prepared with the next sync."""
        with self._shelf.shared:
            is_more = len(self._shelf.unsynced) != 1 or self._is_directory_dirty or self._doomed
        return not is_more and self._spares.is_as_wanted

    def _sync(self) -> int:
        shelf = self._held
        with shelf.shared:
            target, dirty = shelf.tip.seq, list(shelf.unsynced)
            is_directory_dirty, self._is_directory_dirty = self._is_directory_dirty, False
            doomed, self._doomed = self._doomed, []
        try:
            if target > self._durable_seq or is_directory_dirty:
                for segment in dirty:
                    assert segment.fd is not None
                    self._files.fdatasync(segment.fd)
                if is_directory_dirty:
                    self._files.fsync(self._lock_fd)
                self._durable_seq = target
            tidy(self._files, shelf, self._spares, dirty[:-1], doomed, self._lock_fd)
            if self._active is not None:
                self._spares.prepare()
        except OSError as error:
            raise self._fail("sync", error) from error
        return self._durable_seq

    # -- reading ---------------------------------------------------------------------------------------

    def read(self, locator: Locator, length: int) -> bytes:
        """See the port."""
        buffer = bytearray(length)
        self.read_into(locator, memoryview(buffer))
        return bytes(buffer)

    def read_into(self, locator: Locator, target: memoryview) -> None:
        """See the port."""
        segment, at = self._held.find(locator, len(target))
        self._shelf.fill(segment, at, target)

    def expect(self, places: Sequence[tuple[Locator, int]]) -> None:
        """See the port."""
        for locator, length in places:
            with suppress(MalformedError, OSError):  # whoever reads it will be told
                self._shelf.will_need(*self._shelf.find(locator, length), length)

    def read_batches(self, after_seq: int, bytes_max: int) -> tuple[bytes, int]:
        """See the port. Never crosses from one segment into the next."""
        if after_seq == self._held.tip.seq:
            return b"", after_seq
        return self._shelf.batches(after_seq, bytes_max)

    def places(self, after_seq: int) -> Iterator[BatchPlace]:
        """See the port."""
        if after_seq == self._held.tip.seq:
            return
        yield from self._shelf.places(after_seq)

    def marks(self, after_seq: int) -> Iterator[bytes]:
        """See the port."""
        return marks_after(self._files, self._held, after_seq)

    def place_of(self, locator: Locator) -> BatchPlace:
        """See the port."""
        return self._held.place_of(locator)

    def mend(self, batch: Buffer) -> BatchPlace:
        """See the port. Indexes stay: they are made of tables that the same chain proves."""
        with self._turns:
            try:
                return mend(self._files, self._held, batch)
            except OSError as error:
                raise self._refused("mend", error) from error

    def changed(self, after_seq: int, through_seq: int) -> Mapping[int, list[tuple[int, int]]]:
        """See the port."""
        self._refuse_failed()
        return self._layers.changed(after_seq, through_seq)

    def layers(self, after_seq: int, through_seq: int) -> Sequence[Layer]:
        """See the port."""
        self._refuse_failed()
        return self._layers.layers(after_seq, through_seq)

    def is_index_due(self, above_seq: int) -> bool:
        """See the port."""
        return not self._failed and self._layers.is_due(above_seq)

    def index(self, above_seq: int) -> bool:
        """See the port."""
        return not self._failed and self._layers.index(above_seq)

    def position_at(self, seq: int) -> Position | None:
        """See the port."""
        found = self.batch_end_at_or_below(seq)
        if found.seq == seq:
            return found
        return ORIGIN if seq == 0 else None

    def batch_end_at_or_below(self, seq: int) -> Position:
        """See the port."""
        return self._held.end_at_or_below(seq)

    # -- removing --------------------------------------------------------------------------------------

    def cut(self, after_seq: int) -> None:
        """See the port. Persist a durable position of at most `after_seq` before calling this."""
        with self._turns:
            position = self.position_at(after_seq)
            if position is None or after_seq < self.first_seq - 1:
                raise MalformedError(f"seq {after_seq} is no held batch end, nothing was cut")
            if after_seq == self._shelf.tip.seq:
                return
            try:
                self._cut(position)
            except OSError as error:
                raise self._fail("cut", error) from error

    def _cut(self, position: Position) -> None:
        shelf = self._shelf
        kept = max(shelf.index_of(position.seq) + 1, 1)
        for segment in reversed(shelf.segments[kept:]):
            self._files.unlink(segment.path)
            self._files.fsync(self._lock_fd)
            shelf.drop([segment])
        segment = shelf.segments[-1]
        directory = shelf.directory(segment)
        if position.seq < segment.last.seq:
            count = directory.index_of(position.seq + 1)
            segment.end = directory.offsets[count]
            directory.keep(count)
            segment.last = position
            segment.first_us = 0
            forget_beyond(segment)
        self._activate(segment)
        shelf.runs.cut(position)
        shelf.tip = position
        self._durable_seq = min(self._durable_seq, position.seq)

    def trim(self, through_seq: int) -> int:
        """See the port. The last segment always stays, so that the tip survives a restart."""
        shelf = self._held
        is_alone = self._turns.begin()  # then no sync uses what is durable already
        try:
            with shelf.shared:
                busy = {s for s in shelf.unsynced if not is_alone or s.last.seq > self._durable_seq}
            count = 0
            for segment in shelf.segments[:-1]:
                if segment.last.seq > through_seq or segment in busy:
                    break
                count += 1
            gone = shelf.segments[:count]
            shelf.drop(gone)
        finally:
            if is_alone:
                self._turns.end()
        shelf.runs.trim(shelf.first_seq)
        with shelf.shared:
            self._doomed.extend(gone)
        return shelf.first_seq

    def export_tail(self, after_seq: int, name: str) -> str:
        """See the port. The fork is a journal directory of its own, under ``forks/<name>``."""
        if not name or name.startswith(".") or "/" in name:
            raise MalformedError(f"{name!r} is no name for a fork")
        position = self.position_at(after_seq)
        target = self._directory / FORKS / name
        is_there = self._files.exists(target)
        if position is None and not is_there:
            raise MalformedError(f"seq {after_seq} is no held batch end, nothing was exported")
        try:
            if is_there or position is None:
                sync_directory(self._files, target.parent)  # whoever made it may have died before that
            else:
                self._export(position, target)
        except (OSError, FailedCopyError, NoSpaceError) as error:
            cause = error.__cause__ if isinstance(error, FailedCopyError | NoSpaceError) else error
            if isinstance(cause, OSError) and is_full(cause):  # also at an fsync: it was only a copy
                raise NoSpaceError(
                    f"no space to keep fork {name}: {cause}; the journal is as it was"
                ) from error
            raise self._fail("export", error) from error
        return str(target)

    def _export(self, position: Position, target: Path) -> None:
        files = self._files
        partial = target.with_name(f".{target.name}.partial")
        if files.exists(partial):
            for name in sorted(files.names(partial)):
                files.unlink(partial / name)
        fork = SegmentJournal(
            partial, self._identity, 0, segment_bytes=self._segment_bytes, start=position,
            wall_us=self._wall_us, files=files,
        )  # fmt: skip
        try:
            for place in self.places(position.seq):
                end = self.position_at(place.last_seq)
                assert end is not None
                fork.append([self.read(place.locator, place.length)], place.first_seq, end)
            fork.finish()
        finally:
            fork.close()
        files.rename(partial, target)
        sync_directory(files, target.parent)
        sync_directory(files, self._directory)

    def finish(self) -> None:
        """Sync, seal the last segment and give back the space it had reserved. Appending starts a new one.

        Raises:
            FailedCopyError: a write or fsync failed; the journal is failed.
        """
        self.sync()
        with self._turns:
            self._active = None
            try:
                full = [segment for segment in self._shelf.unsynced if segment.directory]
                tidy(self._files, self._shelf, self._spares, full, [], self._lock_fd)
            except OSError as error:
                raise self._fail("finish", error) from error

    def close(self) -> None:
        """See the port."""
        self._layers.close()
        with self._turns:
            self._shelf.close_all()
            self._spares.close()
            if self._lock_fd >= 0:
                self._files.close(self._lock_fd)
                self._lock_fd = -1
            self._failed = self._failed or "it was closed"

    # -- failing ---------------------------------------------------------------------------------------

    def _fail(self, what: str, error: Exception) -> FailedCopyError:
        """Never try again: after a write or fsync error the page cache may have dropped data (P33)."""
        self._failed = f"{what}: {error}"
        return self._refuse()

    def _refused(self, what: str, error: OSError) -> NoSpaceError | FailedCopyError:
        """Without space nothing was appended, nothing is lost: that may pass (P33 is about fsync)."""
        if is_full(error):
            return NoSpaceError(f"no space for the journal in {self._directory}: {error.strerror}")
        return self._fail(what, error)

    @property
    def _held(self) -> Shelf:
        self._refuse_failed()
        return self._shelf

    def _refuse_failed(self) -> None:
        """Nothing of a failed journal may be used."""
        if self._failed:
            raise self._refuse()

    def _refuse(self) -> FailedCopyError:
        return FailedCopyError(
            f"journal {self._directory} cannot be used: {self._failed}",
            remedy="look at the disk, then rebuild this copy from another center",
        )
