"""The superblock of a copy as two files of two slots each: `SuperblockFiles`.

Every slot: magic (8) | u64 sequence | u32 length | u32 zero | blake2b-256 over the 24 bytes before and the
value (32) | value; 128 KiB are reserved for each. Little endian.

A value goes to slot ``sequence % 2`` of the first file, fsync, then of the second, fsync. So the value
before it stays whole in both files while the new one is written, and damage to one file loses nothing.
"""

import os
from hashlib import blake2b
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple

from drsync.adapters.segments.files import Files, OsFiles, is_full, read_up_to, sync_directory, write_all
from drsync.model.errors import FailedCopyError, NoSpaceError

NAMES: Final = ("superblock-a", "superblock-b")
SLOTS: Final = 2
SLOT_BYTES: Final = 128 << 10
VALUE_BYTES_MAX: Final = 120 << 10
"""Because a charter cache takes up to 64 KiB, cursors and promises some more, and a slot has 128."""
MAGIC: Final = b"DRSUPER1"
_HEAD: Final = Struct("<8sQII")
_HASH_BYTES: Final = 32
_VALUE_AT: Final = _HEAD.size + _HASH_BYTES
assert _VALUE_AT + VALUE_BYTES_MAX <= SLOT_BYTES


class Slot(NamedTuple):
    """A valid copy."""

    sequence: int
    value: bytes


def encode_slot(sequence: int, value: bytes) -> bytes:
    """The bytes of a slot, without the unused rest."""
    head = _HEAD.pack(MAGIC, sequence, len(value), 0)
    return head + blake2b(head + value, digest_size=_HASH_BYTES).digest() + value


def decode_slot(data: bytes) -> Slot | None:
    """The copy in a slot; None when it is not valid."""
    if len(data) < _VALUE_AT:
        return None
    magic, sequence, length, _ = _HEAD.unpack_from(data)
    value = data[_VALUE_AT : _VALUE_AT + length]
    digest = blake2b(data[: _HEAD.size] + value, digest_size=_HASH_BYTES).digest()
    if magic != MAGIC or len(value) != length or digest != data[_HEAD.size : _VALUE_AT]:
        return None
    return Slot(sequence, value)


class SuperblockFiles:
    """`drsync.ports.journal.Superblock` on files.

    Args:
        directory: where the two files are; must exist.
        files: system calls, replaced by tests.
    """

    def __init__(self, directory: Path, files: Files | None = None) -> None:
        self._paths = tuple(directory / name for name in NAMES)
        self._directory = directory
        self._files: Files = OsFiles() if files is None else files
        self._sequence = -1
        self._failed = ""

    def load(self) -> bytes | None:
        """See the port."""
        if self._failed:
            raise self._refuse()
        try:
            slots = self.slots()
        except OSError as error:
            raise self._fail("read", error) from error
        valid = [slot for slot in slots if slot is not None]
        if not valid:
            if not slots:
                self._sequence = 0
                return None
            self._failed = "read: none of its copies is valid"
            raise self._refuse()
        newest = max(valid)
        self._sequence = newest.sequence
        return newest.value

    def slots(self) -> list[Slot | None]:
        """Every slot of the files that exist, None for an invalid one. Raises OSError."""
        found: list[Slot | None] = []
        for path in self._paths:
            try:
                fd = self._files.open(path, os.O_RDONLY)
            except FileNotFoundError:
                continue
            try:
                data = memoryview(read_up_to(self._files, fd, SLOTS * SLOT_BYTES, 0))
            finally:
                self._files.close(fd)
            starts = range(0, SLOTS * SLOT_BYTES, SLOT_BYTES)
            found.extend(decode_slot(bytes(data[at : at + SLOT_BYTES])) for at in starts)
        return found

    def store(self, value: bytes) -> None:
        """See the port."""
        assert len(value) <= VALUE_BYTES_MAX
        if self._sequence < 0:
            self.load()
        if self._failed:
            raise self._refuse()
        sequence = self._sequence + 1
        data = encode_slot(sequence, value)
        try:
            for path in self._paths:
                self._write(path, data, sequence % SLOTS * SLOT_BYTES)
        except OSError as error:
            raise self._fail("store", error) from error
        self._sequence = sequence

    def _write(self, path: Path, data: bytes, offset: int) -> None:
        """Write one slot durably. A file appears under its name only with a valid copy in it."""
        is_new = not self._files.exists(path)
        target = path.with_suffix(".new") if is_new else path
        fd = self._files.open(target, os.O_RDWR | (os.O_CREAT | os.O_TRUNC if is_new else 0))
        try:
            try:
                if is_new:
                    self._files.allocate(fd, 0, SLOTS * SLOT_BYTES)
                write_all(self._files, fd, [data], offset)
            except OSError as error:
                if not is_full(error):
                    raise
                # The value before it is whole in its own slot, and this one was never spoken of.
                raise NoSpaceError(f"no space for the superblock in {self._directory}") from error
            self._files.fsync(fd)
        finally:
            self._files.close(fd)
        if is_new:
            self._files.rename(target, path)
            sync_directory(self._files, self._directory)

    def _fail(self, what: str, error: OSError) -> FailedCopyError:
        """Never try again: what is durable is not known any more (P33)."""
        self._failed = f"{what}: {error}"
        return self._refuse()

    def _refuse(self) -> FailedCopyError:
        return FailedCopyError(
            f"superblock in {self._directory} cannot be used: {self._failed}",
            remedy="rebuild this copy from another center",
        )
