"""Forks as directories below a journal's: list, read, remove. Nothing but `discard` changes a file."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from typing_extensions import override

from drsync.adapters.segments.files import Files, OsFiles, sync_directory
from drsync.adapters.segments.journal import FORKS, SegmentJournal
from drsync.adapters.segments.layout import HEADER_BYTES as SEGMENT_HEADER_BYTES
from drsync.adapters.segments.layout import Identity
from drsync.delta.batch import HEADER_BYTES, peek
from drsync.model.epoch import Epoch
from drsync.model.errors import DrsyncError, FailedCopyError, RefusedError, UsageError
from drsync.model.position import ORIGIN, Position
from drsync.ports.forks import ForkInfo
from drsync.ports.journal import BatchPlace, Buffer, Journal, Locator

DISCARDED = ".discarded"


class SegmentHead(NamedTuple):
    """A segment from outside: the record before it, its last position, epoch and label of its first batch."""

    after_seq: int
    last: Position
    epoch: Epoch
    time_us: int


class ReadOnlyJournal(SegmentJournal):
    """A journal that is only looked at: no lock, no repair, no new file. Damage ends it, and is told."""

    @override
    def _lock(self) -> None:
        """Readers do not disturb each other, and nobody writes."""

    @override
    def _repair(self, doomed: list[Path], durable_hint: int) -> None:
        """Everything stays as it is."""

    @override
    def append(self, parts: Sequence[Buffer], first_seq: int, end: Position) -> Locator:
        raise _refusal()

    @override
    def make_room(self) -> None:
        raise _refusal()

    @override
    def sync(self) -> int:
        return self.durable_seq

    @override
    def mend(self, batch: Buffer) -> BatchPlace:
        raise _refusal()

    @override
    def cut(self, after_seq: int) -> None:
        raise _refusal()

    @override
    def trim(self, through_seq: int) -> int:
        raise _refusal()

    @override
    def export_tail(self, after_seq: int, name: str) -> str:
        raise _refusal()

    def heads(self) -> Iterator[SegmentHead]:
        """What its segments begin and end with, without reading what is between. Raises DrsyncError."""
        for segment in self._shelf.segments:
            if segment.last.seq > segment.prior.seq:
                first = peek(self.read(segment.number << 32 | SEGMENT_HEADER_BYTES, HEADER_BYTES))
                yield SegmentHead(segment.prior.seq, segment.last, first.epoch, first.time_us)

    @property
    def prior(self) -> Position:
        """The position before its first record."""
        segments = self._shelf.segments
        return segments[0].prior if segments else ORIGIN


def _refusal() -> RefusedError:
    return RefusedError("a fork is only read", code="read_only")


class SegmentForks:
    """`drsync.ports.forks.Forks` on files.

    Args:
        journal: directory of the journal they were exported from.
        identity: whose it is.
        files: system calls, replaced by tests.
        remove: removes an empty directory.
    """

    def __init__(
        self,
        journal: Path,
        identity: Identity,
        files: Files | None = None,
        remove: Callable[[Path], None] = Path.rmdir,
    ) -> None:
        self._remove = remove
        self._home = journal / FORKS
        self._identity = identity
        self._files: Files = OsFiles() if files is None else files

    def names(self) -> list[str]:
        """See Forks."""
        try:
            if not self._files.exists(self._home):
                return []
            return sorted(name for name in self._files.names(self._home) if not name.startswith("."))
        except OSError as error:
            raise FailedCopyError(f"{self._home}: {error.strerror}") from error

    def _path(self, name: str) -> Path:
        known = self.names()
        if name not in known:
            held = f"there are: {', '.join(known)}" if known else "there are none"
            raise UsageError(
                f"there is no fork {name[:64]} here; {held}",
                code="unknown_fork",
                remedy="See drsync fork list.",
            )
        return self._home / name

    def open(self, name: str) -> Journal:
        """See Forks."""
        return self._open(self._path(name))

    def _open(self, path: Path) -> ReadOnlyJournal:
        return ReadOnlyJournal(path, self._identity, 0, files=self._files)

    def describe(self, name: str) -> ForkInfo:
        """See Forks. Reads footers, and the batches of the last segment."""
        path = self._path(name)
        journal = self._open(path)
        try:
            first, last, count = None, None, 0
            for place in journal.places(journal.prior.seq):
                first, last, count = first or place, place, count + 1
            bad = journal.cut_when_opened
            damage = f"{bad.segment}, byte {bad.offset}, before record {bad.seq}: {bad.reason}" if bad else ""
            return ForkInfo(
                name,
                str(path),
                journal.prior,
                journal.tip,
                count,
                journal.held_bytes,
                _label(journal, first),
                _label(journal, last),
                damage,
            )
        finally:
            journal.close()

    def discard(self, name: str) -> None:
        """See Forks. Renamed first, so that half of it is never taken for a fork; a later call goes on."""
        path = self._path(name)
        gone = path.with_name(f".{name}{DISCARDED}")
        try:
            if self._files.exists(gone):
                self._empty(gone)  # what an earlier process left of one of that name
            self._files.rename(path, gone)
            sync_directory(self._files, self._home)
            self._empty(gone)
            self._remove(gone)
            sync_directory(self._files, self._home)
        except OSError as error:
            raise FailedCopyError(
                f"fork {name} was not removed completely: {error.strerror}", remedy=f"Remove {gone} by hand."
            ) from error

    def _empty(self, directory: Path) -> None:
        for name in sorted(self._files.names(directory)):
            self._files.unlink(directory / name)


def _label(journal: SegmentJournal, place: BatchPlace | None) -> int:
    if place is None:
        return 0
    try:
        return peek(journal.read(place.locator, HEADER_BYTES)).time_us
    except DrsyncError:
        return 0  # it is told as damage
