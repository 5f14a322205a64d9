"""Whether an owner is lost, and whether the coordinator may then act by itself (F.14).

Pure; time and what was heard are arguments. Slow is not dead: an owner that is heard and serves, however
badly, is never deposed. An owner is suspected when the coordinator has not heard it for `detect_s`, and that
is confirmed only by another member that has not heard it either. An owner that says itself that it cannot
serve needs no witness.

====================  =========================  ==========  =============================================
the coordinator sees  the other members          state       what follows
====================  =========================  ==========  =============================================
it serves             whatever they say          HEALTHY     nothing
it is slow            whatever they say          GRAY        an alarm, never a change of owner
it has returned       whatever they say          RETURNED    it is opened again where it is
silence               nobody else has lost it    SUSPECTED   wait: it may be the coordinator's own line
silence               one in sync lets it go on  SUSPECTED   wait: it serves without the store (F.A 3)
silence               another one has lost it    CONFIRMED   fail over; by the bars wait, or ask a person
it cannot serve       whatever they say          CONFIRMED   as above
====================  =========================  ==========  =============================================

A `Bar` is the first thing that keeps a confirmed loss from being acted on. Three are for a person (the
policy, the mode, nobody who may take over); the others pass by themselves. `TABLE` is this page for machines.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from drsync.core.lease import LeaseBook
from drsync.core.link import LinkState, judge, late_after_s
from drsync.core.observation import Observation
from drsync.model.group import Failover, GroupPolicy, Mode

FRESH_S = 3.0  # because heartbeats come each second and two may be late; an older word proves nothing now
REOPEN_S = 60.0  # because an opening may index a long journal for half of that, and is tried again


class Sight(StrEnum):
    """How the owner looks to the coordinator."""

    SERVES = "serves"
    SLOW = "slow"  # heard and open, but late, slow, or holding writes
    RETURNED = "returned"  # heard, and does not serve yet: another process, or an opening under way
    UNABLE = "unable"  # heard, and its copy is of no use by its own word, or it did not open in REOPEN_S
    SILENT = "silent"  # not heard for the policy's detect_s


class Others(StrEnum):
    """What the other members say; only words of this moment count."""

    ALONE = "alone"  # nobody else has lost the owner
    LOST = "lost"  # at least one other member has, for detect_s
    BOUND = "bound"  # an in-sync member has confirmed to the owner that it may go on without the store


class Bar(StrEnum):
    """What keeps a loss from being acted on; the first that applies, in this order."""

    MANUAL = "manual"  # the policy leaves it to a person
    MODE = "mode"  # nobody is in sync by this mode, or nobody may go on without the owner
    NOBODY = "nobody"  # no clean in-sync member of the owner's site can take over
    BUSY = "busy"  # a procedure is under way
    STORE = "store"  # the charter store may not act yet
    LEASE = "lease"  # the owner may still answer
    FLAPPING = "flapping"  # the last automatic change of owner is too recent
    TRIED = "tried"  # it was tried a moment ago and did not work
    NONE = "none"


class State(StrEnum):
    """What is held of the owner."""

    HEALTHY = "healthy"
    GRAY = "gray"
    RETURNED = "returned"
    SUSPECTED = "suspected"
    CONFIRMED = "confirmed"


class Action(StrEnum):
    """What follows."""

    NONE = "none"
    REOPEN = "reopen"
    WAIT = "wait"
    PERSON = "person"
    FAIL_OVER = "fail_over"


class Row(NamedTuple):
    """One row of the table: what it is about, and what follows."""

    sights: frozenset[Sight]
    others: frozenset[Others]
    bars: frozenset[Bar]
    state: State
    action: Action


ANYBODY, ANY_BAR = frozenset(Others), frozenset(Bar)
FOR_A_PERSON = frozenset((Bar.MANUAL, Bar.MODE, Bar.NOBODY))
PASSING = frozenset((Bar.BUSY, Bar.STORE, Bar.LEASE, Bar.FLAPPING, Bar.TRIED))
FREE = frozenset((Bar.NONE,))
SILENT, UNABLE, LOST = frozenset((Sight.SILENT,)), frozenset((Sight.UNABLE,)), frozenset((Others.LOST,))
DOUBTFUL = frozenset((Others.ALONE, Others.BOUND))

TABLE = (
    Row(frozenset((Sight.SERVES,)), ANYBODY, ANY_BAR, State.HEALTHY, Action.NONE),
    Row(frozenset((Sight.SLOW,)), ANYBODY, ANY_BAR, State.GRAY, Action.NONE),
    Row(frozenset((Sight.RETURNED,)), ANYBODY, ANY_BAR, State.RETURNED, Action.REOPEN),
    Row(SILENT, DOUBTFUL, ANY_BAR, State.SUSPECTED, Action.WAIT),
    Row(SILENT, LOST, FREE, State.CONFIRMED, Action.FAIL_OVER),
    Row(SILENT, LOST, PASSING, State.CONFIRMED, Action.WAIT),
    Row(SILENT, LOST, FOR_A_PERSON, State.CONFIRMED, Action.PERSON),
    Row(UNABLE, ANYBODY, FREE, State.CONFIRMED, Action.FAIL_OVER),
    Row(UNABLE, ANYBODY, PASSING, State.CONFIRMED, Action.WAIT),
    Row(UNABLE, ANYBODY, FOR_A_PERSON, State.CONFIRMED, Action.PERSON),
)


def row(sight: Sight, others: Others, bar: Bar) -> Row:
    """The one row for this case."""
    (found,) = (one for one in TABLE if sight in one.sights and others in one.others and bar in one.bars)
    return found


# --- what is seen


@dataclass(frozen=True, slots=True)
class OwnerSeen:
    """The owner, as the coordinator sees it.

    Attributes:
        silent_s: for how long its agent was not heard.
        is_open: it serves as the charter says, by its last word.
        is_broken: its copy is failed, by its last word.
        unopened_s: for how long it is heard and could be opened, and does not serve.
        trouble: why it counts as slow although it serves; empty when it does not.
    """

    silent_s: float
    is_open: bool = True
    is_broken: bool = False
    unopened_s: float = 0.0
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class MemberSeen:
    """Another member.

    Attributes:
        center: its name.
        age_s: age of its last word.
        owner_silent_s: for how long it had not heard the owner then; None: it does not say.
        bound_s: for how long its confirmation to an owner bound it then.
        is_in_sync: whether the charter has it in the in-sync set.
    """

    center: str
    age_s: float
    owner_silent_s: float | None = None
    bound_s: float = 0.0
    is_in_sync: bool = False


def sight(owner: OwnerSeen, policy: GroupPolicy) -> Sight:
    """How the owner looks."""
    link = judge(owner.silent_s, late_after_s(policy.lease_s), policy.detect_s)
    if link is LinkState.LOST:
        return Sight.SILENT
    if owner.is_broken or (not owner.is_open and owner.unopened_s >= REOPEN_S):
        return Sight.UNABLE
    if not owner.is_open:
        return Sight.RETURNED
    return Sight.SLOW if link is LinkState.LATE or owner.trouble else Sight.SERVES


def witnesses(members: Iterable[MemberSeen], policy: GroupPolicy) -> tuple[Others, tuple[str, ...]]:
    """What the others say, and who says it."""
    fresh = [one for one in members if one.age_s < FRESH_S]
    bound = tuple(one.center for one in fresh if one.is_in_sync and one.bound_s > one.age_s)
    if bound:
        return Others.BOUND, bound
    lost = tuple(
        one.center
        for one in fresh
        if one.owner_silent_s is not None and one.owner_silent_s >= policy.detect_s
    )
    return (Others.LOST, lost) if lost else (Others.ALONE, ())


# --- what keeps it from being acted on


@dataclass(frozen=True, slots=True)
class Standing:
    """What else decides whether a loss is acted on.

    Attributes:
        lease: the store's lease book of the group.
        store_ready: empty, or why the store may not act yet.
        busy: the procedure under way; empty when there is none.
        target, nobody: who would take over, or why nobody would (`succession`).
        changed_at: when the owner was last changed without a person; None: not within memory.
        retry_at: not before this instant, because the last try failed.
    """

    lease: LeaseBook
    store_ready: str = ""
    busy: str = ""
    target: str = ""
    nobody: str = ""
    changed_at: float | None = None
    retry_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Hindrance:
    """A bar, in words, and until when if that is known."""

    bar: Bar
    reason: str = ""
    until: float | None = None


def hindrance(policy: GroupPolicy, owner: str, standing: Standing, now: float) -> Hindrance:
    """The first thing that keeps a loss from being acted on."""
    return next(one for one in _hindrances(policy, owner, standing, now) if one is not None)


def _hindrances(
    policy: GroupPolicy, owner: str, standing: Standing, now: float
) -> Sequence[Hindrance | None]:
    lease, quiet_until = standing.lease, (standing.changed_at or 0.0) + policy.anti_flap_s
    is_quiet = standing.changed_at is not None and now < quiet_until
    may_answer = lease.holder == owner and now < lease.until
    return (
        None if policy.failover is Failover.AUTOMATIC else Hindrance(Bar.MANUAL, "a person decides (policy)"),
        None if policy.mode is Mode.SYNC else Hindrance(Bar.MODE, f"a person decides (mode {policy.mode})"),
        None if standing.target else Hindrance(Bar.NOBODY, f"nobody can take over: {standing.nobody}"),
        Hindrance(Bar.BUSY, f"{standing.busy} is under way") if standing.busy else None,
        Hindrance(Bar.STORE, standing.store_ready) if standing.store_ready else None,
        Hindrance(Bar.LEASE, f"{owner} may still answer", lease.until) if may_answer else None,
        Hindrance(Bar.FLAPPING, "the last automatic change is too recent", quiet_until) if is_quiet else None,
        Hindrance(Bar.TRIED, "the last try failed", standing.retry_at) if now < standing.retry_at else None,
        Hindrance(Bar.NONE),
    )


# --- the verdict


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is held of an owner, and what follows.

    Attributes:
        state, action: by the table.
        sight, others, bar: the row it was found in.
        reason: one sentence on the owner.
        hindrance: what keeps it from being acted on, in words; empty when nothing does.
        by: the members that bear witness, beside the coordinator.
        since: when the owner was last heard, seconds of the coordinator's clock.
        target: who would take over; empty: nobody.
        until: when the hindrance passes, if that is known.
    """

    state: State
    action: Action
    sight: Sight
    others: Others
    bar: Bar
    reason: str
    hindrance: str
    by: tuple[str, ...]
    since: float
    target: str
    until: float | None = None


def detect(seen: Observation, owner: OwnerSeen, members: Iterable[MemberSeen], standing: Standing) -> Verdict:
    """The verdict on the owner of the charter in `seen` at `seen.now`."""
    charter = seen.charter
    policy, name = charter.group.policy, charter.owner
    looks = sight(owner, policy)
    others, by = witnesses(members, policy)
    hinders = hindrance(policy, name, standing, seen.now)
    found = row(looks, others, hinders.bar)
    return Verdict(
        found.state,
        found.action,
        looks,
        others,
        hinders.bar,
        _sentence(name, owner, looks, others, by),
        hinders.reason,
        by,
        seen.now - owner.silent_s,
        standing.target,
        hinders.until,
    )


def _sentence(name: str, owner: OwnerSeen, looks: Sight, others: Others, by: tuple[str, ...]) -> str:
    silent = f"{name} was not heard for {owner.silent_s:.1f} s"
    match looks:
        case Sight.SERVES:
            return f"{name} serves"
        case Sight.SLOW:
            return f"{name} is slow: {owner.trouble or silent}"
        case Sight.RETURNED:
            return f"{name} is there and is opened again"
        case Sight.UNABLE:
            return f"{name} is there and cannot serve" + (": its copy is failed" if owner.is_broken else "")
        case Sight.SILENT if others is Others.BOUND:
            return f"{silent}; it goes on without the coordinator, with {', '.join(by)}"
        case Sight.SILENT if others is Others.LOST:
            return f"{silent}, nor by {', '.join(by)}"
        case _:
            return f"{silent}; no other member says so"
