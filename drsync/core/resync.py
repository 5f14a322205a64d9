"""Resync: how a peer catches up, how each record reaches it, and what a lack of space forbids (F.10).

What is decided before and beside a session lives here; the session itself is `core.resync_source` and
`core.resync_target`, in the order of `core.resync_tables`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from drsync.core import dirty as marks
from drsync.core.compare import (
    ConnectPlan,
    Corrupt,
    ExportFork,
    FreezeBoth,
    Quarantine,
    RefuseUnrelated,
    Seed,
    StepDown,
    Stream,
    Truncate,
)
from drsync.core.dirty import DirtySet
from drsync.core.safety import Reason


class How(StrEnum):
    """How a peer catches up."""

    STREAM = "stream"
    DIRTY = "dirty"
    DIGEST = "digest"
    NOT = "not"


def plan(found: ConnectPlan, dirty: DirtySet, trimmed: int, *, is_consistent: bool = True) -> How:
    """What follows from the comparison and the marks. A fork's records have to be marked before.

    Marks that do not tell all of it are of no use: then everything is compared by digests (P25, P35).
    A copy that is not consistent (written in place, by somebody's leave) is never streamed to.
    """
    match found:
        case RefuseUnrelated() | StepDown() | FreezeBoth():
            return How.NOT
        case Corrupt():
            return How.DIGEST
        case Seed(is_streamable=is_streamable):
            return How.STREAM if is_streamable else How.DIGEST
        case Quarantine(then=then):
            return plan(then, dirty, trimmed, is_consistent=is_consistent)
        case Truncate(then=then) | ExportFork(then=then):
            return plan(then, dirty, trimmed, is_consistent=is_consistent)
        case Stream(from_seq=fork) if is_consistent and marks.reached(dirty, fork).is_clean:
            return How.STREAM
        case _:
            return How.DIRTY if dirty.reaches(found.from_seq, trimmed) else How.DIGEST


def may_stream_marked(found: ConnectPlan, dirty: DirtySet, trimmed: int) -> bool:
    """Whether a peer for which records are marked may be streamed to all the same: the journal holds them.

    For one that cannot be sent what is marked: no more is marked than records that it gets by the stream.
    """
    is_of_records = dirty.is_known and not dirty.older.needs_session and not dirty.live.needs_session
    return isinstance(found, Stream) and is_of_records and found.from_seq >= trimmed


class Route(StrEnum):
    """Where a record is that a peer may lack."""

    CONFIRMED = "confirmed"
    REDO = "redo"
    LOG = "log"
    MARKED = "marked"
    EVERYTHING = "everything"


def route(seq: int, cursor: int, trimmed: int, dirty: DirtySet, pin: int | None) -> Route:
    """How a record reaches the peer. Total: where nothing else holds, everything is compared (P21).

    `pin` is p0 of the running session; what is after it is sent as redo, and the rest by its blocks.
    """
    if seq <= cursor:
        return Route.CONFIRMED
    if not dirty.is_known:
        return Route.EVERYTHING if pin is None or seq <= pin or seq <= trimmed else Route.REDO
    if seq > max(trimmed, dirty.through):
        return Route.LOG if pin is None else Route.REDO
    if dirty.since <= cursor and seq <= dirty.through:
        return Route.MARKED
    return Route.LOG if seq > trimmed else Route.EVERYTHING


@dataclass(frozen=True, slots=True)
class EndWord:
    """What RESYNC_END says, and its confirmation.

    Attributes:
        session: which one.
        generation: which marks it is about.
        p1: the position that the target has from now on.
        size: granules the stage must hold.
    """

    session: str
    generation: int
    p1: int
    size: int


@dataclass(frozen=True, slots=True)
class Room:
    """What a target has for a stage, in bytes.

    Attributes:
        needed: what the session will put aside.
        free: what its quota leaves.
        has_snapshot: the base can be kept by the file system instead.
        is_accepted: a person allowed, by name, to make this copy inconsistent.
    """

    needed: int
    free: int
    has_snapshot: bool = False
    is_accepted: bool = False


class Staging(StrEnum):
    """Where blocks go."""

    STAGE = "stage"
    SNAPSHOT = "snapshot"
    IN_PLACE = "in_place"


def staging(room: Room, target: str, others: Mapping[str, bool]) -> Staging | Reason:
    """Where the blocks of a session go, or why there is none (INV-15).

    `others`: the members besides owner and target, and whether each holds a consistent copy.
    """
    if room.needed <= room.free:
        return Staging.STAGE
    if room.has_snapshot:
        return Staging.SNAPSHOT
    needs = f"The stage at {target} needs {room.needed} bytes and {room.free} are free."
    if not room.is_accepted:
        return Reason(
            "stage_too_large", needs, f"Give {target} more space, or accept that its copy is inconsistent."
        )
    if not any(others.values()):
        return Reason(
            "only_other_copy",
            f"{needs} It holds the only consistent copy besides the owner's.",
            f"Give {target} more space, or bring another member level first.",
        )
    return Staging.IN_PLACE
