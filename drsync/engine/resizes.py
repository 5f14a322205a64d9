"""Finding RESIZE records in a journal."""

from drsync.core.sizes import Resize
from drsync.delta.batch import peek
from drsync.delta.marks import resize_at
from drsync.ports.journal import Journal


def resizes_in(journal: Journal, after_seq: int) -> list[Resize]:
    """Those after record `after_seq`, ascending; a RESIZE stands alone in its batch. Blocks.

    Raises FailedCopyError: the journal cannot be read; MalformedError: a header is damaged.
    """
    found: list[Resize] = []
    for head in journal.marks(after_seq):
        header = peek(head)
        told = resize_at(head, 0, header)
        if told is not None:
            found.append(Resize(told[0], header.last_seq, told[1]))
    return found
