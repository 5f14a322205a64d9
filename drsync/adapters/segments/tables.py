"""Reading the headers and record tables of stored batches, without their payloads."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from drsync.adapters.segments.layout import HEADER_BYTES as FIRST_BATCH_AT
from drsync.adapters.segments.segment import Segment
from drsync.adapters.segments.shelf import Shelf
from drsync.delta.batch import HEADER_BYTES, RECORD_BYTES, RECORDS_MAX, Header, chain_of, peek
from drsync.delta.changes import Changes
from drsync.model.errors import FailedCopyError, MalformedError

WINDOW: Final = (
    512 << 10
)  # because small batches are read many at once, and payloads of large ones not at all
TABLE_BYTES_MAX: Final = HEADER_BYTES + RECORDS_MAX * RECORD_BYTES
assert TABLE_BYTES_MAX <= WINDOW


class Table(NamedTuple):
    """Header and record table of a stored batch; `records` is good until the next one is asked for."""

    offset: int
    header: Header
    records: memoryview


def tables(shelf: Shelf, segment: Segment) -> Iterator[Table]:
    """Header and record table of every batch of a segment, in order; each agrees with its chain.

    May run in a thread.

    Raises:
        FailedCopyError: damaged, or not to be read.
    """
    base = at = FIRST_BATCH_AT
    end = segment.end
    window = memoryview(b"")
    while at < end:
        try:
            header = _checked(window, at - base)
        except MalformedError as error:
            if at == base and window:
                raise FailedCopyError(
                    f"segment {segment.path.name}, byte {at}: {error}",
                    code="corrupt_journal",
                    remedy="repair this copy from another center",
                ) from error
            header = None
        if header is None:  # perhaps only because the window ends here
            base, window = at, memoryview(bytearray(min(WINDOW, end - at)))
            shelf.fill(segment, base, window)
            continue
        start = at - base
        yield Table(at, header, window[start + header.table_start : start + header.payload_start])
        at += header.length


def _checked(window: memoryview, at: int) -> Header:
    """The header at `at`, once it agrees with the table behind it. Raises MalformedError."""
    header = peek(window, at)
    if len(window) - at < header.payload_start:
        raise MalformedError(f"batch at byte {at}: its table is not there")
    if chain_of(window, at, header) != header.chain:
        raise MalformedError(f"batch at byte {at}: chain does not match header and table")
    return header


def add_changes(shelf: Shelf, after_seq: int, through_seq: int, changes: Changes) -> None:
    """Collect what the records in (`after_seq`, `through_seq`] change. Raises FailedCopyError."""
    for segment in list(shelf.segments):
        if segment.last.seq <= after_seq:
            continue
        if segment.first_seq > through_seq:
            return
        for _, header, records in tables(shelf, segment):
            first = max(after_seq + 1, header.first_seq) - header.first_seq
            end = min(through_seq, header.last_seq) + 1 - header.first_seq
            if first < end:
                changes.add_table(records, first, end)
