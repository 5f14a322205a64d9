"""Blocks of files: their names (hashes), and whether two entries say the same."""

from dataclasses import replace
from functools import lru_cache
from typing import TypeAlias

from blake3 import blake3

from drsync.model.fileset import Entry, FileKind

Buffer: TypeAlias = bytes | bytearray | memoryview


_ZEROS = bytes(1 << 20)  # not all at once: blocks of large files have a gigabyte


def hash_block(data: Buffer) -> bytes:
    """blake3-256 of a block's content: its name between centers (F.A 16)."""
    return blake3(data).digest()


@lru_cache(maxsize=64)  # because files have few sizes of last blocks that are nothing but zeros
def zero_hash(length: int) -> bytes:
    """The name of a block of `length` zero bytes."""
    hasher = blake3()
    while length:
        hasher.update(_ZEROS[:length])
        length -= min(length, len(_ZEROS))
    return hasher.digest()


def is_same(one: Entry, other: Entry) -> bool:
    """Whether two entries say the same of a name, whenever it changed."""
    return replace(one, generation=other.generation) == other


def is_alike(one: Entry, other: Entry) -> bool:
    """As `is_same`, but storage may differ: where a file has holes is up to the file system it is on."""
    return replace(one, generation=other.generation, holes=other.holes) == other


def is_same_content(own: Entry | None, entry: Entry) -> bool:
    """Whether a file here has the content of `entry` already."""
    if own is None or own.deleted or {own.kind, entry.kind} != {FileKind.FILE}:
        return False
    return own.size == entry.size and own.blocks == entry.blocks
