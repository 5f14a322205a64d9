"""Batches that are read back to be given to others: verified first, so that damage stays where it is."""

from drsync.delta.batch import peek, verify
from drsync.model.errors import DamagedError, MalformedError
from drsync.model.position import Position
from drsync.ports.journal import BatchPlace, Journal


def sound_batches(journal: Journal, after_seq: int, bytes_max: int) -> tuple[bytes, int]:
    """As `Journal.read_batches`, up to the first damaged batch.

    Raises:
        DamagedError: the batch right after `after_seq` is damaged.
        MalformedError: `after_seq` is before the first held record or inside a batch.
        FailedCopyError: the journal cannot be read.
    """
    data, last = journal.read_batches(after_seq, bytes_max)
    before = journal.position_at(after_seq)
    at = 0
    for place in journal.places(after_seq):
        if at == len(data):
            break
        try:
            header = peek(data, at)
            # The position before all that is held may be unknown: the first batch speaks for itself.
            start = before or Position(header.epoch, after_seq, header.prev_chain)
            before = verify(data, at, header, start)
            _require(place, before)
        except MalformedError as error:
            if at:
                return data[:at], place.first_seq - 1
            raise damaged(place, error) from error
        at += place.length
    return data, last


def _require(place: BatchPlace, end: Position) -> None:
    if end.seq != place.last_seq:
        raise MalformedError(f"the batch ends at record {end.seq}, {place.last_seq} was appended")


def damaged(place: BatchPlace, error: MalformedError) -> DamagedError:
    """What is wrong with a stored batch."""
    return DamagedError(
        f"the journal is damaged: segment {place.locator >> 32}, byte {place.locator & 0xFFFFFFFF}, "
        f"record {place.first_seq}: {error}",
        place.locator,
    )
