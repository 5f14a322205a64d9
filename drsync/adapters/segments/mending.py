"""Writing a damaged batch once more, in its place."""

import os

from drsync.adapters.segments.files import Files, write_all
from drsync.adapters.segments.shelf import Shelf
from drsync.delta.batch import peek, verify
from drsync.model.errors import MalformedError
from drsync.ports.journal import BatchPlace, Buffer


def mend(files: Files, shelf: Shelf, batch: Buffer) -> BatchPlace:
    """See `drsync.ports.journal.Journal.mend`. By a descriptor of its own: those of a shelf may be closed.

    Raises:
        MalformedError: it is not the batch that is held; nothing was written.
        OSError: it cannot be written.
    """
    header = peek(batch)
    before = shelf.end_at_or_below(header.first_seq - 1)
    after = shelf.end_at_or_below(header.last_seq)
    if before.seq != header.first_seq - 1 or after.seq != header.last_seq or len(batch) != header.length:
        raise MalformedError(f"no batch of records {header.first_seq} to {header.last_seq} is held")
    end = verify(batch, 0, header, before)
    place = next(shelf.places(before.seq))
    if end != after or place.last_seq != after.seq or place.length != header.length:
        raise MalformedError(
            f"records {header.first_seq} to {header.last_seq}: chain {end.chain.hex()} is offered, "
            f"{after.chain.hex()} is held"
        )
    segment, at = shelf.find(place.locator, place.length)
    fd = files.open(segment.path, os.O_RDWR)
    try:
        write_all(files, fd, [batch], at)
        files.fdatasync(fd)
    finally:
        files.close(fd)
    return place
