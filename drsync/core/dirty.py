"""Dirty sets: what a peer may lack that the journal no longer holds (F.9).

A center keeps one for each other member. "Journal above the peer's cursor, and its dirty set" must hold every
difference (INV-11): so marks are made before records go, and go only by the confirmed end of a session of the
same generation, or by a position that this peer itself confirmed. What is lost is never clean, it is unknown.
"""

import struct
from dataclasses import dataclass, replace
from typing import Final
from zlib import crc32

from drsync.core import extents
from drsync.core.extents import NOTHING, Extents, Run

RUNS_MAX: Final = 65_536  # because 1.3 MB are read, sorted and written in a blink
_MAGIC: Final = b"DRDS"
_FORMAT: Final = 1
_HEAD: Final = struct.Struct("<4sHHQQQQII")  # magic, format, flags, generation, since, 2 x through, 2 x count
_RUN: Final = struct.Struct("<IQQ")
_SUM: Final = struct.Struct("<I")
_UNKNOWN_OLDER, _UNKNOWN_LIVE, _PROOF_OLDER, _PROOF_LIVE = 1, 2, 4, 8


@dataclass(frozen=True, slots=True)
class Marks:
    """One of the two buffers of a dirty set.

    Attributes:
        runs: what may differ; None: not known, so everything may.
        through: the records up to here that the peer may lack are marked.
        needs_session: more than records is marked (rot, forks): a position alone clears nothing.
    """

    runs: Extents | None = NOTHING
    through: int = 0
    needs_session: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing is marked; unknown is not empty."""
        return self.runs is not None and not self.runs

    def plus(self, other: "Marks") -> "Marks":
        """Both together."""
        is_known = self.runs is not None and other.runs is not None
        runs = _limited(extents.union(self.runs or NOTHING, other.runs or NOTHING)) if is_known else None
        return Marks(runs, max(self.through, other.through), self.needs_session or other.needs_session)


EMPTY: Final = Marks()
UNKNOWN: Final = Marks(None, 0, needs_session=True)


@dataclass(frozen=True, slots=True)
class DirtySet:
    """What one peer may lack of the records in (`since`, `through`], and more where marks say so.

    Attributes:
        generation: of `older`; it only rises, also across a loss.
        since: the peer held everything up to here when marking began.
        older: what the running session (of this generation) sends.
        live: what was marked since that session began.
    """

    generation: int = 0
    since: int = 0
    older: Marks = EMPTY
    live: Marks = EMPTY

    @property
    def through(self) -> int:
        """Marks stand for records up to here; the journal needs not reach below."""
        return max(self.older.through, self.live.through)

    @property
    def runs(self) -> Extents | None:
        """All that is marked; None: not known."""
        return self.older.plus(self.live).runs

    @property
    def is_clean(self) -> bool:
        """Whether nothing is marked. Unknown is never clean (P35)."""
        return self.older.is_empty and self.live.is_empty

    @property
    def is_known(self) -> bool:
        """Whether the marks say what differs."""
        return self.runs is not None

    def reaches(self, fork: int, trimmed: int) -> bool:
        """Whether marks and journal tell all that a peer lacks that holds our log up to `fork` (P25).

        `trimmed` is the last record that the journal no longer holds.
        """
        return self.is_known and (fork >= trimmed or self.since <= fork <= trimmed <= self.through)


def unknown(generation: int = 0) -> DirtySet:
    """Everything may differ: a new disk, or marks that were lost. `generation` is the highest ever used."""
    return DirtySet(generation, 0, UNKNOWN, EMPTY)


def mark(dirty: DirtySet, cursor: int, through: int, runs: Extents, trimmed: int) -> DirtySet:
    """`runs` of the records in (`journal_floor`, `through`] of a peer that confirmed `cursor`.

    Durable before the records go. Marking the same again changes nothing. Where the journal holds no longer
    all of these records (`trimmed` is the last that it does not), nobody knows what differs.
    """
    is_new = cursor >= dirty.through or cursor < dirty.since
    since = cursor if is_new else dirty.since
    known = None if trimmed > journal_floor(dirty, cursor) else runs
    return replace(dirty, since=since, live=dirty.live.plus(Marks(known, through, known is None)))


def mark_different(dirty: DirtySet, runs: Extents | None) -> DirtySet:
    """Differences that no record of ours tells: digests that disagree, records of a fork. None: all of it."""
    return replace(dirty, live=dirty.live.plus(Marks(runs, needs_session=True)))


def journal_floor(dirty: DirtySet, cursor: int) -> int:
    """The journal has to hold what comes after this for a peer that confirmed `cursor` (INV-13).

    Marks that began after `cursor` do not count: the peer has gone back, and lacks what lies between.
    """
    return max(cursor, dirty.through) if dirty.since <= cursor else cursor


def begin(dirty: DirtySet, generation: int = 0) -> DirtySet:
    """A session takes all marks under a new generation; what is marked from now on is not of it.

    `generation` is the highest ever used for this peer, where the caller knows of a higher one.
    """
    number = max(dirty.generation, generation) + 1
    return DirtySet(number, dirty.since, dirty.older.plus(dirty.live), EMPTY)


def ended(dirty: DirtySet, generation: int, p1: int) -> DirtySet:
    """The peer confirmed the end of the session of `generation` at `p1`: its marks for records <= p1 go.

    A confirmation of another generation clears nothing; so does one from before the last of its records.
    """
    if generation != dirty.generation or dirty.older.through > p1:
        return dirty
    return DirtySet(dirty.generation, p1, EMPTY, dirty.live)


def reached(dirty: DirtySet, cursor: int) -> DirtySet:
    """This peer itself holds our log up to `cursor`: marks that only stood for records up to there go.

    It never widens: what others say about the peer is their position, and belongs into its cursor (P22, P23).
    """

    def kept(marks: Marks) -> Marks:
        is_moot = marks.through <= cursor and not marks.needs_session
        return EMPTY if is_moot else marks

    older, live = kept(dirty.older), kept(dirty.live)
    if older == dirty.older and live == dirty.live:
        return dirty
    since = max(dirty.since, cursor) if older.is_empty else dirty.since
    return DirtySet(dirty.generation, since, older, live)


def clamped(dirty: DirtySet, fork: int) -> DirtySet:
    """Our log ends at `fork` and goes on with other records: nothing is known of those by their numbers.

    The marks stay: what they stood for may differ still.
    """
    older = replace(dirty.older, through=min(dirty.older.through, fork))
    live = replace(dirty.live, through=min(dirty.live.through, fork))
    return DirtySet(dirty.generation, min(dirty.since, fork), older, live)


def encode(dirty: DirtySet) -> bytes:
    """With a checksum over all of it."""
    flags = (
        (dirty.older.runs is None) * _UNKNOWN_OLDER
        | (dirty.live.runs is None) * _UNKNOWN_LIVE
        | dirty.older.needs_session * _PROOF_OLDER
        | dirty.live.needs_session * _PROOF_LIVE
    )
    older, live = dirty.older.runs or NOTHING, dirty.live.runs or NOTHING
    counts = (len(older), len(live))
    head = _HEAD.pack(
        _MAGIC,
        _FORMAT,
        flags,
        dirty.generation,
        dirty.since,
        dirty.older.through,
        dirty.live.through,
        *counts,
    )
    body = head + b"".join(_RUN.pack(*run) for run in (*older, *live))
    return body + _SUM.pack(crc32(body))


def decode(raw: bytes | None, generation: int) -> DirtySet:
    """Inverse of `encode`; unknown for what is missing, damaged, or older than `generation`.

    `generation` is what the superblock holds: a set that was restored from before it misses marks (P35).
    """
    found = _read(raw) if raw is not None else None
    if found is None or found.generation < generation:
        return unknown(generation)
    return found


def _read(raw: bytes) -> DirtySet | None:
    count, odd = divmod(len(raw) - _HEAD.size - _SUM.size, _RUN.size)
    if count < 0 or odd or _SUM.unpack_from(raw, len(raw) - _SUM.size)[0] != crc32(raw[: -_SUM.size]):
        return None
    head: tuple[bytes, int, int, int, int, int, int, int, int] = _HEAD.unpack_from(raw)
    magic, version, flags, generation, since, older_through, live_through, older_count, live_count = head
    runs = tuple(Run(*run) for run in _RUN.iter_unpack(raw[_HEAD.size : -_SUM.size]))
    if (magic, version) != (_MAGIC, _FORMAT) or len(runs) != older_count + live_count:
        return None
    older = Marks(
        None if flags & _UNKNOWN_OLDER else runs[:older_count], older_through, bool(flags & _PROOF_OLDER)
    )
    live = Marks(
        None if flags & _UNKNOWN_LIVE else runs[older_count:], live_through, bool(flags & _PROOF_LIVE)
    )
    return DirtySet(generation, since, older, live)


def _limited(runs: Extents) -> Extents | None:
    """Fewer, larger runs when there are too many: more is sent than differs, never less."""
    return extents.coarsened(runs, RUNS_MAX)
