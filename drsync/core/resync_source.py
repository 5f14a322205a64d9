"""The source of a resync session: what it sends, when it ends, what a confirmation clears (F.10, F.A 14).

Each function makes one step of `resync_tables.SOURCE` and returns what is known afterwards. p0 and p1 are
committed positions, durable on the whole in-sync set; blocks are read through the committed view.
"""

from dataclasses import dataclass, replace
from typing import Final

from drsync.core import dirty as marks
from drsync.core import extents
from drsync.core.dirty import DirtySet
from drsync.core.extents import NOTHING, Extents
from drsync.core.resync import EndWord
from drsync.core.resync_tables import SOURCE, SourceEvent, SourceState

NO_PROGRESS_S: Final = 60.0  # because a line that carries nothing for a minute is cut, whatever TCP thinks
ROUNDS_MAX: Final = 16  # because writes that outran the line so often will do so again: pace them, or wait


@dataclass(frozen=True, slots=True)
class Source:
    """One session as its source knows it; lost with the process.

    Attributes:
        state: how far it is.
        session: random, names it.
        generation: of the dirty set that it clears.
        p0: the journal is pinned after this.
        p1: the session ends here; 0 until the last block was read.
        todo: blocks still to be sent.
        fresh: all blocks of this round.
        whole: all blocks of all rounds: what the stage has to hold at the end.
        rounds: how often the redo outgrew its quota.
        by_digest: what differs is not known: digests tell first.
        moved_at: seconds of the owner's clock at the last progress.
    """

    state: SourceState = SourceState.IDLE
    session: str = ""
    generation: int = 0
    p0: int = 0
    p1: int = 0
    todo: Extents = NOTHING
    fresh: Extents = NOTHING
    whole: Extents = NOTHING
    rounds: int = 0
    by_digest: bool = False
    moved_at: float = 0.0

    @property
    def pin(self) -> int | None:
        """Records after this are not trimmed; None without a session."""
        return None if self.state is SourceState.IDLE else self.p0

    @property
    def is_at_limit(self) -> bool:
        """Whether another round is not worth trying."""
        return self.rounds >= ROUNDS_MAX


IDLE_SOURCE: Final = Source()


@dataclass(frozen=True, slots=True)
class Ground:
    """What a session or a round stands on.

    Attributes:
        commit: becomes p0; durable on the whole in-sync set.
        cursor: what the peer confirmed.
        changed: extents of the journal's records from the floor of marks, or the old p0, up to `commit`.
        trimmed: last record that the journal no longer holds.
        now: seconds.
    """

    commit: int
    cursor: int
    trimmed: int
    changed: Extents
    now: float


def _go(source: Source, event: SourceEvent) -> Source | None:
    """The source in its next state; None when the event is late. Raises WrongEventError."""
    move = SOURCE.step(source.state, event)
    return None if move is None else replace(source, state=move.to)


def _marked(dirty: DirtySet, ground: Ground) -> DirtySet:
    return marks.mark(dirty, ground.cursor, ground.commit, ground.changed, ground.trimmed)


def start(
    source: Source, session: str, dirty: DirtySet, ground: Ground, *, by_digest: bool
) -> tuple[Source, DirtySet]:
    """Mark everything up to p0, durably, then pin and offer.

    What is not known is compared by digests, and there is nothing to send before that. Raises WrongEventError
    while a session runs.
    """
    begun = _go(source, SourceEvent.START)
    assert begun is not None
    # What is to be compared is unknown until the session ends, also where it never does.
    known = marks.mark_different(dirty, None) if by_digest else dirty
    marked = marks.begin(_marked(known, ground))
    runs = marked.older.runs
    todo = NOTHING if runs is None else runs
    made = Source(
        begun.state,
        session,
        marked.generation,
        ground.commit,
        todo=todo,
        fresh=todo,
        whole=todo,
        by_digest=runs is None,
        moved_at=ground.now,
    )
    return made, marked


def accepted(source: Source, session: str) -> Source:
    """The target opened its stage."""
    event = SourceEvent.DIGESTS_WANTED if source.by_digest else SourceEvent.ACCEPTED
    return (_go(source, event) or source) if session == source.session else source


def digested(source: Source, session: str, differing: Extents, now: float) -> Source:
    """The digests told what differs; what changed in rounds meanwhile is sent as well."""
    moved = _go(source, SourceEvent.DIGESTED) if session == source.session else None
    if moved is None:
        return source
    todo = extents.union(source.todo, differing)
    return replace(moved, todo=todo, fresh=todo, whole=todo, moved_at=now)


def sent(source: Source, count: int, now: float) -> tuple[Extents, Source]:
    """The next `count` blocks to be read and sent, as they are now."""
    taken, todo = extents.take(source.todo, count)
    return taken, replace(source, todo=todo, moved_at=now)


def copied(source: Source, commit: int) -> Source:
    """The last block was read: what is committed now is p1. Raises WrongEventError."""
    assert not source.todo
    moved = _go(source, SourceEvent.COPIED)
    assert moved is not None
    return replace(moved, p1=max(commit, source.p0))


def redone(source: Source) -> tuple[Source, EndWord]:
    """The redo (p0, p1] was sent: now the end. Raises WrongEventError."""
    moved = _go(source, SourceEvent.REDONE)
    assert moved is not None
    return moved, EndWord(source.session, source.generation, source.p1, extents.size(source.whole))


def outgrown(source: Source, dirty: DirtySet, ground: Ground) -> tuple[Source, DirtySet]:
    """The redo pin is over its quota: mark (p0, commit], send those blocks again, pin from there.

    Where no new round can be made the session is dropped; the marks are made all the same, because the
    journal goes.
    """
    event = SourceEvent.DROPPED if source.is_at_limit else SourceEvent.OUTGROWN
    moved = _go(source, event)
    marked = _marked(dirty, ground)
    if moved is None or moved.state is SourceState.IDLE:
        return IDLE_SOURCE, marked
    again = marks.begin(marked)
    add = ground.changed
    todo = extents.union(source.todo, add)
    is_comparing = moved.state is SourceState.DIGESTING
    return (
        replace(
            moved,
            generation=again.generation,
            p0=ground.commit,
            p1=0,
            todo=todo,
            fresh=NOTHING if is_comparing else todo,
            whole=NOTHING if is_comparing else extents.union(source.whole, add),
            rounds=source.rounds + 1,
        ),
        again,
    )


def confirmed(source: Source, dirty: DirtySet, word: EndWord) -> tuple[Source, DirtySet, bool]:
    """The target stands at p1: clear the marks of this generation; whether it did.

    A word about another session or generation is late, and clears nothing.
    """
    is_ours = (word.session, word.generation, word.p1) == (source.session, source.generation, source.p1)
    moved = _go(source, SourceEvent.CONFIRMED) if is_ours else None
    if moved is None:
        return source, dirty, False
    return IDLE_SOURCE, marks.ended(dirty, word.generation, word.p1), True


def resumed(source: Source, staged: Extents, fresh: Extents) -> Source | None:
    """The target kept this: what of the round and of the whole is missing is sent again, then all redo.

    None when the source did not wait for it.
    """
    moved = _go(source, SourceEvent.RESUMED)
    if moved is None:
        return None
    missing = extents.union(extents.subtract(source.fresh, fresh), extents.subtract(source.whole, staged))
    return replace(moved, todo=missing, p1=0)


def stop(source: Source, event: SourceEvent) -> Source:
    """Refused, cut, stalled, dropped. What was marked stays marked."""
    moved = _go(source, event)
    if moved is None:
        return source
    return IDLE_SOURCE if moved.state is SourceState.IDLE else moved


def moved(source: Source, at: float) -> Source:
    """The peer was heard, or something else went on, at that instant."""
    return replace(source, moved_at=max(source.moved_at, at))


def is_stalled(source: Source, now: float) -> bool:
    """Nothing moved for too long, whatever the line says (P28)."""
    return source.state is not SourceState.IDLE and now - source.moved_at > NO_PROGRESS_S
