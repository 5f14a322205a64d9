"""Dirty sets of a copy as two files for each other member: `DirtySetFiles`.

``dirty/<center>-0`` and ``dirty/<center>-1``, written in turn and in place: the set of store number n lies in
file ``n % 2``. Little endian: magic (8) | u64 number | u64 length | blake2b-256 over the 24 bytes before and
the value (32) | value; what follows is of an earlier, longer value, or reserved.

A set is not worth a copy: what cannot be read is no error here but None, and the engine, which remembers the
number elsewhere, takes the member's differences for unknown.
"""

import os
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from struct import Struct
from typing import Final

from drsync.adapters.segments.files import (
    Files,
    OsFiles,
    ensure_directory,
    is_full,
    read_up_to,
    sync_directory,
    write_all,
)
from drsync.model.errors import FailedCopyError, NoSpaceError
from drsync.ports.dirty_store import StoredSet

FOLDER: Final = "dirty"
SLOTS: Final = 2
RESERVED_BYTES: Final = 64 << 10
"""Because marks are made when space is short: 3,000 runs find room where a set was stored once."""
VALUE_BYTES_MAX: Final = 4 << 20  # because two buffers of 65,536 runs take 2.6 MB
MAGIC: Final = b"DRDIRTY1"
_HEAD: Final = Struct("<8sQQ")
_HASH_BYTES: Final = 32
_VALUE_AT: Final = _HEAD.size + _HASH_BYTES


def encode_slot(stored: StoredSet) -> bytes:
    """The bytes of a slot."""
    head = _HEAD.pack(MAGIC, stored.number, len(stored.raw))
    return head + blake2b(head + stored.raw, digest_size=_HASH_BYTES).digest() + stored.raw


def decode_slot(data: bytes) -> StoredSet | None:
    """The set in a slot; None when it is not valid."""
    if len(data) < _VALUE_AT:
        return None
    magic, number, length = _HEAD.unpack_from(data)
    value = data[_VALUE_AT : _VALUE_AT + length]
    digest = blake2b(data[: _HEAD.size] + value, digest_size=_HASH_BYTES).digest()
    if magic != MAGIC or len(value) != length or digest != data[_HEAD.size : _VALUE_AT]:
        return None
    return StoredSet(number, value)


class DirtySetFiles:
    """`drsync.ports.dirty_store.DirtyStore` on files.

    Args:
        directory: of the copy; must exist.
        files: system calls, replaced by tests.
    """

    def __init__(self, directory: Path, files: Files | None = None) -> None:
        self._folder = directory / FOLDER
        self._files: Files = OsFiles() if files is None else files
        self._named: set[str] = set()  # members whose files have names that are durable

    def dirty(self, center: str) -> StoredSet | None:
        """See the port."""
        found = [self._read(self._path(center, slot)) for slot in range(SLOTS)]
        return max((stored for stored in found if stored is not None), default=None)

    def _read(self, path: Path) -> StoredSet | None:
        files = self._files
        with suppress(OSError):
            fd = files.open(path, os.O_RDONLY)
            try:
                return decode_slot(bytes(read_up_to(files, fd, _VALUE_AT + VALUE_BYTES_MAX, 0)))
            finally:
                files.close(fd)
        return None

    def store_dirty(self, center: str, stored: StoredSet) -> None:
        """See the port."""
        assert len(stored.raw) <= VALUE_BYTES_MAX
        path = self._path(center, stored.number % SLOTS)
        try:
            if center not in self._named:  # whoever made them may have died before that
                self._make(center)
            self._write(path, encode_slot(stored))
        except OSError as error:
            raise FailedCopyError(f"dirty set {path} cannot be written: {error.strerror}") from error

    def _make(self, center: str) -> None:
        """Both files of a member, with room reserved; their names are durable on return."""
        try:
            ensure_directory(self._files, self._folder)
            for slot in range(SLOTS):
                fd = self._files.open(self._path(center, slot), os.O_RDWR | os.O_CREAT)
                try:
                    self._files.allocate(fd, 0, RESERVED_BYTES)
                    self._files.fsync(fd)
                finally:
                    self._files.close(fd)
        except OSError as error:
            if is_full(error):
                raise self._no_space(error) from error
            raise
        sync_directory(self._files, self._folder)
        self._named.add(center)

    def _write(self, path: Path, data: bytes) -> None:
        fd = self._files.open(path, os.O_RDWR)
        try:
            try:
                write_all(self._files, fd, [data], 0)
            except OSError as error:
                if is_full(error):
                    raise self._no_space(error) from error
                raise
            self._files.fsync(fd)
        finally:
            self._files.close(fd)

    def _path(self, center: str, slot: int) -> Path:
        return self._folder / f"{center}-{slot}"

    def _no_space(self, error: OSError) -> NoSpaceError:
        return NoSpaceError(f"no space for a dirty set in {self._folder}: {error.strerror}")
