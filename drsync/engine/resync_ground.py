"""What a session stands on: what the owner's records changed since the peer was known."""

from collections.abc import Callable

from drsync.core import dirty as marking
from drsync.core.extents import NOTHING, Extents
from drsync.core.resync_source import Ground
from drsync.engine.resync_pieces import extents_of
from drsync.engine.threads import in_thread
from drsync.model.errors import MalformedError
from drsync.ports.journal import Journal


async def ground(
    journal: Journal,
    marked: marking.DirtySet,
    cursor: int,
    p0: int,
    clipped: Callable[[Extents], Extents],
    now: Callable[[], float],
) -> Ground:
    """What the records from the floor of marks to p0 change; read in a thread, because they are many."""
    floor = marking.journal_floor(marked, cursor)
    changed: Extents = NOTHING
    trimmed = journal.first_seq - 1
    if floor < p0 and trimmed <= floor:
        try:
            changed = await in_thread(lambda: extents_of(journal.changed(floor, p0)))
        except MalformedError:
            trimmed = floor + 1  # it went meanwhile: nobody knows what differs
    return Ground(p0, cursor, trimmed, clipped(changed), now())
