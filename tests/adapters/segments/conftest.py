"""Journals on files, batches to put into them, and a disk that fails, stops or forgets."""

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest
from typing_extensions import override

from drsync.adapters.segments.files import Files, OsFiles
from drsync.adapters.segments.journal import SEGMENT_BYTES_MIN, SegmentJournal
from drsync.adapters.segments.layout import TRAILER_BYTES, TRAILER_MAGIC, Identity
from drsync.delta.batch import BatchBuilder, EncodedBatch
from drsync.model.epoch import Epoch
from drsync.model.position import Position
from drsync.ports.journal import Buffer

IDENTITY = Identity("cluster", "group", "production", "0" * 32)


class ProcessDied(BaseException):
    """The process was killed inside a system call."""


class QuickFiles(OsFiles):
    """Without waiting for the disk, for tests in which the host does not crash."""

    @override
    def fdatasync(self, fd: int, /) -> None:
        pass

    @override
    def fsync(self, fd: int, /) -> None:
        pass


@dataclass
class Trouble(OsFiles):
    """The system calls, with trouble in the `at`-th one that changes something (from 0).

    Attributes:
        at: which call.
        mode: ``error`` answers EIO from then on, ``die`` ends the process before the call, ``torn`` after
            half of a write, ``full`` finds no space from then on, the first time after half of a write.
        calls: names of the calls so far.
    """

    at: int = -1
    mode: str = "error"
    calls: list[str] = field(default_factory=list)

    def _count(self, name: str) -> bool:
        self.calls.append(name)
        count = len(self.calls) - 1
        if self.at < 0 or count < self.at:
            return False
        if self.mode == "full":
            if count > self.at and name in {"unlink", "truncate", "fsync", "fdatasync"}:
                return False  # they need no space
            if name == "pwritev" and count == self.at:
                return True
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self.mode == "error":
            raise OSError(errno.EIO, f"told to fail in {name}")
        if self.mode == "torn" and name == "pwritev" and count == self.at:
            return True
        raise ProcessDied

    @override
    def open(self, path: Path, flags: int) -> int:
        if flags & os.O_CREAT:
            self._count("create")
        return super().open(path, flags)

    @override
    def pwritev(self, fd: int, parts: Sequence[Buffer], offset: int, /) -> int:
        if self._count("pwritev"):
            data = b"".join(parts)
            os.pwrite(fd, data[: len(data) // 2], offset)
            if self.mode == "full":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise ProcessDied
        return os.pwritev(fd, parts, offset)

    @override
    def truncate(self, fd: int, length: int, /) -> None:
        self._count("truncate")
        os.ftruncate(fd, length)

    @override
    def allocate(self, fd: int, offset: int, length: int, /) -> None:
        self._count("allocate")
        os.posix_fallocate(fd, offset, length)

    @override
    def fdatasync(self, fd: int, /) -> None:
        self._count("fdatasync")

    @override
    def fsync(self, fd: int, /) -> None:
        self._count("fsync")

    @override
    def rename(self, source: Path, target: Path) -> None:
        self._count("rename")
        super().rename(source, target)

    @override
    def unlink(self, path: Path) -> None:
        self._count("unlink")
        super().unlink(path)


class Forgetful(OsFiles):
    """A disk behind a cache: what was not synced can be taken back, as after a power cut.

    Names are kept, as though the directory had reached the disk by chance.
    """

    def __init__(self) -> None:
        self._volatile: list[tuple[int, int, bytes]] = []  # inode, offset, what was there before

    @override
    def pwritev(self, fd: int, parts: Sequence[Buffer], offset: int, /) -> int:
        length = sum(map(len, parts))
        inode = os.fstat(fd).st_ino
        self._volatile.append((inode, offset, os.pread(fd, length, offset).ljust(length, b"\0")))
        return os.pwritev(fd, parts, offset)

    @override
    def fdatasync(self, fd: int, /) -> None:
        inode = os.fstat(fd).st_ino
        self._volatile = [write for write in self._volatile if write[0] != inode]

    @override
    def fsync(self, fd: int, /) -> None:
        self.fdatasync(fd)

    def cut_power(self, directory: Path, is_lost: Callable[[], bool]) -> None:
        """Take back those volatile writes that are lost, newest first."""
        paths = {path.stat().st_ino: path for path in directory.iterdir() if path.is_file()}
        for inode, offset, before in reversed(self._volatile):
            if inode in paths and is_lost():
                fd = os.open(paths[inode], os.O_RDWR)
                os.pwrite(fd, before, offset)
                os.close(fd)
        self._volatile.clear()


class FullDisk(QuickFiles):
    """No space can be reserved while it is full."""

    is_full = False

    @override
    def allocate(self, fd: int, offset: int, length: int, /) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().allocate(fd, offset, length)


class NoFooters(QuickFiles):
    """A disk without space for footers, which alone may need more than was reserved."""

    @override
    def pwritev(self, fd: int, parts: Sequence[Buffer], offset: int, /) -> int:
        if len(parts) == 1 and bytes(parts[0][-TRAILER_BYTES:])[:8] == TRAILER_MAGIC:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().pwritev(fd, parts, offset)


class Open(Protocol):
    """Opens the journal of a test."""

    def __call__(
        self, durable_hint: int = 0, files: Files | None = None, segment_bytes: int = SEGMENT_BYTES_MIN
    ) -> SegmentJournal:
        """Close the one before and open it, as the next process would."""
        ...


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def reopen(directory: Path) -> Open:
    opened: list[SegmentJournal] = []

    def reopen(
        durable_hint: int = 0, files: Files | None = None, segment_bytes: int = SEGMENT_BYTES_MIN
    ) -> SegmentJournal:
        while opened:
            opened.pop().close()
        journal = SegmentJournal(
            directory, IDENTITY, durable_hint, segment_bytes=segment_bytes, files=files or QuickFiles()
        )
        opened.append(journal)
        return journal

    return reopen


def encode(tip: Position, *payloads: bytes, epoch: int = 1, time_us: int = 0) -> EncodedBatch:
    builder = BatchBuilder()
    builder.reset(Epoch(epoch), tip.seq + 1, tip.chain)
    for payload in payloads:
        builder.add_write(0, 0, memoryview(payload), 0)
    return builder.finish(time_us)


class Add(Protocol):
    """Appends one batch of writes."""

    def __call__(self, journal: SegmentJournal, *payloads: bytes, epoch: int = 1) -> EncodedBatch:
        """Append."""
        ...


@pytest.fixture
def add() -> Add:
    def add(journal: SegmentJournal, *payloads: bytes, epoch: int = 1) -> EncodedBatch:
        batch = encode(journal.tip, *payloads, epoch=epoch)
        journal.append(batch.parts, batch.first_seq, batch.end)
        return batch

    return add


@pytest.fixture
def trouble() -> type[Trouble]:
    return Trouble


@pytest.fixture
def process_died() -> type[ProcessDied]:
    return ProcessDied


@pytest.fixture
def forgetful() -> type[Forgetful]:
    return Forgetful


@pytest.fixture
def full() -> FullDisk:
    return FullDisk()


@pytest.fixture
def no_footers() -> NoFooters:
    return NoFooters()
