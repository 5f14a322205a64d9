"""The newest content of volumes after some records, as sorted pieces that don't overlap: what an index holds.

A piece is what is left of one WRITE or ZERO record when newer ones have taken their bytes. It names the whole
record with its hash, so that whoever reads a part of it can check what the disk returns. Bytes, not blocks:
nothing here minds how a write is aligned.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import heappop, heappush
from struct import Struct
from typing import Final, TypeAlias

from drsync.delta.batch import KIND_WRITE, KIND_ZERO, RECORD, RECORD_BYTES, Buffer

Piece: TypeAlias = tuple[int, int, int, int, int, int]
"""The fields of `PIECE`, in its order."""

PIECE: Final = Struct("<QQIIII")
"""offset in the volume, payload hash of the record, length, at, record_at, record_length.

`at` is where the first byte of the piece lies, `record_at` where the record's payload starts, in bytes from a
place that whoever keeps the pieces knows. Both are 0 in a piece of zeros: payloads never lie at 0.
"""
PIECE_BYTES: Final = 32
assert PIECE.size == PIECE_BYTES

PENDING_MAX: Final = 262_144  # because records not sorted yet cost 250 bytes each: 64 MB in the worst segment


class PieceTable:
    """Pieces in memory, by their number: sorted by volume and offset.

    Attributes:
        base: what `at` counts from, as a locator.
        rows: the pieces, `PIECE_BYTES` each.
        volumes: number of the first piece of a volume, and of the one after its last.
    """

    __slots__ = ("_offsets", "base", "rows", "volumes")

    def __init__(self, base: int, rows: bytes, volumes: Mapping[int, tuple[int, int]]) -> None:
        self.base = base
        self.rows = rows
        self.volumes = volumes
        self._offsets = memoryview(rows).cast("Q")[:: PIECE_BYTES // 8]

    def __len__(self) -> int:
        return len(self.rows) // PIECE_BYTES

    def select(self, volume: int, start: int, end: int) -> tuple[int, Sequence[Piece]]:
        """The pieces that hold any of bytes [start, end) of a volume, whole, and the number of the first."""
        low, high = self.volumes.get(volume, (0, 0))
        first = bisect_right(self._offsets, start, low, high)
        if first > low:
            piece = self.piece(first - 1)
            first -= piece[0] + piece[2] > start
        last = bisect_left(self._offsets, end, first, high)
        return first, list(PIECE.iter_unpack(self.rows[first * PIECE_BYTES : last * PIECE_BYTES]))

    def filter(self) -> None:
        """See `drsync.ports.journal.Layer`: what is in memory is asked as quickly."""

    def piece(self, number: int) -> Piece:
        """One piece."""
        found: Piece = PIECE.unpack_from(self.rows, number * PIECE_BYTES)
        return found


class Newest:
    """Takes record tables from the oldest on, and tells what is newest in the end."""

    def __init__(self) -> None:
        self._pending: dict[int, list[Piece]] = {}
        self._limits: dict[int, int] = {}

    def add_table(self, records: Buffer, payload_at: int, count: int) -> None:
        """The first `count` records of a batch whose payload area starts at `payload_at`."""
        pending = self._pending
        part = memoryview(records)[: count * RECORD_BYTES]
        for offset, hashed, length, at, volume, kind, _reserved, _flags in RECORD.iter_unpack(part):
            if kind == KIND_WRITE:
                at += payload_at  # noqa: PLW2901  # from the start of the payload area to the base
            elif kind != KIND_ZERO:
                continue
            else:
                at = 0  # noqa: PLW2901  # the mark of zeros
            if not length:
                continue
            rows = pending.get(volume)
            if rows is None:
                rows = pending[volume] = []
                self._limits[volume] = PENDING_MAX
            rows.append((offset, hashed, length, at, at, length if at else 0))
            if len(rows) >= self._limits[volume]:
                # What is newest so far does not overlap, so it may stand in any order below what comes.
                pending[volume] = newest = _newest(rows)
                self._limits[volume] = len(newest) + PENDING_MAX

    def finish(self, base: int) -> PieceTable:
        """The pieces; see `PieceTable.base`."""
        parts: list[bytes] = []
        volumes: dict[int, tuple[int, int]] = {}
        count = 0
        for volume in sorted(self._pending):
            pieces = _newest(self._pending[volume])
            parts += [PIECE.pack(*piece) for piece in pieces]
            volumes[volume] = count, count + len(pieces)
            count += len(pieces)
        return PieceTable(base, b"".join(parts), volumes)


def _newest(rows: list[Piece]) -> list[Piece]:
    """What is visible of pieces that were laid one above the other, by offset."""
    length = rows[0][2]
    if all(row[2] == length and not row[0] % length for row in rows):  # as most applications write
        whole = {row[0]: row for row in rows}
        return [whole[offset] for offset in sorted(whole)]
    return list(_cut(rows, _visible(rows)))


def _cut(rows: Sequence[Piece], visible: Iterable[tuple[int, int, int]]) -> Iterator[Piece]:
    for start, end, index in visible:
        offset, hashed, _length, at, record_at, record_length = rows[index]
        yield start, hashed, end - start, at + start - offset if at else 0, record_at, record_length


def _visible(rows: Sequence[Piece]) -> Iterator[tuple[int, int, int]]:
    """Start, end and index of the row on top, for each stretch where that is the same one; a sweep."""
    order = sorted(range(len(rows)), key=lambda index: rows[index][0])
    open_rows: list[tuple[int, int]] = []  # (-index, end): the newest is the first
    held = (0, 0, -1)
    at = 0
    for index in (*order, None):
        until = None if index is None else rows[index][0]
        while open_rows and (until is None or at < until):
            top, end = open_rows[0]
            if end <= at:
                heappop(open_rows)
                continue
            stop = end if until is None else min(end, until)
            if held[2] == -top and held[1] == at:
                held = held[0], stop, held[2]
            else:
                if held[2] >= 0:
                    yield held
                held = at, stop, -top
            at = stop
        if index is not None and until is not None:
            at = until
            heappush(open_rows, (-index, until + rows[index][2]))
    if held[2] >= 0:
        yield held
