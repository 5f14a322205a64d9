"""Blocks of files are named by the hash of their content."""

from functools import lru_cache
from typing import TypeAlias

from blake3 import blake3

Buffer: TypeAlias = bytes | bytearray | memoryview

_ZEROS = memoryview(bytes(1 << 20))  # not all at once: blocks of large files have a gigabyte


def hash_block(data: Buffer) -> bytes:
    """blake3-256 of a block's content: its name between centers (F.A 16)."""
    return blake3(data).digest()


@lru_cache(maxsize=64)  # because files have few sizes of blocks that are nothing but zeros
def zero_hash(length: int) -> bytes:
    """The name of a block of `length` zero bytes."""
    hasher = blake3()
    for at in range(0, length, len(_ZEROS)):
        hasher.update(_ZEROS[: length - at])
    return hasher.digest()
