"""Which bytes of which volumes some records change: sorted ranges, told from record tables alone."""

from collections.abc import Iterable
from typing import Final

from drsync.delta.batch import KIND_WRITE, KIND_ZERO, RECORD, RECORD_BYTES, Buffer

Range = tuple[int, int]
"""Offset and length in bytes."""

PENDING_MAX: Final = 65_536  # because ranges not merged yet cost 150 bytes each: 10 MB a volume


class Changes:
    """Collects what records change; a range that several of them change counts once."""

    def __init__(self) -> None:
        self._ends: dict[int, list[Range]] = {}
        self._merged: dict[int, int] = {}

    def add_table(self, table: Buffer, first: int, end: int) -> None:
        """The records `first` up to and without `end` of a batch, by their place in its record table."""
        part = memoryview(table)[first * RECORD_BYTES : end * RECORD_BYTES]
        for offset, _hash, length, _at, volume, kind, _reserved, _flags in RECORD.iter_unpack(part):
            if length and kind in (KIND_WRITE, KIND_ZERO):
                self.add(volume, offset, length)

    def add(self, volume: int, offset: int, length: int) -> None:
        """A range that was changed."""
        ends = self._ends.setdefault(volume, [])
        ends.append((offset, offset + length))
        if len(ends) - self._merged.get(volume, 0) > PENDING_MAX:
            self._ends[volume] = merged = _merged(ends)
            self._merged[volume] = len(merged)

    def ranges(self) -> dict[int, list[Range]]:
        """By volume: sorted, neither overlapping nor touching; volumes without changes are left out."""
        return {
            volume: [(start, end - start) for start, end in _merged(self._ends[volume])]
            for volume in sorted(self._ends)
        }


def _merged(ends: Iterable[Range]) -> list[Range]:
    """Stretches from start to end, joined where they overlap or touch."""
    merged: list[Range] = []
    for start, end in sorted(ends):
        if merged and start <= merged[-1][1]:
            if end > merged[-1][1]:
                merged[-1] = merged[-1][0], end
        else:
            merged.append((start, end))
    return merged
