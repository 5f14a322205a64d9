"""The system calls an image makes, as an object that can be replaced: by tests, and by a simulated disk."""

import ctypes
import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from drsync.adapters.images.ring import ring
from drsync.ports.journal import Arrived, Buffer

FALLOC_FL_KEEP_SIZE = 0x01  # linux/falloc.h
FALLOC_FL_PUNCH_HOLE = 0x02

FETCHED_WHOLE_BYTES_MAX = 32 << 10  # because copying more only to hear that it is there costs too much
PAGE_BYTES = 4096


class Files(Protocol):
    """System calls on files; all raise OSError. What survives is told in `drsync.adapters.segments.files`."""

    def open(self, path: Path, flags: int) -> int:
        """Open or create (mode 0600); the descriptor is closed on exec."""
        ...

    def open_direct(self, path: Path) -> int:
        """Open a file for calls that go past the page cache, between pages of memory and pages of the file.

        OSError where there is no such thing; a call may still be refused with EINVAL.
        """
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

    def preadv_cached(self, fd: int, targets: Sequence[bytearray | memoryview], offset: int, /) -> int:
        """Like `preadv`, of what need not be fetched from the disk: 0 bytes, or fewer, where it must."""
        ...

    def cached(self, fd: int, offset: int, length: int, /) -> int:
        """How many bytes of a range are in the page cache; all of them where the system does not tell."""
        ...

    def will_need(self, fd: int, offset: int, length: int, /) -> None:
        """Say that a part of a file will be read soon; changes nothing."""
        ...

    def fetch(self, fd: int, places: Sequence[tuple[int, int]], arrived: Arrived, /) -> bool:
        """Have these (offset, length) read into memory, as far as `preadv_cached` needs, without waiting.

        Args:
            fd: of a file; may be closed meanwhile.
            places: bytes of it.
            arrived: called from the running loop with the numbers of places that are there, or cannot be had;
                may be called several times, names each place once, and not before this returns.

        Returns:
            False where the system cannot do that: nothing was begun, and `arrived` is not called.
        """
        ...

    def punch(self, fd: int, offset: int, length: int) -> None:
        """Make a range a hole; EOPNOTSUPP where the file system has none."""
        ...

    def seek(self, fd: int, offset: int, whence: int) -> int:
        """From `offset`, where the next data (SEEK_DATA) or hole (SEEK_HOLE) begins; ENXIO: no more data."""
        ...

    def truncate(self, fd: int, length: int, /) -> None:
        """Set a file's length; new bytes read as zeros."""
        ...

    def fdatasync(self, fd: int, /) -> None:
        """Make the data of a file durable."""
        ...

    def fsync(self, fd: int, /) -> None:
        """Make data and metadata of a file, or the entries of a directory, durable."""
        ...


_FULL = (errno.ENOSPC, errno.EDQUOT)


def is_full(error: OSError) -> bool:
    """Whether a call failed because there is no space. Not asked after an fsync: that is never forgiven."""
    return error.errno in _FULL


_fallocate = ctypes.CDLL(None, use_errno=True).fallocate64
_fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
_fallocate.restype = ctypes.c_int


_CACHESTAT = 451  # of all architectures: asm-generic/unistd.h
_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long


class OsFiles:
    """The real ones."""

    def open(self, path: Path, flags: int) -> int:
        """See `Files`."""
        return os.open(path, flags | os.O_CLOEXEC, 0o600)

    def open_direct(self, path: Path) -> int:
        """See `Files`."""
        return os.open(path, os.O_RDWR | os.O_DIRECT | os.O_CLOEXEC)

    def close(self, fd: int) -> None:
        """See `Files`."""
        os.close(fd)

    def size(self, fd: int, /) -> int:
        """See `Files`."""
        return os.fstat(fd).st_size

    def pwritev(self, fd: int, parts: Sequence[Buffer], offset: int, /) -> int:
        """See `Files`."""
        return os.pwritev(fd, parts, offset)

    def preadv(self, fd: int, targets: Sequence[bytearray | memoryview], offset: int, /) -> int:
        """See `Files`."""
        return os.preadv(fd, targets, offset)

    def preadv_cached(self, fd: int, targets: Sequence[bytearray | memoryview], offset: int, /) -> int:
        """See `Files`. A file system that cannot tell is asked as ever."""
        try:
            return os.preadv(fd, targets, offset, os.RWF_NOWAIT)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            return os.preadv(fd, targets, offset)

    def cached(self, fd: int, offset: int, length: int, /) -> int:
        """See `Files`. Linux tells since 6.5; libc knows no name for it yet."""
        asked, found = (ctypes.c_uint64 * 2)(offset, length), (ctypes.c_uint64 * 5)()
        if _syscall(_CACHESTAT, fd, asked, found, 0):
            return length
        return int(found[0]) * PAGE_BYTES

    def will_need(self, fd: int, offset: int, length: int, /) -> None:
        """See `Files`."""
        os.posix_fadvise(fd, offset, length, os.POSIX_FADV_WILLNEED)

    def fetch(self, fd: int, places: Sequence[tuple[int, int]], arrived: Arrived, /) -> bool:
        """See `Files`. A long part is waited for by its end: the disk is asked for all of it in order."""
        found = ring()
        if found is None:
            return False
        wanted: list[tuple[int, int]] = []
        for offset, length in places:
            if length > FETCHED_WHOLE_BYTES_MAX:
                self.will_need(fd, offset, length)
                wanted.append((offset + length - PAGE_BYTES, PAGE_BYTES))
            else:
                wanted.append((offset, length))
        found.fetch(fd, wanted, arrived)
        return True

    def seek(self, fd: int, offset: int, whence: int) -> int:
        """See `Files`. Nobody minds that it moves the file's position: all else states its own."""
        return os.lseek(fd, offset, whence)

    def truncate(self, fd: int, length: int, /) -> None:
        """See `Files`."""
        os.ftruncate(fd, length)

    def punch(self, fd: int, offset: int, length: int) -> None:
        """See `Files`. The standard library has no fallocate with a mode, so libc is called."""
        if _fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    def fdatasync(self, fd: int, /) -> None:
        """See `Files`."""
        os.fdatasync(fd)

    def fsync(self, fd: int, /) -> None:
        """See `Files`."""
        os.fsync(fd)
