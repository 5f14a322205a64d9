"""When a group's application is made quiet for a checkpoint, by what, and what that came to (decision 27).

Everything that decides it is here. Times are seconds unless a name says ``_us``; labels are the points' own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from drsync.model.consistency import Consistency, OnFailure, QuietStep, StepKind

US: Final = 1_000_000
AGAIN_S: Final = 60.0  # because what failed may be mended by then, and a pause each second would be an outage


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done, in this order: `before`, then `freezes`; then the record; then thawing, then `after`."""

    before: tuple[QuietStep, ...]
    freezes: tuple[str, ...]
    after: tuple[QuietStep, ...]


def plan(policy: Consistency) -> Plan:
    """Hooks before, file systems last: what writes must be able to write, and they are frozen briefly."""
    kinds = StepKind.FSFREEZE
    return Plan(
        tuple(step for step in policy.before if step.kind is not kinds),
        tuple(dict.fromkeys(step.name for step in policy.before if step.kind is kinds)),
        tuple(step for step in policy.after if step.kind is not kinds),
    )


@dataclass(frozen=True, slots=True)
class Thawed:
    """How a freeze ended. `held`: it lasted until the thaw was asked for. `ms`: so long was it frozen."""

    mount: str
    held: bool
    ms: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was seen of one quiet moment.

    Attributes:
        failed: steps that did not succeed, with the reason.
        ended: why it was ended from outside; empty: it was not.
        is_recorded: the checkpoint was appended while everything was said to be quiet.
        is_kept: the guard heard of that in time, so that nothing had been let go on before.
        thawed: of every file system that was frozen.
        has_reached: when file systems were frozen, something was written to or flushed through the volumes.
        is_same_term: the term that wrote the checkpoint still runs, and takes writes.
    """

    failed: tuple[str, ...] = ()
    ended: str = ""
    is_recorded: bool = False
    is_kept: bool = False
    thawed: tuple[Thawed, ...] = ()
    has_reached: bool = True
    is_same_term: bool = True


def verdict(asked: Plan, seen: Evidence) -> str:
    """Why the checkpoint is not application-consistent; empty: it is."""
    return next(_doubts(asked, seen), "")


def _doubts(asked: Plan, seen: Evidence) -> Iterator[str]:
    """The most telling first."""
    if seen.ended:
        yield seen.ended
    if seen.failed:
        yield "; ".join(seen.failed)
    if not seen.is_recorded:
        yield "it was not quiet when the checkpoint was to be written"
    yield from _about_freezes(asked, seen)
    if not seen.is_kept:
        yield "the application went on before the checkpoint was known to be written"
    if not seen.is_same_term:
        yield "the group changed hands meanwhile"


def _about_freezes(asked: Plan, seen: Evidence) -> Iterator[str]:
    for one in seen.thawed:
        if not one.held:
            yield f"{one.mount} did not stay frozen: {one.why}"
    held = {one.mount for one in seen.thawed if one.held}
    for mount in asked.freezes:
        if mount not in held:
            yield f"nobody said that {mount} stayed frozen"
    if asked.freezes and not seen.has_reached:
        mounts = ", ".join(asked.freezes)
        yield f"nothing came through the group's volumes when {mounts} was frozen: is it on one of them?"


def is_written(policy: Consistency, failed: tuple[str, ...]) -> bool:
    """Whether a checkpoint is written after its steps before failed; True as well when they succeeded."""
    return not failed or policy.on_failure is OnFailure.CRASH_CONSISTENT


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner at the moment.

    Attributes:
        is_serving: it has its lease and takes writes.
        has_intent: a procedure has the group in hand.
        is_running: hooks of the group run.
        newest_us: label of the newest application-consistent point; 0: none is known.
        since_us: label of when it began to own the group.
        tried_s: how long ago it was tried last by this process; None: never.
    """

    is_serving: bool
    has_intent: bool = False
    is_running: bool = False
    newest_us: int = 0
    since_us: int = 0
    tried_s: float | None = None


def is_due(policy: Consistency, owner: Owner, now_us: int) -> bool:
    """Whether the owner makes such a checkpoint now, by itself."""
    if not policy.every_s or not policy.before:
        return False
    if not owner.is_serving or owner.has_intent or owner.is_running:
        return False
    soon_s = min(policy.every_s, AGAIN_S)
    if owner.tried_s is not None and owner.tried_s < soon_s:
        return False
    if not owner.newest_us:  # it may lie in what is no longer held here: no pause right after a move
        return now_us - owner.since_us >= soon_s * US
    return now_us - owner.newest_us >= policy.every_s * US


def is_late(policy: Consistency, newest_us: int, since_us: int, now_us: int) -> bool:
    """Whether the newest such point is older than the group wants; `since_us`: before the first one."""
    limit_s = policy.late_after_s
    return bool(policy.before and limit_s) and now_us - max(newest_us, since_us) > limit_s * US
