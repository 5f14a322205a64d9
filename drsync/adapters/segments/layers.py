"""What stretches of a journal left in the volumes: from indexes where they are, from batches elsewhere."""

import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from drsync.adapters.segments.files import Files
from drsync.adapters.segments.index_layout import Of
from drsync.adapters.segments.indexes import Indexes, SealedLayer
from drsync.adapters.segments.segment import Segment
from drsync.adapters.segments.shelf import Shelf
from drsync.adapters.segments.tables import add_changes, newest
from drsync.delta.changes import Changes
from drsync.delta.pieces import PieceTable
from drsync.model.errors import DrsyncError, FailedCopyError, MalformedError
from drsync.ports.journal import Layer

VERIFIED_BYTES: Final = 64 << 20
"""Newest bytes of a journal whose payloads are verified when layers are made, because that takes a quarter of
a second, and what was written last is what a failing disk or a power cut spoils first."""

ALL: Final = (1 << 64) - 1  # behind the end of every volume
RECORDS_MIN: Final = 128
"""Records that make an index worth its file: reading fewer from the batches takes less than 2 ms."""


class SegmentLayers:
    """Makes layers and indexes of the segments on a shelf; all but `close` may run in threads.

    Args:
        files: system calls.
        directory: of the journal.
        shelf: its segments.
    """

    def __init__(self, files: Files, directory: Path, shelf: Shelf) -> None:
        self._shelf = shelf
        self._indexes = Indexes(files, directory)
        self._working = threading.Lock()  # held by whoever makes indexes, and to close
        self._given_up: set[Of] = set()
        self._first_seq = 0
        self._nothing_due: object = None  # what it looked like when there was nothing to do
        self._is_closed = False

    def layers(self, after_seq: int, through_seq: int) -> list[Layer]:
        """See `drsync.ports.journal.Journal.layers`.

        Raises:
            FailedCopyError: the journal is damaged or cannot be read.
            MalformedError: not all of these records are held.
        """
        found: list[Layer] = []
        with suppress(OSError):  # it helps, no more
            self._indexes.will_need()
        unverified = VERIFIED_BYTES
        for segment in reversed(self._segments(after_seq, through_seq)):
            if segment.first_seq > through_seq:
                continue
            if segment.last.seq <= after_seq:
                break
            size = segment.end
            if segment.last.seq > through_seq or size <= unverified:
                unverified -= size
                through = min(through_seq, segment.last.seq)
                found.append(newest(self._shelf, segment, through, is_thorough=True))
            else:
                found.append(self._layer(segment))
        found.reverse()
        return found

    def changed(self, after_seq: int, through_seq: int) -> dict[int, list[tuple[int, int]]]:
        """See `drsync.ports.journal.Journal.changed`.

        Raises:
            FailedCopyError: the journal is damaged or cannot be read.
            MalformedError: not all of these records are held.
        """
        changes = Changes()
        for segment in self._segments(after_seq, through_seq):
            if segment.last.seq <= after_seq:
                continue
            if segment.first_seq > through_seq:
                break
            is_whole = after_seq < segment.first_seq and segment.last.seq <= through_seq
            layer = self._indexed(segment) if is_whole else None
            if layer is None:
                add_changes(self._shelf, segment, after_seq, through_seq, changes)
            else:
                for volume in layer.volumes:
                    for offset, _hash, length, *_ in layer.select(volume, 0, ALL)[1]:
                        changes.add(volume, offset, length)
        return changes.ranges()

    def _segments(self, after_seq: int, through_seq: int) -> list[Segment]:
        """All segments. Raises MalformedError unless the records in between are in them."""
        segments = list(self._shelf.segments)  # first: what goes in between would be left out in silence
        refuse_not_held(self._shelf, after_seq, through_seq)
        return segments

    def _indexed(self, segment: Segment) -> SealedLayer | None:
        with suppress(OSError):  # it helps, no more
            return self._indexes.layer(_of(segment), lambda: self._whole(segment))
        return None

    def _whole(self, segment: Segment) -> PieceTable:
        if self._is_closed:
            raise FailedCopyError("the journal was closed")
        return newest(self._shelf, segment, segment.last.seq, is_thorough=False)

    def _layer(self, segment: Segment) -> Layer:
        layer = self._indexed(segment)
        if layer is not None:
            return layer
        table = self._whole(segment)
        if len(table) >= RECORDS_MIN and self._is_full(segment):
            with suppress(OSError), self._working:
                self._indexes.add(_of(segment), table)
                return self._indexed(segment) or table
        return table

    def is_due(self, above_seq: int) -> bool:
        """See `drsync.ports.journal.Journal.is_index_due`."""
        with suppress(OSError):
            if self._has_trimmed():
                return True
            shelf = self._shelf
            last = shelf.segments[-1] if shelf.segments else None
            # A look at each of a thousand segments, twice a second, is too much for ten idle groups.
            looks = (above_seq, last, last and last.prior, len(shelf.unsynced), len(self._indexes))
            if looks == self._nothing_due:
                return False
            if self._wanted(above_seq) is not None:
                return True
            self._nothing_due = looks
        return False

    def index(self, above_seq: int) -> bool:
        """See `drsync.ports.journal.Journal.index`."""
        with self._working, suppress(OSError):
            if self._has_trimmed():
                self._forget_trimmed()
                return True
            segment = self._wanted(above_seq)
            if segment is None:
                return False
            of = _of(segment)
            self._given_up.add(of)
            try:
                table = self._whole(segment)
            except (DrsyncError, OSError):
                return True  # cut or trimmed meanwhile, or damaged: whoever needs it will say so
            if segment in self._shelf.segments and of == _of(segment):
                self._indexes.add(of, table)
                self._given_up.discard(of)
            return True
        return False

    @property
    def held_bytes(self) -> int:
        """Bytes of disk that indexes take."""
        return self._indexes.held_bytes

    def _has_trimmed(self) -> bool:
        """Whether there may be index files that speak of nothing held any more."""
        return self._indexes.held_bytes > 0 and self._first_seq != self._shelf.first_seq

    def _forget_trimmed(self) -> None:
        self._first_seq = self._shelf.first_seq
        numbers = {segment.number for segment in list(self._shelf.segments)}
        self._given_up = {of for of in self._given_up if of.number in numbers}
        self._indexes.keep(numbers)

    def _wanted(self, above_seq: int) -> Segment | None:
        """The next segment to make an index of. Raises OSError."""
        above = [segment for segment in list(self._shelf.segments) if segment.last.seq > above_seq]
        return next((segment for segment in above if self._is_wanted(segment)), None)

    def _is_wanted(self, segment: Segment) -> bool:
        return (
            segment.last.seq - segment.prior.seq >= RECORDS_MIN
            and self._is_full(segment)
            and _of(segment) not in self._given_up
            and not self._indexes.has(_of(segment))
        )

    def _is_full(self, segment: Segment) -> bool:
        return segment.is_sealed and segment is not self._shelf.segments[-1]

    def close(self) -> None:
        """Release the files; waits for work in threads."""
        with self._working:
            self._is_closed = True
            self._indexes.close()


def _of(segment: Segment) -> Of:
    return Of(segment.number, segment.first_seq, segment.last.seq, segment.last.chain, segment.end)


def refuse_not_held(shelf: Shelf, after_seq: int, through_seq: int) -> None:
    """Raise unless the records in (`after_seq`, `through_seq`] are held. Raises MalformedError."""
    if not shelf.first_seq - 1 <= after_seq <= through_seq <= shelf.tip.seq:
        raise MalformedError(
            f"seq {after_seq} to {through_seq} is not held: {shelf.first_seq} to {shelf.tip.seq} are"
        )
