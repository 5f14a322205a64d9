"""Large runs of whole pages to and from files past the page cache: `Direct`.

What is put aside is written once and read back once. On its way through the page cache each page is new
there, which costs several times what writing does where it has to be cleared first, or got from the host of a
virtual machine; and what is read back out of that cache is not what the disk holds. A file system that
refuses is asked no more.
"""

import errno
import mmap
import os
from pathlib import Path
from typing import Final

from drsync.adapters.stage.files import Files, read_all, write_all
from drsync.ports.journal import Buffer

PAGE_BYTES: Final = 4096  # no disk in use asks for more than this of places and lengths
DIRECT_BYTES_MIN: Final = 256 << 10  # because who writes less waits longer for the disk than for the copying
BUFFER_BYTES: Final = 1 << 20  # because a frame of blocks has no more, and larger calls gain nothing
_REFUSED: Final = (errno.EINVAL, errno.EOPNOTSUPP)


class Direct:
    """A second descriptor beside that of a file, and memory in whole pages. One thread writes, and one reads.

    Args:
        files: system calls.
        path: of a file that is there.
    """

    def __init__(self, files: Files, path: Path) -> None:
        self._files = files
        self._fd = -1
        self._outgoing: memoryview | None = None  # each is made when it is needed: most stages hold little
        self._incoming: memoryview | None = None
        try:
            self._fd = files.open(path, os.O_RDWR | os.O_DIRECT)
        except OSError as error:
            if error.errno not in _REFUSED:
                raise

    def write(self, data: Buffer, offset: int) -> bool:
        """Write, if that can be done. Raises OSError."""
        length = len(data)
        if not self._fits(offset, length):
            return False
        view, buffer = memoryview(data), self._outgoing or memoryview(mmap.mmap(-1, BUFFER_BYTES))
        self._outgoing = buffer
        try:
            for at in range(0, length, BUFFER_BYTES):
                piece = view[at : at + BUFFER_BYTES]
                buffer[: len(piece)] = piece
                write_all(self._files, self._fd, buffer[: len(piece)], offset + at)
        except OSError as error:
            return self._given_up(error)
        return True

    def read(self, target: memoryview, offset: int) -> bool:
        """Fill all of `target`, if that can be done. Raises OSError."""
        length = len(target)
        if not self._fits(offset, length):
            return False
        buffer = self._incoming = self._incoming or memoryview(mmap.mmap(-1, BUFFER_BYTES))
        try:
            for at in range(0, length, BUFFER_BYTES):
                piece = buffer[: min(BUFFER_BYTES, length - at)]
                if read_all(self._files, self._fd, piece, offset + at) < len(piece):
                    return False  # the file ends before that
                target[at : at + len(piece)] = piece
        except OSError as error:
            return self._given_up(error)
        return True

    def _fits(self, offset: int, length: int) -> bool:
        is_whole = not offset % PAGE_BYTES and not length % PAGE_BYTES
        return self._fd >= 0 and is_whole and length >= DIRECT_BYTES_MIN

    def _given_up(self, error: OSError) -> bool:
        """Whoever did only a part of it does all of it again in another way."""
        if error.errno not in _REFUSED:
            raise error
        self.close()
        return False

    def close(self) -> None:
        """Release the descriptor; nothing is done directly any more."""
        if self._fd >= 0:
            self._files.close(self._fd)
            self._fd = -1
