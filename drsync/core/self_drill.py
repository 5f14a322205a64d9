"""Which recovery point a center proves next, or why none (decision 24).

Everything that decides it is here. Times are seconds unless a name says ``_us``; labels are the points' own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from drsync.model.copy import CopyState
from drsync.model.point_proof import Outcome
from drsync.model.self_drill import Check, SelfDrill

US: Final = 1_000_000
NAMED_MAX: Final = 8  # because hooks and drills may name a point every minute
BACKFILL_S: Final = 3600.0  # because one proved point an hour is what a restore of last week asks for
LAG_FLOOR_S: Final = 10.0  # because clocks of centers differ, and heartbeats come each second
OBSTACLE_WAIT_S: Final = 5.0  # because what stands in the way is gone within seconds or hours
SLOT_MIN_S: Final = 60.0  # because who keeps no window wants no check each second
SETTLE_S: Final = 120.0  # because a center that just started has others to catch up with


@dataclass(frozen=True, slots=True)
class Candidate:
    """A point that can be opened here.

    Attributes:
        seq: its record, a batch end of the log.
        time_us: its label.
        name: given by a person, or empty.
        is_app_consistent: its hook succeeded in time.
    """

    seq: int
    time_us: int
    name: str = ""
    is_app_consistent: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """How the copy is at the moment.

    Attributes:
        state: of the copy.
        is_owner: a term of ownership runs here.
        is_busy: a request of a procedure is under way.
        resync: what a resync does here, in words; empty without one.
        no_space: what is refused for want of space; empty: nothing.
        is_journal_full: it is above its soft quota.
        lag_s: by how much a stream that is attached is behind; None: none is attached, or nobody knows.
        rpo_s: the target of the group.
        bytes: stored in the volumes, so that many are read by a hash.
    """

    state: CopyState
    is_owner: bool = False
    is_busy: bool = False
    resync: str = ""
    no_space: str = ""
    is_journal_full: bool = False
    lag_s: float | None = None
    rpo_s: float = 15.0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Prove:
    """Open this point and check it."""

    point: Candidate


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing now. `seconds`: ask again then. `why`: for people."""

    seconds: float
    why: str


def obstacle(facts: Facts) -> str:
    """What keeps a copy from being checked now, and ends a check that runs; empty: nothing does."""
    if facts.is_owner:
        return "it owns the group: its images follow the log, and its points are gone within seconds"
    if facts.resync:
        return f"a resync: {facts.resync}"
    if facts.state is not CopyState.REPLICA:
        return f"the copy is {facts.state.value}"
    if facts.no_space:
        return facts.no_space
    if facts.is_journal_full:
        return "the journal is above its soft quota"
    if facts.lag_s is not None and facts.lag_s > max(facts.rpo_s, LAG_FLOOR_S):
        return f"the copy is {facts.lag_s:.0f} s behind and catches up first"
    return ""


def rest_s(policy: SelfDrill, took_s: float) -> float:
    """For how long nothing is checked after a check, so that the share of time is kept."""
    return took_s * (1 / policy.share - 1)


def slot_s(policy: SelfDrill, window_s: float) -> float:
    """One point of each stretch of so many seconds is due: of a short window one that can still be opened."""
    return min(policy.every_s, max(window_s / 2, SLOT_MIN_S))


def start_s(policy: SelfDrill) -> float:
    """For how long nothing is checked after the start of the process."""
    return min(policy.every_s, SETTLE_S)


def too_much(policy: SelfDrill, facts: Facts) -> str:
    """Why a check by reading cannot be done within its time; empty when it can."""
    if policy.check is not Check.HASH or facts.bytes <= policy.rate * policy.max_time_s:
        return ""
    needs_s = facts.bytes / policy.rate
    return (
        f"reading {facts.bytes / 2**30:.0f} GiB at {policy.rate / 2**20:.0f} MiB/s takes {needs_s:.0f} s, "
        f"more than max_time ({policy.max_time_s:.0f} s)"
    )


def choose(
    policy: SelfDrill,
    points: Sequence[Candidate],
    tried: Mapping[int, Outcome],
    facts: Facts,
    *,
    now_us: int,
    rests_s: float = 0.0,
    window_s: float = 600.0,
) -> Prove | Wait:
    """The next point, or why not.

    Args:
        policy: of the group.
        points: oldest first.
        tried: what is known of points of this log, by record.
        facts: of the copy.
        now_us: wall clock.
        rests_s: for so long the budget of time is used up.
        window_s: for so long points can be opened.
    """
    if policy.check is Check.NONE:
        return Wait(policy.every_s, "the group's policy says none")
    if why := obstacle(facts):
        return Wait(OBSTACLE_WAIT_S, why)
    if facts.is_busy:
        return Wait(OBSTACLE_WAIT_S, "a procedure is under way")
    if why := too_much(policy, facts):
        return Wait(policy.every_s, why)
    if rests_s > 0:
        return Wait(rests_s, f"its share of time ({policy.share:.0%}) is used up")
    if not points:
        return Wait(OBSTACLE_WAIT_S, "there is no point yet")
    every_us = _us(slot_s(policy, window_s))
    found = _next(points, tried, every_us)
    if found is not None:
        return Prove(found)
    left_us = every_us - now_us % every_us
    return Wait(max(left_us / US, 1.0), "every point that is due was checked")


def _next(points: Sequence[Candidate], tried: Mapping[int, Outcome], every_us: int) -> Candidate | None:
    return (
        _named(points, tried)
        or _of_newest_slot(points, tried, every_us)
        or _edge(points, tried)
        or _of_old_slots(points, tried, max(every_us, _us(BACKFILL_S)))
    )


def _us(seconds: float) -> int:
    return max(1, round(seconds * US))


def _named(points: Sequence[Candidate], tried: Mapping[int, Outcome]) -> Candidate | None:
    named = [point for point in points if point.name][-NAMED_MAX:]
    return next((point for point in reversed(named) if point.seq not in tried), None)


def _of_newest_slot(
    points: Sequence[Candidate], tried: Mapping[int, Outcome], every_us: int
) -> Candidate | None:
    slot = points[-1].time_us // every_us
    inside = [point for point in points if point.time_us // every_us == slot]
    if any(point.seq in tried for point in inside):
        return None
    for point in inside:
        if point.is_app_consistent:
            return point
    # Without one before it nobody knows which was the first: others chose it when they could see it.
    return inside[0] if len(inside) < len(points) else points[-1]


def _edge(points: Sequence[Candidate], tried: Mapping[int, Outcome]) -> Candidate | None:
    """Between the newest proved point and the oldest failed one above it: where did it go wrong?"""
    proved = max((at for at, p in enumerate(points) if tried.get(p.seq) is Outcome.PROVED), default=-1)
    failed = next(
        (at for at, p in enumerate(points) if at > proved and tried.get(p.seq) is Outcome.FAILED), None
    )
    if failed is None:
        return None
    between = [point for point in points[proved + 1 : failed] if point.seq not in tried]
    return between[len(between) // 2] if between else None


def _of_old_slots(
    points: Sequence[Candidate], tried: Mapping[int, Outcome], slot_us: int
) -> Candidate | None:
    newest = points[-1].time_us // slot_us
    slots: dict[int, list[Candidate]] = {}
    for point in points:
        slots.setdefault(point.time_us // slot_us, []).append(point)
    for slot in sorted(slots, reverse=True):
        if slot < newest and not any(point.seq in tried for point in slots[slot]):
            return slots[slot][-1]
    return None


def is_late(policy: SelfDrill, newest_at_us: int, began_us: int, now_us: int) -> bool:
    """Whether the newest proof is older than the group wants; before the first, since it was waited for."""
    if not policy.max_age_s or policy.check is Check.NONE:
        return False
    return now_us - max(newest_at_us, began_us) > policy.max_age_s * US
