"""Opening a group at a center: the first opening, a restart, the end of a switchover, a failover (F.13).

Level-triggered: every round looks at the observation alone and names the next commands, so it does not
matter which coordinator did the earlier ones or where it died::

    record the intent -> seal everybody reachable -> cut, complete and sync the candidate
        -> wait for the lease -> commit the charter -> open -> finish the intent

Before the commit nothing is lost by stopping: promises stay, and the next opening mints a higher epoch.
"""

from dataclasses import replace

from drsync.core import eligibility, file_loss, lineage, ownership, safety
from drsync.core.eligibility import Verdict
from drsync.core.loss import known_lost
from drsync.core.observation import Observation
from drsync.core.plan import (
    Act,
    CommitCharter,
    Done,
    FinishIntent,
    OpenGroup,
    Plan,
    Prepare,
    RecordIntent,
    Refuse,
    Release,
    Seal,
    VoidIntent,
    Wait,
)
from drsync.model import epoch as epochs
from drsync.model.charter import Charter, IntentKind
from drsync.model.copy import Statement
from drsync.model.epoch import Epoch
from drsync.model.group import Mode
from drsync.model.position import EpochStart, Loss


def plan(seen: Observation) -> Plan:
    """The next step towards `seen.target` owning the group. Never opens with an unaccepted loss."""
    if seen.store_ready:
        return Wait(seen.store_ready)
    if seen.is_open:
        return finish(seen)
    if is_finished(seen):
        return Done(f"{seen.target} owns the group in epoch {epochs.show(seen.charter.epoch)}")
    if seen.has_begun and not seen.is_recorded:
        return Refuse((safety.aborted(seen.target, seen.charter.owner, seen.charter.epoch),))
    word = seen.candidate
    if word is not None and seen.is_recorded and ownership.may_open(seen.charter, word):
        return Act((OpenGroup(seen.target, seen.charter),))
    verdict = eligibility.judge(seen)
    if seen.is_recorded and word is None:
        return Wait(f"{seen.target} cannot be reached")
    if verdict.reasons:
        return Refuse(verdict.reasons)
    return _go_on(seen, verdict) if _is_intended(seen) else _record(seen)


def is_finished(seen: Observation) -> bool:
    """Whether the charter shows that this change of owner was completed, even if the target is silent now.

    An intent is only taken out of a charter that names its target after the target has opened; a change
    that is given up leaves the former owner. A failover to the owner itself that was given up leaves it as
    well, but in the epoch it had. A reopening at the same owner cannot be told apart this way.
    """
    is_done = seen.has_begun and seen.charter.intent is None and seen.charter.owner == seen.target
    has_new_epoch = seen.charter.epoch > seen.begun_epoch
    return is_done and has_new_epoch and seen.kind is not IntentKind.OPEN


def finish(seen: Observation) -> Plan:
    """The target serves: take the intent out of the charter."""
    if not seen.is_recorded:
        return Done(f"{seen.target} owns the group in epoch {epochs.show(seen.charter.epoch)}")
    return Act((FinishIntent(seen.charter.version, without_intent(seen.charter)),))


def give_up(seen: Observation) -> Plan:
    """Take the intent back. Safe at any step: promises stay, nobody thaws, the next opening is higher."""
    if not seen.is_recorded:
        return Done("there is no intent to take back")
    return Act((VoidIntent(seen.charter.version, without_intent(seen.charter)),))


def without_intent(charter: Charter) -> Charter:
    """The next version of the charter, with no procedure in progress."""
    return replace(charter, version=charter.version + 1, intent=None)


def next_epoch(seen: Observation, loss: Loss) -> Epoch:
    """The epoch to seal with: a promise nobody used yet if there is one, else a new one above all.

    A promise above the charter's epoch was never opened, since the charter's epoch only rises: so a
    coordinator that takes over goes on with the seals of the one that died.
    """
    used = max(seen.charter.epoch, epochs.make(seen.charter.generation, 0, 0))
    top = max([used, *(word.promised for word in seen.statements.values())])
    if loss is Loss.FORCED:
        return top if top >> epochs.TERM_BITS > used >> epochs.TERM_BITS else lineage.mint_forced((top,))
    return top if top > used else lineage.mint((top,))


def _is_intended(seen: Observation) -> bool:
    """Whether the charter bears exactly this request."""
    intent = seen.charter.intent
    if intent is None or intent.id != seen.intent_id:
        return False
    return (intent.kind, intent.target, intent.accept_loss) == (seen.kind, seen.target, seen.accept_loss)


def _record(seen: Observation) -> Plan:
    """Say in the charter what will be done. Only a failover takes over from a smaller procedure."""
    other = seen.charter.intent
    if other is not None and other.id != seen.intent_id:
        is_above = seen.kind is IntentKind.FAILOVER and other.kind is not IntentKind.FAILOVER
        if not is_above:
            return Refuse((safety.intent_in_progress(other.kind.value, other.target, other.actor),))
    too_old = file_loss.objections(seen)  # judged once: what a person was told is not taken back halfway
    if too_old:
        return Refuse(too_old)
    return Act((RecordIntent(seen.intent()),))


def _go_on(seen: Observation, verdict: Verdict) -> Plan:
    epoch = next_epoch(seen, verdict.loss)
    heard = eligibility.voices(seen)
    unsealed = [name for name, word in heard.items() if word.promised != epoch]
    if unsealed:
        # The target and the in-sync set first: where one of them refuses, nobody else was disturbed.
        near = {seen.target, *seen.charter.in_sync}
        return Act(tuple(Seal(name, epoch) for name in sorted(unsealed, key=lambda name: name not in near)))
    target = heard[seen.target]
    if not _is_prepared(seen, target, verdict):
        return Act((Prepare(seen.target, epoch, seen.charter.history, verdict.donors),))
    return _commit(seen, target, epoch, verdict)


def _is_prepared(seen: Observation, target: Statement, verdict: Verdict) -> bool:
    """Nothing foreign in its log, nothing missing that somebody reachable could give, all of it durable."""
    own = eligibility.belongs(seen.charter, target)
    return not verdict.donors and own == target.appended == target.durable


def _in_sync(seen: Observation) -> frozenset[str]:
    """Whom the first writes wait for: the target alone; a strict group also waits for who was in sync.

    Only a failover, which a person asked for, lets a strict group go on without them.
    """
    is_strict = seen.charter.group.policy.mode is Mode.SYNC_STRICT
    if is_strict and seen.kind is not IntentKind.FAILOVER:
        return seen.charter.in_sync | {seen.target}
    return frozenset((seen.target,))


def _commit(seen: Observation, target: Statement, epoch: Epoch, verdict: Verdict) -> Plan:
    lost = known_lost(seen, target.appended) if verdict.loss is Loss.FORCED else 0
    start = EpochStart(epoch, seen.uuid, target.appended, target.tip.chain, verdict.loss, lost)
    charter = replace(
        seen.charter,
        version=seen.charter.version + 1,
        owner=seen.target,
        owner_session=target.session,
        epoch=epoch,
        in_sync=_in_sync(seen),
        history=lineage.append_start(seen.charter.history, start),
    )
    if seen.lease.may_change_owner(seen.charter, charter, seen.now):
        return Act((CommitCharter(seen.charter.version, charter),))
    holder = seen.lease.holder
    word = seen.statements.get(holder)
    if word is not None and word.promised >= epoch:
        # It answered after its promise: whatever it was, it answers nothing in the old epoch any more.
        return Act((Release(holder, epoch),))
    return Wait(f"{holder} holds its lease", seen.lease.until)
