"""Writing again what a former process wrote and nobody knows to be on the disk.

After a sync that failed, the kernel takes the pages that it could not write for clean: they read well, and
the next sync succeeds without them (P33). The process that saw the error stops; the one after it sees bytes
that may be in memory only. Written again they are dirty again, and its own sync tells the truth about them.
"""

from drsync.adapters.segments.directory import BatchDirectory
from drsync.adapters.segments.files import Files, is_full, read_up_to, write_all
from drsync.adapters.segments.layout import HEADER_BYTES, decode_header
from drsync.adapters.segments.segment import Segment
from drsync.delta.batch import peek, verify
from drsync.model.errors import FailedCopyError, MalformedError, NoSpaceError
from drsync.model.position import Position


def write_again(files: Files, fd: int, segment: Segment, directory: BatchDirectory, after: Position) -> None:
    """Write a segment's batches after the batch end `after`, and its header if all are; not synced.

    Each is verified once more on its way: a read that lies must not become durable.

    Raises:
        FailedCopyError: what is read now is not what was read before; it was not written.
        NoSpaceError: the file system needs space even for that.
        OSError: reading or writing failed.
    """
    try:
        if after.seq < segment.first_seq:
            page = read_up_to(files, fd, HEADER_BYTES, 0)
            decode_header(page)
            _write(files, fd, page, 0)
            after = segment.prior
        for batch in range(max(directory.index_of(after.seq + 1), 0), len(directory)):
            at = directory.offsets[batch]
            end = directory.offsets[batch + 1] if batch + 1 < len(directory) else segment.end
            data = read_up_to(files, fd, end - at, at)
            after = verify(data, 0, peek(data), after)
            _write(files, fd, data, at)
    except MalformedError as error:
        raise FailedCopyError(f"segment {segment.path.name}: {error}", code="unreadable") from error


def _write(files: Files, fd: int, data: bytearray, at: int) -> None:
    try:
        write_all(files, fd, [data], at)
    except OSError as error:
        if not is_full(error):
            raise
        raise NoSpaceError("no space to write again what a former process may not have synced") from error
