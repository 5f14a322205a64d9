"""The content hash of a volume: what two centers compare to prove that their bytes are the same."""

from collections.abc import Callable
from typing import Final

from blake3 import blake3

PIECE: Final = 1 << 20  # because a MiB amortises the call and stays in the cache
PREFIX: Final = "blake3:"


def hash_volume(size: int, read_into: Callable[[int, memoryview], None]) -> str:
    """BLAKE3-256 over all bytes of a volume, as ``blake3:<64 hex digits>``.

    Args:
        size: bytes.
        read_into: fills the view from an offset.
    """
    hasher = blake3()
    buffer = bytearray(PIECE)
    view = memoryview(buffer)
    for offset in range(0, size, PIECE):
        piece = view[: min(PIECE, size - offset)]
        read_into(offset, piece)
        hasher.update(piece)
    return PREFIX + hasher.hexdigest()
