"""Planned change of owner: loses nothing, or does not happen (F.13, F.A 1).

The special part lives here: freeze the owner, let the target drain, seal the target where it stands. From
the seal on it is an opening like any other (`failover.plan`): release the lease, commit, open, finish.
A frozen owner never goes on by itself or by a timer. Giving up means opening it again under a higher
epoch (`abort`).
"""

from dataclasses import replace

from drsync.core import eligibility, failover, file_loss, ownership, safety
from drsync.core.observation import Observation
from drsync.core.plan import Act, Freeze, OpenGroup, Plan, RecordIntent, Refuse, Seal, Wait
from drsync.core.safety import Reason
from drsync.model.charter import IntentKind
from drsync.model.copy import CopyState, Statement
from drsync.model.position import Loss

LAG_MAX_RECORDS = 100_000  # because a link that carries 20,000 records a second drains them in half the pause


def plan(seen: Observation) -> Plan:
    """The next step towards a planned change of owner to `seen.target`."""
    if seen.store_ready:
        return Wait(seen.store_ready)
    if seen.is_open:
        return failover.finish(seen)
    if failover.is_finished(seen):
        return failover.finish(seen)
    if not seen.is_recorded:
        return _begin(seen)
    intent = seen.charter.intent
    assert intent is not None
    if intent.kind is not IntentKind.SWITCHOVER:
        return abort(seen)
    if seen.charter.owner == seen.target:
        return _roll_forward(seen)
    return _before_commit(seen)


def abort(seen: Observation) -> Plan:
    """Give up: the old owner opens again, under a higher epoch. Also the way to go on with an abort."""
    intent = seen.charter.intent
    is_under_way = intent is not None and intent.id == seen.intent_id and intent.kind is IntentKind.OPEN
    target = intent.target if intent is not None and is_under_way else seen.charter.owner
    return failover.plan(replace(seen, kind=IntentKind.OPEN, target=target, accept_loss=False))


def is_drained(owner: Statement, target: Statement) -> bool:
    """Whether the target durably holds all that the frozen owner has, and the owner committed all of it."""
    same = target.follow == owner.follow and target.tip == owner.tip
    return same and target.durable == target.appended == owner.appended == owner.commit


def _begin(seen: Observation) -> Plan:
    if seen.has_begun:
        return Refuse((safety.aborted(seen.target, seen.charter.owner, seen.charter.epoch),))
    reasons = refusals(seen)
    return Refuse(reasons) if reasons else Act((RecordIntent(seen.intent()),))


def refusals(seen: Observation) -> tuple[Reason, ...]:
    """Why the switchover does not even start; nothing has been touched."""
    charter = seen.charter
    if charter.intent is not None:
        other = charter.intent
        return (safety.intent_in_progress(other.kind.value, other.target, other.actor),)
    if seen.target not in seen.members:
        return (safety.unknown_center(seen.target, seen.members),)
    owner, target = seen.statements.get(charter.owner), seen.candidate
    if owner is None or owner.state is not CopyState.OWNER or owner.promised != charter.epoch:
        state = "not reached" if owner is None else owner.state.value
        return (safety.owner_not_serving(charter.owner, state),)
    if target is None:
        return (safety.not_reached(seen.target, "the target"),)
    return _about_target(owner, target) or file_loss.hindrances(seen)


def _about_target(owner: Statement, target: Statement) -> tuple[Reason, ...]:
    if target.state in eligibility.USELESS:
        return (safety.copy_failed(target.center, target.state.value),)
    if target.amnesic:
        return (replace(safety.went_back(target.center), override=""),)
    if target.follow != owner.follow:
        return (safety.not_following(target.center, owner.center),)
    lag = owner.appended - target.appended
    return (safety.too_far_behind(target.center, lag, LAG_MAX_RECORDS),) if lag >= LAG_MAX_RECORDS else ()


def _roll_forward(seen: Observation) -> Plan:
    """The charter was committed: open, or mint once more if the target restarted before it could."""
    word = seen.candidate
    if word is not None and ownership.may_open(seen.charter, word):
        return Act((OpenGroup(seen.target, seen.charter),))
    return failover.plan(replace(seen, kind=IntentKind.OPEN))


def _before_commit(seen: Observation) -> Plan:
    target = seen.candidate
    if target is not None and target.promised > seen.charter.epoch:
        step = failover.plan(seen)
        return abort(seen) if isinstance(step, Refuse) else step
    if _is_overdue(seen):
        return abort(seen)
    owner = seen.statements.get(seen.charter.owner)
    if owner is None or target is None:
        missing = seen.charter.owner if owner is None else seen.target
        return Wait(f"{missing} cannot be reached", _deadline(seen))
    return _freeze_and_drain(seen, owner, target)


def _freeze_and_drain(seen: Observation, owner: Statement, target: Statement) -> Plan:
    if owner.session != seen.charter.owner_session or owner.promised != seen.charter.epoch:
        return abort(seen)
    if owner.state is CopyState.OWNER:
        return Act((Freeze(owner.center),))
    if owner.state is not CopyState.FROZEN:
        return abort(seen)
    if is_drained(owner, target):
        return Act((Seal(seen.target, failover.next_epoch(seen, Loss.NONE)),))
    lag = owner.appended - target.durable
    return Wait(f"{seen.target} drains: {lag} records to go", _deadline(seen))


def _deadline(seen: Observation) -> float | None:
    since = seen.frozen_since
    return None if since is None else since + seen.charter.group.policy.switchover_freeze_s


def _is_overdue(seen: Observation) -> bool:
    deadline = _deadline(seen)
    return deadline is not None and seen.now >= deadline
