"""A volume image as a sparse file: `FileImage`."""

import ctypes
import errno
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from drsync.adapters.images.files import PAGE_BYTES, Files, OsFiles, is_full
from drsync.model.errors import DrsyncError, FailedCopyError, NoSpaceError, PermanentError
from drsync.ports.journal import Arrived, Buffer

IOV_MAX = 1024  # because Linux refuses longer vectors (UIO_MAXIOV)
ZEROS_BYTES = 1 << 20  # because larger writes gain nothing and this much is kept in memory for good
_ZEROS = memoryview(bytes(ZEROS_BYTES))
DIRECT_BYTES_MIN = 64 << 10
"""Of one write past the page cache: because smaller ones wait for the disk one by one, and are more often
read again soon."""
DIRECT_READ_BYTES_MIN = 256 << 10  # of one read past the page cache: because smaller ones are read ahead of
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


class FileImage:
    """`drsync.ports.journal.Image` on a sparse file, created or grown to `size`.

    Args:
        path: of the image.
        size: bytes.
        files: system calls, replaced by tests.

    Raises:
        PermanentError: the file has content beyond `size`; shrinking would drop it.
        FailedCopyError: it cannot be opened or grown.
    """

    def __init__(self, path: Path, size: int, files: Files | None = None) -> None:
        self._path = path
        self._size = size
        self._held = size  # length of the file; what is between it and `size` was never written
        self._files: Files = OsFiles() if files is None else files
        self._may_punch = True
        self._data = (0, 0)
        """A stretch known to be data, so that a file of many pieces is not searched for its end each time."""
        self._failed = ""
        self._fd = self._direct = -1
        self._may_be_direct = True
        self._opening = threading.Lock()  # because one thread writes, and another one reads
        try:
            self._open()
        except OSError as error:
            refusal = self._refused("open", error)
            self.close()
            raise refusal from error

    def _open(self) -> None:
        self._fd = self._files.open(self._path, os.O_RDWR | os.O_CREAT)
        held = self._held = self._files.size(self._fd)
        if held > self._size and self._has_content(self._size, held):
            self.close()
            raise PermanentError(
                f"image {self._path.name} has {held} bytes, its volume {self._size}: shrinking drops data",
                code="image_too_large",
                remedy="give the volume its former size",
            )
        if held < self._size:
            self._files.truncate(self._fd, self._size)
            self._files.fsync(self._fd)
            self._held = self._size
        # Also when it was there: whoever made it may have died before the next lines.
        directory = self._files.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._files.fsync(directory)
        finally:
            self._files.close(directory)

    def _has_content(self, offset: int, end: int) -> bool:
        """Whether anything but zeros is there. Space that was taken and never used is passed over."""
        piece = memoryview(bytearray(ZEROS_BYTES))
        while offset < end:
            try:
                offset = self._files.seek(self._fd, offset, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    return False
                raise
            got = self._files.preadv(self._fd, [piece[: min(len(piece), end - offset)]], offset)
            if not got or any(piece[:got]):
                return bool(got)
            offset += got
        return False

    @property
    def size(self) -> int:
        """See the port."""
        return self._size

    def resize(self, size: int) -> None:
        """See the port. The file is left as it is: what is written lengthens it."""
        self._size = size
        self._data = (0, 0)

    def read_into(self, offset: int, target: memoryview) -> None:
        """See the port. Raises FailedCopyError."""
        assert 0 <= offset <= offset + len(target) <= self._size
        if offset + len(target) > self._held:  # never written
            known = max(0, self._held - offset)
            target[known:] = bytes(len(target) - known)
            target = target[:known]
        done = 0
        reason = "the file is shorter than the volume"
        try:
            done = self._read_direct(offset, target)
            while done < len(target) and (
                got := self._files.preadv(self._fd, [target[done:]], offset + done)
            ):
                done += got
        except OSError as error:
            reason = str(error)
        if done != len(target):
            raise FailedCopyError(
                f"image {self._path.name}, byte {offset + done}: {reason}", code="unreadable"
            )

    def read_cached(self, offset: int, target: memoryview) -> bool:
        """See the port. Raises FailedCopyError."""
        length = len(target)
        if offset + length > self._held:
            self.read_into(offset, target)
            return True
        try:
            return self._files.preadv_cached(self._fd, [target], offset) == length
        except OSError:
            return False  # who reads it from the disk will be told

    def will_need(self, offset: int, length: int) -> None:
        """See the port."""
        with suppress(OSError):
            self._files.will_need(self._fd, offset, length)

    def fetch(self, places: Sequence[tuple[int, int]], arrived: Arrived) -> bool:
        """See the port."""
        return self._files.fetch(self._fd, places, arrived)

    def extent(self, offset: int) -> tuple[int, bool]:
        """See the port."""
        assert 0 <= offset < self._size
        start, end = self._data
        if start <= offset < end:
            return end, False
        try:
            data = self._files.seek(self._fd, offset, os.SEEK_DATA)
            if data > offset:
                return min(data, self._size), True
            end = min(self._files.seek(self._fd, offset, os.SEEK_HOLE), self._size)
            if end <= offset:  # beyond the end of a file of a system without holes
                return self._size, True
        except OSError as error:
            return self._size, error.errno == errno.ENXIO
        self._data = (offset, end)
        return end, False

    def write(self, offset: int, parts: Sequence[Buffer]) -> None:
        """See the port."""
        self._check()
        assert offset >= 0
        try:
            for first in range(0, len(parts), IOV_MAX):
                offset = self._write(offset, parts[first : first + IOV_MAX])
        except OSError as error:
            raise self._refused("write", error) from error

    def _write(self, offset: int, parts: Sequence[Buffer]) -> int:
        length = sum(map(len, parts))
        end = offset + length
        assert end <= self._size
        if not length:
            return end
        written = self._write_direct(offset, parts, length) or self._files.pwritev(self._fd, parts, offset)
        if written < length:
            rest = memoryview(b"".join(parts))
            while written < length:
                count = self._files.pwritev(self._fd, [rest[written:]], offset + written)
                if not count:
                    raise OSError(errno.EIO, "nothing was written")
                written += count
        self._held = max(self._held, end)  # at last: until then others see it above the image
        return end

    def _write_direct(self, offset: int, parts: Sequence[Buffer], length: int) -> int:
        """Write whole pages past the page cache, where that can be done and pays; returns the bytes written.

        What comes in large pieces is seldom read again soon, and a page that is new to the page cache costs
        more than writing it does. The kernel keeps both ways to a file coherent.
        """
        is_whole = length >= DIRECT_BYTES_MIN and not (offset | length) % PAGE_BYTES
        if not (is_whole and self._may_be_direct and len(parts) == 1 and _begins_page(parts[0])):
            return 0
        try:
            return self._files.pwritev(self._opened_direct(), parts, offset)
        except OSError as error:
            return self._not_direct(error)

    def _read_direct(self, offset: int, target: memoryview) -> int:
        """Read whole pages past the page cache, where that can be done and pays; returns the bytes read.

        Where less than half of it is in the cache: the other pages would be new there.
        """
        length = len(target)
        is_whole = length >= DIRECT_READ_BYTES_MIN and not (offset | length) % PAGE_BYTES
        if not (is_whole and self._may_be_direct and _begins_page(target)):
            return 0
        if 2 * self._files.cached(self._fd, offset, length) >= length:
            return 0
        try:
            return self._files.preadv(self._opened_direct(), [target], offset)
        except OSError as error:
            return self._not_direct(error)

    def _opened_direct(self) -> int:
        with self._opening:
            if self._direct < 0:
                self._direct = self._files.open_direct(self._path)
            return self._direct

    def _not_direct(self, error: OSError) -> int:
        if error.errno not in _UNSUPPORTED:
            raise error
        self._may_be_direct = False
        return 0

    def zero(self, offset: int, length: int) -> None:
        """See the port. Writes zeros where the file system cannot punch holes."""
        self._check()
        assert 0 <= offset <= offset + length <= self._size
        length = min(length, self._held - offset)
        if length <= 0:
            return
        self._forget(offset, offset + length)
        try:
            if self._may_punch and self._punch(offset, length):
                return
            end = offset + length
            while offset < end:
                offset = self._write(offset, [_ZEROS[: min(ZEROS_BYTES, end - offset)]])
        except OSError as error:
            raise self._refused("zero", error) from error

    def _forget(self, offset: int, end: int) -> None:
        """Keep the larger part of the known data. A reader meanwhile may go on with all: that is no lie."""
        first, last = self._data
        if first < end and offset < last:
            self._data = (first, offset) if offset - first > last - end else (end, max(end, last))

    def _punch(self, offset: int, length: int) -> bool:
        try:
            self._files.punch(self._fd, offset, length)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            self._may_punch = False
        return self._may_punch

    def sync(self) -> None:
        """See the port."""
        self._check()
        try:
            self._files.fdatasync(self._fd)
        except OSError as error:
            raise self._fail("sync", error) from error

    def close(self) -> None:
        """See the port."""
        for fd in (self._fd, self._direct):
            if fd >= 0:
                self._files.close(fd)
        self._fd = self._direct = -1
        self._failed = self._failed or "it was closed"

    def _check(self) -> None:
        if self._failed:
            raise self._refuse()

    def _refused(self, what: str, error: OSError) -> DrsyncError:
        """A full disk may pass: the same blocks are written again. Any other error is for good."""
        if is_full(error):
            return NoSpaceError(f"no space for image {self._path}: {error.strerror}")
        return self._fail(what, error)

    def _fail(self, what: str, error: OSError) -> FailedCopyError:
        """Never try again: after a write or fsync error the page cache may have dropped data (P33)."""
        self._failed = f"{what}: {error}"
        return self._refuse()

    def _refuse(self) -> FailedCopyError:
        return FailedCopyError(
            f"image {self._path.name} cannot be used: {self._failed}",
            remedy="look at the disk, then rebuild this copy from another center",
        )


def _begins_page(part: Buffer) -> bool:
    """Whether this memory begins where a page does."""
    if not isinstance(part, memoryview) or part.readonly:
        return False
    return not ctypes.addressof(ctypes.c_char.from_buffer(part)) % PAGE_BYTES
