"""The digest of what is stored in volumes: zeros do not count, so that a hole and written zeros are the same.

Two centers compare it to prove that a recovery point has the same bytes at both, at the price of what is
stored and not of what the volumes could hold.
"""

from typing import Final

from blake3 import blake3

PREFIX: Final = "stored1:"
GRAIN: Final = 64 << 10  # because a file system stores in larger pieces, and the hash is called seldom enough
_ZEROS: Final = bytes(GRAIN)


class StoredHash:
    """BLAKE3-256 over volumes in ascending order: for each its index and size, then its grains.

    A grain is the 64 KiB at a multiple of that, shorter at the end of a volume; one that holds anything but
    zeros goes in as its offset (8 bytes, big-endian) and its bytes. `PREFIX` names this form.
    """

    def __init__(self) -> None:
        self._hasher = blake3()

    def begin(self, index: int, size: int) -> None:
        """The next volume: its number in the group, and its bytes."""
        self._hasher.update(b"volume" + index.to_bytes(8, "big") + size.to_bytes(8, "big"))

    def add(self, offset: int, data: bytes | bytearray) -> None:
        """One grain of it, after all that lie before."""
        assert offset % GRAIN == 0, offset
        assert len(data) <= GRAIN, len(data)
        if data != (_ZEROS if len(data) == GRAIN else bytes(len(data))):
            self._hasher.update(offset.to_bytes(8, "big"))
            self._hasher.update(data)

    def digest(self) -> str:
        """Of everything so far, as ``stored1:<64 hex digits>``."""
        return PREFIX + self._hasher.hexdigest()
