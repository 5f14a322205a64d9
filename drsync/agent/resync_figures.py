"""What is told of resync sessions and of what members may lack: read, never counted here."""

from collections.abc import Iterator

from drsync.adapters.metrics import catalog
from drsync.adapters.metrics.reading import Reading
from drsync.core import extents
from drsync.core.extents import GRANULE
from drsync.engine.member import Member
from drsync.engine.term import OwnerTerm

Json = dict[str, object]


def about_session(term: OwnerTerm, center: str) -> Json | None:
    """The session with a peer, as the owner sees it; None without one."""
    progress = term.resyncs.progress(center)
    return None if progress is None else progress.to_json()


def about_marks(member: Member, center: str) -> Json:
    """What a member may lack that the journal no longer holds."""
    marks = member.keeper.of(center)
    return {
        "known": marks.is_known,
        "since": marks.since,
        "through": marks.through,
        "bytes": extents.size(marks.runs or ()) * GRANULE,
    }


def readings(member: Member, term: OwnerTerm, center: str) -> Iterator[Reading]:
    """Figures of one peer."""
    labels = (member.copy.spec.name, center)
    progress, marks = term.resyncs.progress(center), member.keeper.of(center)
    yield Reading(catalog.RESYNC_RUNNING, labels, progress is not None)
    yield Reading(catalog.RESYNC_DONE, labels, term.resyncs.done.get(center, 0))
    yield Reading(catalog.RESYNC_WIRE, labels, term.resyncs.wire_bytes(center))
    left = 0 if progress is None else progress.total - progress.done
    yield Reading(catalog.RESYNC_LEFT, labels, left * GRANULE)
    yield Reading(catalog.RESYNC_RATE, labels, 0 if progress is None else progress.rate)
    yield Reading(catalog.RESYNC_ROUNDS, labels, 0 if progress is None else progress.rounds)
    yield Reading(catalog.DIRTY_KNOWN, labels, marks.is_known)
    if marks.is_known:
        yield Reading(catalog.DIRTY_BYTES, labels, extents.size(marks.runs or ()) * GRANULE)
