"""Reading stored batches in order: their headers and record tables alone, or all of them."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from drsync.adapters.segments.layout import HEADER_BYTES as FIRST_BATCH_AT
from drsync.adapters.segments.scan import WINDOW as WHOLE_WINDOW
from drsync.adapters.segments.segment import Segment
from drsync.adapters.segments.shelf import Shelf
from drsync.delta.batch import HEADER_BYTES, RECORD_BYTES, RECORDS_MAX, Header, chain_of, peek, verify
from drsync.delta.changes import Changes
from drsync.delta.pieces import Newest, PieceTable
from drsync.model.errors import DamagedError, MalformedError
from drsync.model.position import Position

HEAD_WINDOW: Final = 4 << 10  # because payloads of large batches need not be read; 123 records fit
LARGE_BYTES: Final = 4 * HEAD_WINDOW  # of a batch: the next one is likely to be as large
WINDOW: Final = 128 << 10  # because small batches are read many at once
TABLE_BYTES_MAX: Final = HEADER_BYTES + RECORDS_MAX * RECORD_BYTES
assert WINDOW < TABLE_BYTES_MAX < WHOLE_WINDOW


class Table(NamedTuple):
    """Header and record table of a stored batch; `records` is good until the next one is asked for."""

    offset: int
    header: Header
    records: memoryview


class TableReader:
    """One pass over the batches of a segment, each of which must continue the one before.

    Args:
        shelf: of the journal.
        segment: in it.
        is_thorough: payloads are read and verified too.
    """

    def __init__(self, shelf: Shelf, segment: Segment, *, is_thorough: bool) -> None:
        self._shelf = shelf
        self._segment = segment
        self._is_thorough = is_thorough
        self._is_large = False
        self._end = segment.end
        self._base = 0
        self._window = memoryview(b"")
        self.position = segment.prior
        """After the last batch that was read."""

    def __iter__(self) -> Iterator[Table]:
        """Batch by batch; may run in a thread. Raises FailedCopyError: damaged, or not to be read."""
        at = FIRST_BATCH_AT
        while at < self._end:
            header = self._header(at)
            start = at - self._base
            yield Table(at, header, self._window[start + header.table_start : start + header.payload_start])
            self._is_large = header.length >= LARGE_BYTES
            at += header.length

    @property
    def _sizes(self) -> tuple[int, ...]:
        """Of windows to be tried."""
        if self._is_thorough:
            return (WHOLE_WINDOW,)
        return (HEAD_WINDOW, WHOLE_WINDOW) if self._is_large else (WINDOW, WHOLE_WINDOW)

    def _header(self, at: int) -> Header:
        """The header of the batch at `at`, once all is checked, in a window that holds what was checked."""
        try:
            if at < self._base + len(self._window):
                return self._checked(at)
        except MalformedError:
            pass  # perhaps only because the window ends here
        reason: MalformedError | None = None
        for size in self._sizes:
            self._base, self._window = at, memoryview(bytearray(min(size, self._end - at)))
            self._shelf.fill(self._segment, at, self._window)
            try:
                return self._checked(at)
            except MalformedError as error:
                reason = error
        raise DamagedError(
            f"segment {self._segment.path.name}, byte {at}, seq {self.position.seq + 1}: {reason}",
            self._segment.number << 32 | at,
        ) from reason

    def _checked(self, at: int) -> Header:
        window, start, before = self._window, at - self._base, self.position
        header = peek(window, start)
        if self._is_thorough:
            self.position = verify(window, start, header, before)
            return header
        if len(window) - start < header.payload_start:
            raise MalformedError(f"batch at byte {start}: its record table is not there")
        if header.first_seq != before.seq + 1 or header.prev_chain != before.chain:
            raise MalformedError(f"batch at byte {start}: it does not continue seq {before.seq}")
        if chain_of(window, start, header) != header.chain:
            raise MalformedError(f"batch at byte {start}: chain does not match header and table")
        self.position = Position(header.epoch, header.last_seq, header.chain)
        return header


def newest(shelf: Shelf, segment: Segment, through_seq: int, *, is_thorough: bool) -> PieceTable:
    """What a segment's batches up to the batch end `through_seq` left in the volumes.

    Raises:
        FailedCopyError: damaged, or not to be read.
        MalformedError: `through_seq` is no batch end here.
    """
    found = Newest()
    for offset, header, records in TableReader(shelf, segment, is_thorough=is_thorough):
        if header.last_seq > through_seq:
            break
        found.add_table(records, offset + header.payload_start, header.count)
        if header.last_seq == through_seq:
            return found.finish(segment.number << 32)
    raise MalformedError(f"segment {segment.path.name}: seq {through_seq} is no batch end")


def add_changes(shelf: Shelf, segment: Segment, after_seq: int, through_seq: int, changes: Changes) -> None:
    """Collect what a segment's records in (`after_seq`, `through_seq`] change. Raises FailedCopyError."""
    for _, header, records in TableReader(shelf, segment, is_thorough=False):
        if header.first_seq > through_seq:
            return
        first = max(after_seq + 1, header.first_seq) - header.first_seq
        end = min(through_seq, header.last_seq) + 1 - header.first_seq
        if first < end:
            changes.add_table(records, first, end)
