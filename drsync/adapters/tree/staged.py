"""A file that is being put together beside the tree."""

import errno
import os
from contextlib import suppress

from blake3 import blake3

from drsync.adapters.tree import attributes, kernel
from drsync.adapters.tree.content import hash_range, open_content
from drsync.adapters.tree.session import Session
from drsync.model.fileset import Entry

_BUFFER_BYTES = 1 << 20  # because larger pieces are no faster
_NO_CLONE = {
    errno.EOPNOTSUPP,
    errno.EXDEV,
    errno.EINVAL,
    errno.ENOTTY,
    errno.ENOSYS,
    errno.EPERM,
    errno.ETXTBSY,
}
_NO_HOLES = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


class PartialFile:
    """`drsync.ports.tree.StagedFile`."""

    def __init__(self, session: Session, key: str, size: int) -> None:
        self._session = session
        self._key = key
        self._handle = session.area.open_part(key)
        self._can_clone = True
        try:
            os.ftruncate(self._handle, size)
        except BaseException:
            os.close(self._handle)
            raise

    @property
    def is_open(self) -> bool:
        """Neither sealed, discarded nor closed."""
        return self._handle >= 0

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """See the port."""
        rest = memoryview(data)
        while rest:
            written = os.pwrite(self._handle, rest, offset)
            offset += written
            rest = rest[written:]

    def copy_from(self, path: bytes, source: int, offset: int, length: int) -> bytes:
        """See the port. What was shared is hashed here, where nobody changes it any more."""
        handle = open_content(self._session.root, path)
        try:
            length = min(length, max(0, os.fstat(handle).st_size - source))
            if self._share(handle, source, offset, length):
                buffer = memoryview(bytearray(min(length, _BUFFER_BYTES)))
                return hash_range(self._handle, offset, length, buffer)
            return self._copy(handle, source, offset, length)
        finally:
            os.close(handle)

    def _share(self, handle: int, source: int, offset: int, length: int) -> bool:
        if not length or not self._can_clone:
            return False
        try:
            kernel.clone_range(handle, source, length, self._handle, offset)
        except OSError as error:
            if error.errno not in _NO_CLONE:
                raise
            self._can_clone = error.errno == errno.EINVAL  # not aligned; the next range may be
            return False
        return True

    def _copy(self, handle: int, source: int, offset: int, length: int) -> bytes:
        hasher = blake3()
        buffer = memoryview(bytearray(min(length, _BUFFER_BYTES)))
        while length:
            got = os.preadv(handle, [buffer[:length]], source)
            if not got:
                break
            self.write(offset, buffer[:got])
            hasher.update(buffer[:got])
            source, offset, length = source + got, offset + got, length - got
        return hasher.digest()

    def hash(self, offset: int, length: int) -> bytes:
        """See the port."""
        buffer = memoryview(bytearray(min(length, _BUFFER_BYTES)))
        return hash_range(self._handle, offset, length, buffer)

    def seal(self, entry: Entry) -> None:
        """See the port. Attributes that cannot be kept here are told by `put_file`."""
        os.ftruncate(self._handle, entry.size)
        self._punch(entry.holes)
        with suppress(attributes.UnholdableError):
            attributes.change(self._handle, entry)
        self._session.area.seal(self._key, os.fstat(self._handle).st_ino)
        self._session.sealed(self._key)
        self._close()

    def _punch(self, holes: tuple[tuple[int, int], ...]) -> None:
        try:
            for offset, length in holes:
                kernel.punch_hole(self._handle, offset, length)
        except OSError as error:
            if error.errno not in _NO_HOLES:  # without holes it is larger, not different
                raise

    def discard(self) -> None:
        """See the port."""
        self._session.area.drop(self._key)
        self._close()

    def close(self) -> None:
        """Keep what was written; `stage` with the same key takes it up again."""
        self._close()

    def _close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
