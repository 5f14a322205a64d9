"""The system calls a stage makes, as an object that can be replaced: by tests, and by a simulated disk."""

import errno
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from drsync.ports.journal import Buffer

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_HOLES = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


class Files(Protocol):
    """System calls on files; all raise OSError. What survives is told in `drsync.adapters.segments.files`."""

    def open(self, path: Path, flags: int) -> int:
        """Open or create (mode 0600); the descriptor is closed on exec."""
        ...

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        ...

    def size(self, fd: int, /) -> int:
        """Length of a file in bytes."""
        ...

    def pwritev(self, fd: int, parts: Sequence[Buffer], offset: int, /) -> int:
        """Write buffers; may write less than asked."""
        ...

    def preadv(self, fd: int, targets: Sequence[bytearray | memoryview], offset: int, /) -> int:
        """Fill buffers; may read less than asked."""
        ...

    def truncate(self, fd: int, length: int, /) -> None:
        """Set a file's length; new bytes read as zeros."""
        ...

    def write_back(self, fd: int, offset: int, length: int) -> None:
        """Begin to bring a range to the disk, so that the next fsync finds less to do. Only a hint."""
        ...

    def punch(self, fd: int, offset: int, length: int) -> None:
        """Make a range a hole; EOPNOTSUPP where the file system has none."""
        ...

    def fsync(self, fd: int, /) -> None:
        """Make data and metadata of a file, or the entries of a directory, durable."""
        ...

    def rename(self, source: Path, target: Path) -> None:
        """Rename, also into another directory; all of it is done or nothing. Replaces a file."""
        ...

    def unlink(self, path: Path) -> None:
        """Remove a name."""
        ...

    def make_directory(self, path: Path) -> None:
        """Create an empty directory. Raises FileExistsError when there is something of that name."""
        ...

    def remove_directory(self, path: Path) -> None:
        """Remove an empty directory."""
        ...

    def names(self, directory: Path) -> list[str]:
        """Names in a directory, in no order. Raises FileNotFoundError, NotADirectoryError."""
        ...

    def exists(self, path: Path) -> bool:
        """Whether there is something of that name."""
        ...

    def free(self, directory: Path) -> int:
        """Bytes that may still be written to the file system."""
        ...


def cannot_punch(error: OSError) -> bool:
    """Whether a call failed because the file system knows no holes."""
    return error.errno in _NO_HOLES


def is_full(error: OSError) -> bool:
    """Whether a call failed because there is no space. Not asked after an fsync: that is never forgiven."""
    return error.errno in _FULL


def write_all(files: Files, fd: int, data: Buffer, offset: int) -> None:
    """Write all of `data`. Raises OSError."""
    left = memoryview(data)
    while left:
        written = files.pwritev(fd, [left], offset)
        if written <= 0:
            raise OSError(errno.EIO, "nothing was written")
        offset += written
        left = left[written:]


def read_all(files: Files, fd: int, target: memoryview, offset: int) -> int:
    """Fill `target`; returns the bytes read, less at the end of the file. Raises OSError."""
    done = 0
    while done < len(target) and (got := files.preadv(fd, [target[done:]], offset + done)):
        done += got
    return done


def sync_directory(files: Files, directory: Path) -> None:
    """Make the entries of `directory` durable. Raises OSError."""
    fd = files.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        files.fsync(fd)
    finally:
        files.close(fd)


def names_in(files: Files, directory: Path) -> list[str]:
    """Names in a directory, sorted; none when it is not there. Raises OSError."""
    return sorted(files.names(directory)) if files.exists(directory) else []


def remove_tree(files: Files, directory: Path) -> None:
    """Remove a directory with all that is in it; may be called again after a crash. Raises OSError."""
    for name in names_in(files, directory):
        path = directory / name
        if is_directory(files, path):
            remove_tree(files, path)
        else:
            files.unlink(path)
    with suppress(FileNotFoundError):
        files.remove_directory(directory)


def is_directory(files: Files, path: Path) -> bool:
    """Whether `path` is one. Raises OSError."""
    try:
        files.names(path)
    except NotADirectoryError:
        return False
    return True
