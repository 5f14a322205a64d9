"""What a stage knows of its granules: entries in an append-only log, and tables in memory. No I/O.

An entry: u32 volume | u32 kind | u64 first granule | u32 granules | u32 round | xxh3-128 of the bytes (16) |
u32 zero | u32 crc32. Little endian, 48 bytes. The checksum covers the bytes before it and begins with the
checksum of the session's name, so that an entry of another session never counts.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

from xxhash import xxh3_128_digest

from drsync.core.extents import GRANULE, Extents, Run, normal
from drsync.ports.journal import Buffer
from drsync.ports.stage import StagedRun

_ENTRY: Final = Struct("<IIQII16sI")
_SUM: Final = Struct("<I")
ENTRY_BYTES: Final = _ENTRY.size + _SUM.size
HASH_BYTES: Final = 16
NO_HASH: Final = bytes(HASH_BYTES)
_RUN_OF_KIND: Final = re.compile(rb"\x01+|\x02+")
_RUN_WITHOUT_DATA: Final = re.compile(rb"[^\x01]+")
_RUN: Final = re.compile(rb"\x01+")


class Kind(IntEnum):
    """What stands for granules."""

    DATA = 1
    ZEROS = 2


class Entry(NamedTuple):
    """Granules that were put aside."""

    volume: int
    kind: Kind
    first: int
    granules: int
    round: int
    hash: bytes = NO_HASH


def hash_of(data: Buffer) -> bytes:
    """The hash of the bytes of a granule."""
    return xxh3_128_digest(data)


def seed(session: str) -> int:
    """What the checksums of a session's entries begin with."""
    return crc32(session.encode())


def encode(entry: Entry, start: int) -> bytes:
    """The bytes of an entry; `start` is the session's `seed`."""
    body = _ENTRY.pack(entry.volume, entry.kind, entry.first, entry.granules, entry.round, entry.hash, 0)
    return body + _SUM.pack(crc32(body, start))


def decode_all(raw: bytes | bytearray, start: int) -> Iterator[Entry]:
    """The entries of a log up to the first that is not whole: none after a torn one was ever durable."""
    for at in range(0, len(raw) - ENTRY_BYTES + 1, ENTRY_BYTES):
        body = raw[at : at + _ENTRY.size]
        if _SUM.unpack_from(raw, at + _ENTRY.size)[0] != crc32(body, start):
            return
        volume, kind, first, count, number, digest, _ = _ENTRY.unpack(body)
        if kind not in (Kind.DATA, Kind.ZEROS):
            return
        yield Entry(volume, Kind(kind), first, count, number, digest)


@dataclass(slots=True)
class Table:
    """What is known of the granules of one volume: 19 bytes each, which the system gives when they are used.

    Attributes:
        kinds: a `Kind` for each granule, or 0.
        fresh: 1 for each granule of this round.
        unread: 1 for each whose bytes were put aside and not read back since, by this process.
        hashes: of their bytes, back to back.
    """

    kinds: bytearray
    fresh: bytearray
    unread: bytearray
    hashes: bytearray

    @staticmethod
    def of(size: int) -> "Table":
        """For a volume of `size` bytes."""
        count = -(-size // GRANULE)
        return Table(bytearray(count), bytearray(count), bytearray(count), bytearray(count * HASH_BYTES))

    def is_fitting(self, entry: Entry) -> bool:
        """Whether such an entry can be."""
        return 0 < entry.granules <= len(self.kinds) - entry.first

    def take(self, entry: Entry, current_round: int) -> None:
        """An entry is durable."""
        end = entry.first + entry.granules
        self.kinds[entry.first : end] = bytes([entry.kind]) * entry.granules
        self.unread[entry.first : end] = bytes([entry.kind is Kind.DATA]) * entry.granules
        if entry.round == current_round:
            self.fresh[entry.first : end] = b"\x01" * entry.granules
        if entry.kind is Kind.DATA:
            self.hashes[entry.first * HASH_BYTES : end * HASH_BYTES] = entry.hash * entry.granules

    def is_data(self, granule: int) -> bool:
        """Whether bytes were put aside for it."""
        return self.kinds[granule] == Kind.DATA

    def is_unread(self, granule: int) -> bool:
        """Whether its bytes are to be read back as they are."""
        return bool(self.unread[granule])

    def was_read(self, first: int, end: int) -> None:
        """Bytes were read back, and are what was put aside; or they are replaced by others from now on."""
        self.unread[first:end] = bytes(end - first)

    def must_be_read(self, first: int, end: int) -> None:
        """Bytes that were put aside are to be read back, perhaps once more."""
        self.unread[first:end] = bytes(kind == Kind.DATA for kind in self.kinds[first:end])

    def forget_round(self) -> None:
        """A new round begins."""
        self.fresh = bytearray(len(self.kinds))

    def hash(self, granule: int) -> bytes:
        """Of the bytes that were put aside."""
        return bytes(self.hashes[granule * HASH_BYTES : (granule + 1) * HASH_BYTES])


def staged(tables: dict[int, Table]) -> Extents:
    """All granules."""
    return normal(
        Run(index, found.start(), found.end())
        for index, table in sorted(tables.items())
        for found in _RUN_OF_KIND.finditer(table.kinds)
    )


def without_data(index: int, table: Table) -> Extents:
    """All granules of a volume for which no bytes are staged."""
    return normal(Run(index, found.start(), found.end()) for found in _RUN_WITHOUT_DATA.finditer(table.kinds))


def fresh(tables: dict[int, Table]) -> Extents:
    """Those of the round."""
    return normal(
        Run(index, found.start(), found.end())
        for index, table in sorted(tables.items())
        for found in _RUN.finditer(table.fresh)
    )


def unread(tables: dict[int, Table]) -> Extents:
    """Those that were not read back since they were put aside."""
    return normal(
        Run(index, found.start(), found.end())
        for index, table in sorted(tables.items())
        for found in _RUN.finditer(table.unread)
    )


def runs(tables: dict[int, Table]) -> Iterator[StagedRun]:
    """In order, neighbours of one kind together."""
    for index, table in sorted(tables.items()):
        for found in _RUN_OF_KIND.finditer(table.kinds):
            is_zeros = table.kinds[found.start()] == Kind.ZEROS
            yield StagedRun(index, found.start(), found.end(), is_zeros)
