"""Finding RESIZE records in a journal."""

from drsync.core.sizes import Resize
from drsync.delta.batch import HEADER_BYTES, RECORD_BYTES, peek
from drsync.delta.marks import resize_at
from drsync.ports.journal import Journal

BATCH_BYTES = HEADER_BYTES + RECORD_BYTES
"""Because a RESIZE stands alone in its batch and carries nothing: others are passed over unread."""


def resizes_in(journal: Journal, after_seq: int) -> list[Resize]:
    """Those after record `after_seq`, ascending. Blocks: a small read for each batch of that length.

    Raises FailedCopyError: the journal cannot be read; MalformedError: a header is damaged.
    """
    found: list[Resize] = []
    for place in journal.places(max(after_seq, journal.first_seq - 1)):
        if place.length != BATCH_BYTES:
            continue
        head = journal.read(place.locator, BATCH_BYTES)
        header = peek(head)
        told = resize_at(head, 0, header)
        if told is not None:
            found.append(Resize(told[0], header.last_seq, told[1]))
    return found
