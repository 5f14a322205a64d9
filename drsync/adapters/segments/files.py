"""The few system calls that journal and superblock make, as an object that can be replaced.

Every access to files goes through here, so that a test can make any one of them fail, and the simulated
world can put a disk of its own below the shipped code.
"""

import errno
import fcntl
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeAlias

from drsync.core.brevity import Brevity
from drsync.model.errors import StartDamageError
from drsync.ports.journal import Buffer

IOV_MAX = 1024  # because Linux refuses longer vectors (UIO_MAXIOV)
PAGE = 4096
_FULL = (errno.ENOSPC, errno.EDQUOT)

Ended: TypeAlias = Callable[[OSError | None], None]
"""Hears how something that was begun has ended."""

Wait: TypeAlias = Callable[[], None]
"""Waits, in the thread that began something, until it has ended and whoever is to hear it was told."""


class Files(Protocol):
    """System calls on files; all raise OSError.

    What a call changes survives the death of this process when it returns. The death of the host survives
    only what was synced: data and length of a file by a sync of the file, names by a sync of their directory.
    """

    @property
    def is_sync_brief(self) -> bool:
        """Whether `fdatasync` lately took no longer than a turn of a thread."""
        ...

    def open(self, path: Path, flags: int) -> int:
        """Open or create (mode 0600); the descriptor is closed on exec."""
        ...

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        ...

    def pwritev(self, fd: int, parts: Sequence[Buffer], offset: int, /) -> int:
        """Write buffers; may write less than asked."""
        ...

    def preadv(self, fd: int, targets: Sequence[bytearray | memoryview], offset: int, /) -> int:
        """Fill buffers; may read less than asked."""
        ...

    def will_need(self, fd: int, offset: int, length: int, /) -> None:
        """Say that a part of a file will be read soon; changes nothing."""
        ...

    def fdatasync(self, fd: int, /) -> None:
        """Make the data of a file durable."""
        ...

    def begin_fdatasync(self, fd: int, ended: Ended, /) -> Wait | None:
        """Begin what `fdatasync` does, and go on.

        Args:
            fd: of a file; may be closed meanwhile.
            ended: called once, in the running loop or by the `Wait`, not before this returns.

        Returns:
            None where the system cannot do that: nothing was begun, and `ended` is not called.
        """
        ...

    def fsync(self, fd: int, /) -> None:
        """Make data and metadata of a file, or the entries of a directory, durable."""
        ...

    def truncate(self, fd: int, length: int, /) -> None:
        """Set a file's length; new bytes read as zeros."""
        ...

    def allocate(self, fd: int, offset: int, length: int, /) -> None:
        """Reserve disk space; new bytes read as zeros."""
        ...

    def rename(self, source: Path, target: Path) -> None:
        """Rename, replacing the target."""
        ...

    def unlink(self, path: Path) -> None:
        """Remove a name."""
        ...

    def make_directory(self, path: Path) -> None:
        """Create an empty directory. Raises FileExistsError when there is something of that name."""
        ...

    def names(self, directory: Path) -> list[str]:
        """Names in a directory, in no order. Raises FileNotFoundError, NotADirectoryError."""
        ...

    def exists(self, path: Path) -> bool:
        """Whether there is something of that name."""
        ...

    def size(self, fd: int, /) -> int:
        """Length of a file in bytes."""
        ...

    def lock(self, fd: int, /) -> None:
        """Lock against other processes, until the descriptor is closed. Raises BlockingIOError."""
        ...


class OsFiles:
    """The real ones."""

    _brevity: Brevity | None = None  # of each object its own, because each has files on one disk

    def open(self, path: Path, flags: int) -> int:
        """See `Files`."""
        return os.open(path, flags | os.O_CLOEXEC, 0o600)

    def close(self, fd: int) -> None:
        """See `Files`."""
        os.close(fd)

    def pwritev(self, fd: int, parts: Sequence[Buffer], offset: int, /) -> int:
        """See `Files`."""
        return os.pwritev(fd, parts, offset)

    def preadv(self, fd: int, targets: Sequence[bytearray | memoryview], offset: int, /) -> int:
        """See `Files`."""
        return os.preadv(fd, targets, offset)

    def will_need(self, fd: int, offset: int, length: int, /) -> None:
        """See `Files`."""
        os.posix_fadvise(fd, offset, length, os.POSIX_FADV_WILLNEED)

    def truncate(self, fd: int, length: int, /) -> None:
        """See `Files`."""
        os.ftruncate(fd, length)

    def allocate(self, fd: int, offset: int, length: int, /) -> None:
        """See `Files`."""
        os.posix_fallocate(fd, offset, length)

    def fdatasync(self, fd: int, /) -> None:
        """See `Files`."""
        began = time.perf_counter()
        os.fdatasync(fd)
        self.fdatasync_took(time.perf_counter() - began)

    def fdatasync_took(self, seconds: float) -> None:
        """One has ended, however it was made."""
        self._brevity = self._brevity or Brevity()
        self._brevity.took(seconds)

    def begin_fdatasync(self, fd: int, ended: Ended, /) -> Wait | None:
        """See `Files`. Whoever knows a way to do it adds it."""
        del fd, ended
        return None

    @property
    def is_sync_brief(self) -> bool:
        """See `Files`."""
        return self._brevity is not None and self._brevity.is_brief

    def fsync(self, fd: int, /) -> None:
        """See `Files`."""
        os.fsync(fd)

    def rename(self, source: Path, target: Path) -> None:
        """See `Files`."""
        source.rename(target)

    def unlink(self, path: Path) -> None:
        """See `Files`."""
        path.unlink()

    def make_directory(self, path: Path) -> None:
        """See `Files`."""
        path.mkdir()

    def names(self, directory: Path) -> list[str]:
        """See `Files`."""
        return [path.name for path in directory.iterdir()]

    def exists(self, path: Path) -> bool:
        """See `Files`."""
        return path.exists()

    def size(self, fd: int, /) -> int:
        """See `Files`."""
        return os.fstat(fd).st_size

    def lock(self, fd: int, /) -> None:
        """See `Files`."""
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_full(error: OSError) -> bool:
    """Whether a call failed because there is no space. Not asked after an fsync: that is never forgiven."""
    return error.errno in _FULL


def write_all(files: Files, fd: int, parts: Sequence[Buffer], offset: int) -> int:
    """Write all of `parts` from `offset`, however many there are; returns the bytes written."""
    start = offset
    for first in range(0, len(parts), IOV_MAX):
        left = list(parts[first : first + IOV_MAX])
        while left:
            written = files.pwritev(fd, left, offset)
            if written <= 0 and any(left):
                raise OSError(5, "nothing was written")
            offset += written
            left = _without(left, written)
    return offset - start


def _without(parts: list[Buffer], written: int) -> list[Buffer]:
    """What is left of `parts` after their first `written` bytes."""
    for index, part in enumerate(parts):
        if written < len(part):
            return [memoryview(part)[written:], *parts[index + 1 :]]
        written -= len(part)
    return []


def read_up_to(files: Files, fd: int, length: int, offset: int) -> bytearray:
    """`length` bytes at `offset`, or what there is before the end of the file."""
    buffer = bytearray(
        max(min(length, files.size(fd) - offset), 0)
    )  # because a window is larger than most files
    done = read_into(files, fd, memoryview(buffer), offset)
    del buffer[done:]
    return buffer


def read_into(files: Files, fd: int, target: memoryview, offset: int) -> int:
    """Fill `target` from `offset`; returns the bytes read, less than asked only at the end of the file."""
    done = 0
    while done < len(target):
        got = files.preadv(fd, [target[done:]], offset + done)
        if not got:
            break
        done += got
    return done


def sync_directory(files: Files, directory: Path) -> None:
    """Make the entries of `directory` durable."""
    fd = files.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        files.fsync(fd)
    finally:
        files.close(fd)


def ensure_directory(files: Files, directory: Path) -> None:
    """Create `directory` and what is missing above it; its name is durable on return. Raises OSError.

    Each name is durable before there is one inside, so only the last one that is there may not be yet: when
    whoever made it died before the sync.
    """
    missing = []
    while not files.exists(directory):
        missing.append(directory)
        directory = directory.parent
    with suppress(PermissionError):  # then somebody else made it, and not just now
        sync_directory(files, directory.parent)
    for path in reversed(missing):
        with suppress(FileExistsError):
            files.make_directory(path)
        sync_directory(files, path.parent)


class CorruptJournalError(StartDamageError):
    """Bytes that were durable are damaged or gone (F.A 13); nothing was cut, another center has them.

    Attributes:
        segment: file name of the segment.
        offset: byte offset in it.
        seq: the record that should be there.
    """

    def __init__(self, segment: str, offset: int, seq: int, reason: str, durable_hint: int) -> None:
        super().__init__(
            f"segment {segment}, byte {offset}, seq {seq}: {reason}; "
            f"records up to {durable_hint} were durable",
            seq - 1,
            durable_hint,
        )
        self.segment = segment
        self.offset = offset
        self.seq = seq
