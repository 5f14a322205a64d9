"""The target of a resync session: aside with everything until the end, then one step (F.10).

Each function makes one step of `resync_tables.TARGET` and returns what is known afterwards. Until the switch
the copy stands at its last consistent point; only a person's leave lets blocks go into the image itself.
"""

from dataclasses import dataclass, replace

from drsync.core import extents
from drsync.core.extents import NOTHING, Extents
from drsync.core.resync import EndWord
from drsync.core.resync_source import Source, resumed, stop
from drsync.core.resync_tables import TARGET, SourceEvent, TargetEvent, TargetState


@dataclass(frozen=True, slots=True)
class Target:
    """One session as its target knows it; durable as far as its stage is.

    Attributes:
        state: how far it is.
        session: the source's.
        generation: the source's, told back with the confirmation.
        rounds: the source's count.
        p0: redo follows this.
        redo: redo is staged up to here.
        staged: blocks put aside in all rounds.
        fresh: blocks put aside in this round.
        end: what is being switched to.
        is_in_place: there was no space for a stage: the image is not consistent until the end.
        touched: blocks that were written into the image, by any session since it was consistent. Whoever
            marks for other members what a switch changes marks these too: digests do not find them.
        switched: the last session that was switched.
    """

    state: TargetState = TargetState.IDLE
    session: str = ""
    generation: int = 0
    rounds: int = 0
    p0: int = 0
    redo: int = 0
    staged: Extents = NOTHING
    fresh: Extents = NOTHING
    end: EndWord | None = None
    is_in_place: bool = False
    touched: Extents = NOTHING
    switched: EndWord | None = None

    @property
    def is_consistent(self) -> bool:
        """Whether the copy can be opened at its position: always, but for what a person accepted."""
        return not self.is_in_place


def _move(target: Target, event: TargetEvent) -> Target | None:
    move = TARGET.step(target.state, event)
    return None if move is None else replace(target, state=move.to)


def _without_stage(target: Target) -> Target:
    """The stage is gone; where blocks were written in place the image stays what it is."""
    return Target(is_in_place=target.is_in_place, touched=target.touched, switched=target.switched)


def begun(target: Target, source: Source, *, in_place: bool = False) -> Target:
    """RESYNC_BEGIN: an empty stage; an older one goes. A target that switches does that first."""
    moved = _move(target, TargetEvent.BEGIN)
    if moved is None:
        return target
    return Target(
        moved.state,
        source.session,
        source.generation,
        source.rounds,
        source.p0,
        source.p0,
        is_in_place=in_place or target.is_in_place,
        touched=target.touched,
        switched=target.switched,
    )


def again(target: Target, source: Source) -> Target | None:
    """RESYNC_BEGIN of what was kept: it goes on, its redo forgotten. None when something else was kept."""
    theirs, kept = ((word.session, word.generation, word.rounds, word.p0) for word in (source, target))
    moved = _move(target, TargetEvent.RESUME) if target.session and theirs == kept else None
    return None if moved is None else replace(moved, redo=target.p0)


def next_round(target: Target, source: Source) -> Target:
    """RESYNC_ROUND: redo starts anew after a later p0; what is staged stays, and is made durable."""
    moved = _move(target, TargetEvent.ROUND) if target.session == source.session else None
    if moved is None:
        return target
    return replace(
        moved,
        generation=source.generation,
        rounds=source.rounds,
        p0=source.p0,
        redo=source.p0,
        fresh=NOTHING,
    )


def staged(target: Target, session: str, blocks: Extents) -> Target:
    """Blocks came: aside with them. After redo they would be older than it, and end the session."""
    moved = _move(target, TargetEvent.BLOCKS) if target.session == session else None
    if moved is None:
        return target
    if moved.state is TargetState.IDLE:
        return _without_stage(target)
    return replace(
        moved,
        staged=extents.union(target.staged, blocks),
        fresh=extents.union(target.fresh, blocks),
        touched=extents.union(target.touched, blocks) if target.is_in_place else NOTHING,
    )


def redo(target: Target, session: str, first: int, last: int) -> Target:
    """Redo came: only what continues what is there counts."""
    if target.session != session or first != target.redo + 1:
        return target
    moved = _move(target, TargetEvent.REDO)
    return target if moved is None else replace(moved, redo=last)


def end(target: Target, word: EndWord) -> Target:
    """RESYNC_END: switch if all of it is there (P24), else drop the stage and say so."""
    if target.session != word.session:
        return target
    is_whole = (
        target.generation == word.generation
        and target.redo == word.p1
        and extents.size(target.staged) == word.size
    )
    moved = _move(target, TargetEvent.END if is_whole else TargetEvent.BAD_END)
    if moved is None:
        return target
    return replace(moved, end=word) if is_whole else _without_stage(target)


def switched(target: Target) -> Target:
    """The stage became the image. Raises WrongEventError."""
    moved = _move(target, TargetEvent.SWITCHED)
    assert moved is not None
    return Target(moved.state, switched=target.end)


def halted(target: Target, event: TargetEvent) -> Target:
    """Cut, restarted, given up."""
    moved = _move(target, event)
    if moved is None:
        return target
    return _without_stage(target) if moved.state is TargetState.IDLE else moved


def resume(source: Source, target: Target) -> tuple[Source, Target, EndWord | None]:
    """The line is back: go on where the stage is, or drop the session on both sides without harm.

    What was sent in this round and did not arrive, or is not durable, is sent again. The end of a session
    that was switched is returned, to be confirmed once more.
    """
    if target.switched is not None and target.switched.session == source.session:
        return source, target, target.switched if _move(target, TargetEvent.ASKED) else None
    theirs = (target.session, target.generation, target.rounds)
    moved = _move(target, TargetEvent.RESUME) if target.session else None
    going = resumed(source, target.staged, target.fresh) if moved is not None else None
    if moved is None or going is None or theirs != (source.session, source.generation, source.rounds):
        return stop(source, SourceEvent.REFUSED), halted(target, TargetEvent.GIVEN_UP), None
    return going, replace(moved, redo=target.p0), None
