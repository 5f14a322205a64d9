"""One segment file: its name, header, footer and descriptor."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from drsync.adapters.segments.directory import BatchDirectory
from drsync.adapters.segments.files import Files, is_full, read_up_to, write_all
from drsync.adapters.segments.layout import (
    HEADER_BYTES,
    TRAILER_BYTES,
    SegmentHeader,
    Trailer,
    decode_directory,
    decode_header,
    decode_runs,
    decode_trailer,
    encode_footer,
)
from drsync.adapters.segments.scan import reader, scan_segment
from drsync.model.errors import FailedCopyError, MalformedError
from drsync.model.position import Position, Runs
from drsync.ports.journal import HeldSegment

if TYPE_CHECKING:
    from array import array

SUFFIX = ".seg"


def file_name(first_seq: int) -> str:
    """Name of the segment that starts with record `first_seq`."""
    return f"{first_seq:016x}{SUFFIX}"


@dataclass(slots=True, eq=False)
class Segment:
    """A segment of an open journal.

    Attributes:
        path: its file.
        number: in locators.
        prior: position before its first record.
        capacity: bytes reserved for header and batches.
        end: offset where its batches end.
        last: position after its last record; `prior` when empty.
        file_bytes: bytes of disk.
        directory: where its batches start; None when it must be read from the footer first.
        fd: open descriptor or None.
        is_sealed: it has a durable footer.
        first_us: label of its first batch, once somebody asked; 0: not read yet.
        clean_end: bytes from the start of the file that hold nothing of a former life of it.
        marks: ``kind << 32 | offset`` of its marks (`drsync.adapters.segments.marks`); None: not known here.
        held: what its shelf says of it, once that is final.
        is_gone: trimmed or cut; its file may hold other records by now.
    """

    path: Path
    number: int
    prior: Position
    capacity: int
    end: int
    last: Position
    file_bytes: int
    directory: BatchDirectory | None
    fd: int | None = None
    is_sealed: bool = False
    first_us: int = 0
    clean_end: int = 0
    marks: "array[int] | None" = None
    held: HeldSegment | None = None
    is_gone: bool = False

    @property
    def first_seq(self) -> int:
        """Its first record."""
        return self.prior.seq + 1


def read_header(files: Files, fd: int) -> SegmentHeader:
    """The header of an open segment file. Raises MalformedError, PermanentError, OSError."""
    return decode_header(read_up_to(files, fd, HEADER_BYTES, 0))


def read_trailer(files: Files, fd: int, first_seq: int) -> tuple[Trailer, Runs] | None:
    """Trailer and runs of a sealed segment; None when there is no valid footer of this `first_seq`."""
    size = files.size(fd)
    if size < HEADER_BYTES + TRAILER_BYTES:
        return None
    trailer = decode_trailer(read_up_to(files, fd, TRAILER_BYTES, size - TRAILER_BYTES))
    if (
        trailer is None
        or trailer.first_seq != first_seq
        or not trailer.data_end <= trailer.directory_at <= trailer.runs_at <= size - TRAILER_BYTES
    ):
        return None
    try:
        table = read_up_to(files, fd, size - TRAILER_BYTES - trailer.runs_at, trailer.runs_at)
        return trailer, decode_runs(trailer, table)
    except MalformedError:
        return None


def load_directory(files: Files, fd: int, segment: Segment) -> BatchDirectory:
    """The batch directory from the footer, or from the batches when the footer is damaged.

    Raises:
        FailedCopyError: neither can be read.
    """
    found = read_trailer(files, fd, segment.first_seq)
    if found is not None:
        trailer, _ = found
        body = read_up_to(files, fd, trailer.runs_at - trailer.directory_at, trailer.directory_at)
        try:
            return BatchDirectory(*decode_directory(trailer, body))
        except MalformedError:
            pass  # the batches themselves tell the same
    scanned = scan_segment(reader(files, fd), segment.prior)
    if scanned.end != segment.last:
        raise FailedCopyError(
            f"segment {segment.path.name}, byte {scanned.stop.offset}, seq {scanned.end.seq + 1}: "
            f"{scanned.stop.reason or 'zeros'}; the segment ends at seq {segment.last.seq}",
            code="corrupt_journal",
            remedy="repair this copy from another center",
        )
    return scanned.directory


def seal(files: Files, segment: Segment, runs: Runs, marks: bytes | None) -> None:
    """Write the footer of a full segment whose batches are durable; durable on return. Raises OSError.

    Without space for it the segment stays without, as after a crash: it is only slower to open.
    """
    assert segment.fd is not None
    assert segment.directory is not None
    directory = segment.directory
    footer = encode_footer(
        directory.first_seqs, directory.offsets, directory.chains, runs, segment.end, segment.last, marks
    )
    end = segment.end + len(footer.body)
    try:
        write_all(files, segment.fd, [footer.body], segment.end)
    except OSError as error:
        if is_full(error):
            return
        raise
    files.truncate(segment.fd, end)
    files.fsync(segment.fd)
    segment.file_bytes = end
    segment.is_sealed = True
    if marks is not None:
        segment.marks = None  # the footer knows them


def empty_after(files: Files, fd: int, end: int, capacity: int) -> bool:
    """Make everything after `end` zeros, durably, with room up to `capacity`: no old batch can chain again.

    Returns False when there is no space for that room: the file then ends at `end`.

    Cutting the file and growing it again is the one way that also clears what lies beyond the end of a
    page in memory. Raises OSError.
    """
    files.truncate(fd, end)
    has_room = True
    try:
        files.allocate(fd, 0, capacity)
    except OSError as error:
        if not is_full(error):
            raise
        files.truncate(fd, end)
        has_room = False
    files.fsync(fd)
    return has_room
