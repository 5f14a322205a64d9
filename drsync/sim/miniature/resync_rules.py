"""The rules of the world of resync, each replaceable by a mistake, and the mistakes (P20-P32, P36).

Only names and wrong rules live here. Whatever that world decides, it decides by calling one of these.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from drsync.core import dirty as marks
from drsync.core import resync, resync_source, resync_target, retention
from drsync.core.compare import ConnectPlan
from drsync.core.dirty import DirtySet
from drsync.core.extents import NOTHING, Extents
from drsync.core.resync import EndWord, How, Room, Staging
from drsync.core.resync_source import Ground, Source
from drsync.core.resync_tables import TargetState
from drsync.core.resync_target import Target
from drsync.core.retention import Action, Convert, Cursor, Kept, Limits, Stall, Trim
from drsync.core.safety import Reason


def shipped_start(
    source: Source, name: str, dirty: DirtySet, ground: Ground, how: How
) -> tuple[Source, DirtySet]:
    """A session as `how` says."""
    return resync_source.start(source, name, dirty, ground, by_digest=how is How.DIGEST)


@dataclass(frozen=True)
class ResyncRules:
    """What the world asks. The defaults are the shipped functions."""

    plan: Callable[[ConnectPlan, DirtySet, int, bool], How] = lambda found, dirty, trimmed, is_consistent: (
        resync.plan(found, dirty, trimmed, is_consistent=is_consistent)
    )
    staging: Callable[[Room, str, Mapping[str, bool]], Staging | Reason] = resync.staging
    tells_in_place: bool = True
    retain: Callable[[Kept, Limits], tuple[Action, ...]] = retention.plan
    mark: Callable[[DirtySet, int, int, Extents, int], DirtySet] = marks.mark
    marks_others: bool = True
    reached: Callable[[DirtySet, int], DirtySet] = marks.reached
    decode: Callable[[bytes | None, int], DirtySet] = marks.decode
    start: Callable[[Source, str, DirtySet, Ground, How], tuple[Source, DirtySet]] = shipped_start
    when_sent: Callable[[DirtySet], DirtySet] = lambda dirty: dirty
    outgrown: Callable[[Source, DirtySet, Ground], tuple[Source, DirtySet]] = resync_source.outgrown
    sends_redo: bool = True
    end: Callable[[Target, EndWord], Target] = resync_target.end
    confirmed: Callable[[Source, DirtySet, EndWord], tuple[Source, DirtySet, bool]] = resync_source.confirmed
    resume: Callable[[Source, Target], tuple[Source, Target, EndWord | None]] = resync_target.resume
    is_stalled: Callable[[Source, float], bool] = resync_source.is_stalled
    heard: Callable[[Mapping[str, Cursor], Iterable[tuple[str, Cursor]], str], dict[str, Cursor]] = (
        retention.heard
    )
    told: Callable[[DirtySet, DirtySet], DirtySet] = lambda mine, _theirs: mine
    tells: Callable[[Cursor, int], Cursor] = lambda cursor, _tip: cursor


def _no_pin(kept: Kept, limits: Limits) -> tuple[Action, ...]:
    return retention.plan(replace(kept, needs=tuple(replace(need, pin=None) for need in kept.needs)), limits)


def _trim_first(kept: Kept, limits: Limits) -> tuple[Action, ...]:
    found = retention.plan(kept, limits)
    return tuple(sorted(found, key=lambda action: not isinstance(action, Trim)))


def _unconverted(kept: Kept, limits: Limits) -> tuple[Action, ...]:
    return tuple(action for action in retention.plan(kept, limits) if not isinstance(action, Convert))


def _stalls(kept: Kept, limits: Limits) -> tuple[Action, ...]:
    """Waits for the farthest member, whatever it holds."""
    patient = retention.plan(kept, replace(limits, hard_bytes=1 << 40))
    return (*patient, Stall(1)) if kept.held_bytes > limits.hard_bytes else patient


def _clear_at_start(
    source: Source, name: str, dirty: DirtySet, ground: Ground, how: How
) -> tuple[Source, DirtySet]:
    made, marked = shipped_start(source, name, dirty, ground, how)
    return made, replace(marked, older=marks.Marks(NOTHING, marked.older.through))


def _old_marks_only(
    source: Source, name: str, dirty: DirtySet, ground: Ground, how: How
) -> tuple[Source, DirtySet]:
    return shipped_start(source, name, dirty, replace(ground, changed=NOTHING), how)


def _forget_marks(dirty: DirtySet) -> DirtySet:
    return DirtySet(dirty.generation, dirty.since, marks.Marks(NOTHING, dirty.through))


def _clear_unreached(dirty: DirtySet, cursor: int) -> DirtySet:
    return DirtySet(dirty.generation, cursor, marks.Marks(NOTHING, dirty.through))


def _blind_mark(dirty: DirtySet, cursor: int, through: int, runs: Extents, trimmed: int) -> DirtySet:
    """While a session runs, neither sent (it is behind the pin) nor marked."""
    is_session = not dirty.older.is_empty
    return marks.mark(dirty, cursor, through, NOTHING if is_session else runs, trimmed)


def _half_round(source: Source, dirty: DirtySet, ground: Ground) -> tuple[Source, DirtySet]:
    moved, marked = resync_source.outgrown(source, dirty, ground)
    if moved == resync_source.IDLE_SOURCE:
        return moved, marked
    return replace(moved, todo=source.todo, fresh=source.todo, whole=source.whole), marked


def _no_round(source: Source, dirty: DirtySet, ground: Ground) -> tuple[Source, DirtySet]:
    """The journal goes, and the session goes on as if it had not."""
    _, marked = resync_source.outgrown(source, dirty, ground)
    return source, replace(marked, generation=source.generation)


def _any_generation(source: Source, dirty: DirtySet, word: EndWord) -> tuple[Source, DirtySet, bool]:
    if word.session == source.session:
        return resync_source.confirmed(source, dirty, word)
    return source, _forget_marks(dirty), False


def _early_end(target: Target, word: EndWord) -> Target:
    """Switches when the end arrives, whatever was staged."""
    if target.session != word.session or target.state not in {TargetState.STAGING, TargetState.REDOING}:
        return target
    return replace(target, state=TargetState.SWITCHING, end=word)


def _blind_resume(source: Source, target: Target) -> tuple[Source, Target, EndWord | None]:
    """Goes on with what was not sent yet, as if all that was sent had arrived."""
    going, found, word = resync_target.resume(source, target)
    return (going if word or not going.todo else replace(going, todo=source.todo)), found, word


def _only_copy(room: Room, target: str, others: Mapping[str, bool]) -> Staging | Reason:
    return resync.staging(room, target, dict.fromkeys(others, True))


def _always_in_place(_room: Room, _target: str, _others: Mapping[str, bool]) -> Staging:
    return Staging.IN_PLACE


def _lost_is_clean(raw: bytes | None, generation: int) -> DirtySet:
    found = marks.decode(raw, generation)
    return found if found.is_known else DirtySet(generation)


def _any_incarnation(
    known: Mapping[str, Cursor], told: Iterable[tuple[str, Cursor]], me: str
) -> dict[str, Cursor]:
    stripped = {center: replace(cursor, incarnation="") for center, cursor in known.items()}
    merged = retention.heard(
        stripped, ((center, replace(cursor, incarnation="")) for center, cursor in told), me
    )
    return {
        center: replace(cursor, incarnation=known[center].incarnation) for center, cursor in merged.items()
    }


MUTANTS: dict[str, tuple[str, ResyncRules]] = {
    "no_pin": ("records that a session needs are trimmed", ResyncRules(retain=_no_pin)),
    "trim_first": ("a crash between trimming and marking loses the mark", ResyncRules(retain=_trim_first)),
    "trim_unconverted": ("records above a cursor go without marks", ResyncRules(retain=_unconverted)),
    "stall_for_dead": ("writes wait for a member that is away", ResyncRules(retain=_stalls)),
    "clear_at_start": ("marks are cleared when a session starts", ResyncRules(start=_clear_at_start)),
    "old_marks_only": ("a session forgets the journal above the cursor", ResyncRules(start=_old_marks_only)),
    "clear_at_send": ("marks are cleared when a block was sent", ResyncRules(when_sent=_forget_marks)),
    "no_redo": ("what changed meanwhile is not sent", ResyncRules(sends_redo=False, end=_early_end)),
    "in_place": (
        "blocks are written into the live image",
        ResyncRules(staging=_always_in_place, tells_in_place=False),
    ),
    "clear_unreached": ("any confirmed position clears all marks", ResyncRules(reached=_clear_unreached)),
    "neither_route": (
        "a record is neither sent nor marked while a session runs",
        ResyncRules(mark=_blind_mark),
    ),
    "clear_by_third_party": (
        "marks go because another member says that it has none",
        ResyncRules(told=lambda mine, theirs: _forget_marks(mine) if theirs.is_clean else mine),
    ),
    "gossip_without_position": (
        "'in sync with me' is taken for the teller's own position",
        ResyncRules(tells=lambda cursor, tip: replace(cursor, seq=tip)),
    ),
    "gossip_of_old_store": (
        "cursors of an exchanged store are believed",
        ResyncRules(heard=_any_incarnation),
    ),
    "half_round": ("a new round does not send again what changed", ResyncRules(outgrown=_half_round)),
    "no_multipass_restart": ("a session goes on without the redo it lost", ResyncRules(outgrown=_no_round)),
    "wrong_generation_clear": (
        "a late confirmation clears newer marks",
        ResyncRules(confirmed=_any_generation),
    ),
    "early_end": (
        "the switch does not wait for all blocks and redo",
        ResyncRules(resume=_blind_resume, end=_early_end),
    ),
    "unknown_is_clean": ("lost marks count as none", ResyncRules(decode=_lost_is_clean)),
    "inconsistent_only_copy": (
        "the only other good copy is written in place",
        ResyncRules(staging=_only_copy),
    ),
    "switch_marks_nobody": (
        "a switched stage is not marked for the third center",
        ResyncRules(marks_others=False),
    ),
    "latched": ("a session without progress is never given up", ResyncRules(is_stalled=lambda _s, _n: False)),
}
