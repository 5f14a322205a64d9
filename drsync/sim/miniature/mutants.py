"""Wrong rules, one at a time: what the checkers must catch.

Each mutant replaces one rule of `Rules` by a plausible mistake. Only mistakes live here. A plan is
mutated by what it is shown (a doctored observation) or by what it answers.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate

from typing_extensions import override

from drsync.core import compare as comparison
from drsync.core import failover, lease, lineage, ownership, store_trust, switchover
from drsync.core.compare import ConnectPlan, ExportFork, Identity, OwnerView, Quarantine, Truncate
from drsync.core.eligibility import belongs
from drsync.core.group_log import GroupLog
from drsync.core.lease import LeaseBook
from drsync.core.observation import Observation
from drsync.core.ownership import CasKind, CasView, InSync
from drsync.core.plan import Act, CommitCharter, Plan, Seal
from drsync.core.store_trust import Heard, TokenWord
from drsync.model.charter import Charter
from drsync.model.copy import Statement
from drsync.model.epoch import Epoch
from drsync.model.position import EpochStart, History, Loss, Runs
from drsync.sim.miniature.rules import Rules


@dataclass(frozen=True)
class Mutant:
    """A flaw in one sentence, and the rules that have it."""

    flaw: str
    rules: Rules


Doctor = Callable[[Observation], Observation]


def _shown(doctor: Doctor) -> Rules:
    """The shipped plans, looking at a doctored observation."""
    return Rules(
        plan_opening=lambda seen: failover.plan(doctor(seen)),
        plan_switchover=lambda seen: switchover.plan(doctor(seen)),
    )


def _statements(seen: Observation, change: Callable[[Statement], Statement]) -> Observation:
    return replace(seen, statements={name: change(word) for name, word in seen.statements.items()})


# --- who may open


def _all_clean(seen: Observation) -> Observation:
    return _statements(seen, lambda word: replace(word, unclean=False))


def _everybody_in_sync(seen: Observation) -> Observation:
    """Whoever is asked counts as in sync; the charter that is committed names the target alone anyway."""
    return replace(seen, charter=replace(seen.charter, in_sync=frozenset((seen.target,))))


def _silence_is_consent(seen: Observation) -> Observation:
    """Members of the in-sync set that do not answer are not asked for."""
    reached = seen.charter.in_sync & set(seen.statements)
    return replace(seen, charter=replace(seen.charter, in_sync=reached or seen.charter.in_sync))


def _nobody_has_more(seen: Observation) -> Observation:
    """The others' logs are taken to end where the target's ends."""
    target = seen.candidate
    if target is None:
        return seen
    own = belongs(seen.charter, target)

    def clip(word: Statement) -> Statement:
        longer = word.center != target.center and belongs(seen.charter, word) > own
        return replace(word, runs=target.runs, tip=target.tip) if longer else word

    return _statements(seen, clip)


def _unsealed(plan: Callable[[Observation], Plan]) -> Callable[[Observation], Plan]:
    """Positions are taken as stated, without a promise."""

    def mutated(seen: Observation) -> Plan:
        answer = plan(seen)
        if not isinstance(answer, Act) or not isinstance(answer.commands[0], Seal):
            return answer
        epoch = answer.commands[0].epoch
        return plan(_statements(seen, lambda word: replace(word, promised=epoch)))

    return mutated


def _opens_unpromised(charter: Charter, word: Statement) -> bool:
    return ownership.may_open(charter, replace(word, promised=charter.epoch))


def _switch_unsealed(seen: Observation) -> Plan:
    """The fork of a switchover is the drained position, read without a promise of the target."""
    answer = switchover.plan(seen)
    if not isinstance(answer, Act) or not isinstance(answer.commands[0], Seal):
        return answer
    target, charter = seen.candidate, seen.charter
    if target is None or seen.target in charter.in_sync or answer.commands[0].center != seen.target:
        return answer
    epoch = answer.commands[0].epoch
    start = EpochStart(epoch, seen.uuid, target.appended, target.tip.chain)
    opened = replace(
        charter,
        version=charter.version + 1,
        owner=seen.target,
        owner_session=target.session,
        epoch=epoch,
        in_sync=frozenset((seen.target,)),
        history=lineage.append_start(charter.history, start),
    )
    return Act((CommitCharter(charter.version, opened),))


def _reopens(charter: Charter, word: Statement) -> bool:
    """A restarted owner keeps its epoch."""
    return charter.owner == word.center and word.promised == charter.epoch and not word.amnesic


# --- lineage and forks


def _next_ends(history: History) -> History:
    """The history as it looks to who takes an epoch to end at the next start, not at the lowest later one."""
    forks = accumulate((start.fork_seq for start in history), max)
    return tuple(replace(start, fork_seq=fork) for start, fork in zip(history, forks, strict=True))


def _compare_next(owner: OwnerView, word: Statement, identity: Identity) -> ConnectPlan:
    return comparison.compare(replace(owner, history=_next_ends(owner.history)), word, identity)


def _everything_belongs(_: History, runs: Runs, first_seq: int) -> int:
    return runs[-1].last_seq if runs else first_seq - 1


def _drop(plan: ConnectPlan, kinds: frozenset[Loss], history: History, word: Statement) -> ConnectPlan:
    """R9 becomes R8 where a loss of one of `kinds` was stated."""
    if isinstance(plan, Quarantine):
        then = _drop(plan.then, kinds, history, word)
        assert isinstance(then, Truncate | ExportFork | comparison.Stream | comparison.DirtyResync)
        return replace(plan, then=then)
    if isinstance(plan, ExportFork) and _is_droppable_despite(kinds, history, word, plan.after_seq):
        return Truncate(plan.after_seq, plan.chain, plan.version, plan.then)
    return plan


def _is_droppable_despite(kinds: frozenset[Loss], history: History, word: Statement, fork: int) -> bool:
    """The shipped rule, blind for losses of `kinds`."""
    blind = tuple(replace(start, loss=Loss.NONE) if start.loss in kinds else start for start in history)
    return comparison.is_droppable(blind, word, fork)


def _blind_for(*kinds: Loss) -> Rules:
    chosen = frozenset(kinds)

    def compare(owner: OwnerView, word: Statement, identity: Identity) -> ConnectPlan:
        return _drop(comparison.compare(owner, word, identity), chosen, owner.history, word)

    return Rules(
        compare=compare,
        is_droppable=lambda history, word, fork: _is_droppable_despite(chosen, history, word, fork),
    )


def _forgets_losses(plan: Callable[[Observation], Plan]) -> Callable[[Observation], Plan]:
    """The history keeps no admission but the newest."""

    def mutated(seen: Observation) -> Plan:
        answer = plan(seen)
        if not isinstance(answer, Act) or not isinstance(answer.commands[0], CommitCharter):
            return answer
        command = answer.commands[0]
        history = command.charter.history
        forgotten = (*(replace(start, loss=Loss.NONE) for start in history[:-1]), history[-1])
        return Act((replace(command, charter=replace(command.charter, history=forgotten)),))

    return mutated


def _unnormalised(plan: Callable[[Observation], Plan]) -> Callable[[Observation], Plan]:
    """The history keeps starts above a later one."""

    def mutated(seen: Observation) -> Plan:
        answer = plan(seen)
        if not isinstance(answer, Act) or not isinstance(answer.commands[0], CommitCharter):
            return answer
        command = answer.commands[0]
        history = (*seen.charter.history, command.charter.history[-1])
        return Act((replace(command, charter=replace(command.charter, history=history)),))

    return mutated


# --- acknowledgments


class _AnySession(GroupLog):
    """What an earlier session acknowledged still counts, also when its stream has ended."""

    @override
    def forget(self, center: str) -> None:
        pass

    @override
    def greet(self, center: str, session: str) -> None:
        self.peer(center).session = session

    @override
    def acknowledge(self, center: str, session: str, epoch: Epoch, appended: int, durable: int) -> bool:
        return super().acknowledge(center, self.peer(center).session or session, epoch, appended, durable)


class _FlushAppended(GroupLog):
    """FLUSH is answered from appended positions."""

    @override
    def flush_bound(self) -> int:
        return min(self.commit, self._appended_bound())


def _only_pending(state: InSync) -> InSync:
    """The change is taken as done while its outcome is unknown."""
    return state if state.pending is None else replace(state, charter=state.pending)


def _assume_done(state: InSync, view: CasView) -> InSync:
    if view.kind is CasKind.UNKNOWN and state.pending is not None:
        return replace(state, charter=state.pending, pending=None)
    return ownership.outcome(state, view)


def _acknowledge_before_shrink(state: InSync, member: str) -> tuple[InSync, Charter | None]:
    """The ack set shrinks when the change is asked for."""
    asked, wanted = ownership.shrink(state, member)
    return (asked if wanted is None else replace(asked, charter=wanted)), wanted


def _grow_late(state: InSync, member: str, appended: int, commit: int) -> tuple[InSync, Charter | None]:
    """A member is let in before it has everything."""
    return ownership.grow(state, member, max(appended, commit), commit)


# --- stores, leases, memories


def _no_lease(_: Charter, __: float) -> LeaseBook:
    return LeaseBook()


def _never_regressed(_: Statement, __: store_trust.Remembered) -> bool:
    return False


def _trusting_token(stated: int, known: int) -> TokenWord:
    """The store does not notice members that went back."""
    word = store_trust.check_token(stated, known)
    return TokenWord.REPEAT if word is TokenWord.MEMBER_WENT_BACK else word


def _no_stale_token(stated: int, known: int) -> TokenWord:
    """Members do not notice a store that went back."""
    word = store_trust.check_token(stated, known)
    return TokenWord.NEXT if word is TokenWord.STORE_WENT_BACK else word


def _always_ready(_: str, __: str, ___: dict[str, Heard], ____: tuple[str, ...], _____: Heard) -> str:
    return ""


def _ready_unheard(
    db_mark: str, _: str, heard: dict[str, Heard], members: tuple[str, ...], own: Heard
) -> str:
    """A started store acts before the members spoke, but does listen to those that did."""
    return store_trust.ready(db_mark, db_mark, heard, members, own)


def _one_is_enough(owner: str, _: tuple[str, ...], yes: tuple[str, ...], __: frozenset[str]) -> bool:
    return bool(set(yes) - {owner})


def _mates_are_enough(owner: str, mates: tuple[str, ...], yes: tuple[str, ...], _: frozenset[str]) -> bool:
    return lease.may_go_on_without_store(owner, mates, yes)


def _era_only(seen: tuple[Epoch, ...], _: int) -> Epoch:
    return lineage.mint_forced(seen)


MUTANTS: dict[str, Mutant] = {
    "thaw_by_timer": Mutant("a frozen owner goes on by itself", Rules(may_thaw=lambda: True)),
    "switch_without_seal": Mutant(
        "the target of a switchover is drained but not sealed",
        Rules(plan_switchover=_switch_unsealed, may_open=_opens_unpromised),
    ),
    "reopen_same_epoch": Mutant("a restarted owner keeps its epoch", Rules(may_open=_reopens)),
    "promote_unclean_silently": Mutant("an uncleanly restarted member counts as clean", _shown(_all_clean)),
    "volatile_while_silent": Mutant(
        "all who answer restarted uncleanly, and who is silent is not waited for", _shown(_silence_is_consent)
    ),
    "no_in_sync_check": Mutant("whoever is named counts as in sync", _shown(_everybody_in_sync)),
    "no_donation": Mutant("opening without the tails of others", _shown(_nobody_has_more)),
    "no_seal": Mutant(
        "positions are read without a promise",
        Rules(
            plan_opening=_unsealed(failover.plan),
            plan_switchover=_unsealed(switchover.plan),
            may_prepare=lambda _promised, _epoch, follow, planned_on: follow <= planned_on,
            may_open=_opens_unpromised,
        ),
    ),
    "failsafe_alone": Mutant(
        "failsafe mode without company",
        Rules(may_go_on_without_store=lambda _owner, _mates, _yes, _in_sync: True),
    ),
    "failsafe_any_company": Mutant(
        "failsafe mode without the same-city member", Rules(may_go_on_without_store=_one_is_enough)
    ),
    "failsafe_mates_only": Mutant(
        "failsafe mode without a remote member of the in-sync set",
        Rules(may_go_on_without_store=_mates_are_enough),
    ),
    "bind_forgotten": Mutant(
        "a failsafe confirmation is lost with the process", Rules(keeps_confirmation=lambda: False)
    ),
    "bind_ignored": Mutant(
        "a failsafe confirmation does not keep from sealing",
        Rules(may_seal=lambda promised, epoch, _until, _bound, _now: epoch >= promised),
    ),
    "restored_confirms": Mutant(
        "a restored member may confirm failsafe mode",
        Rules(may_confirm=lambda word, epoch, _is_checked: word.promised <= epoch),
    ),
    "unchecked_confirms": Mutant(
        "a member may confirm failsafe mode before the store has compared its token",
        Rules(may_confirm=lambda word, epoch, _: lease.may_confirm(word, epoch, is_checked=True)),
    ),
    "promised_confirms": Mutant(
        "a member that promised more may confirm failsafe mode",
        Rules(
            may_confirm=lambda word, epoch, is_checked: lease.may_confirm(
                replace(word, promised=min(word.promised, epoch)), epoch, is_checked=is_checked
            )
        ),
    ),
    "truncate_after_forced": Mutant("R8 even where a loss was stated", _blind_for(*Loss)),
    "r8_after_volatile": Mutant("R8 after a stated volatile loss", _blind_for(Loss.VOLATILE)),
    "loss_forgotten": Mutant(
        "the history keeps only the newest admission",
        Rules(plan_opening=_forgets_losses(failover.plan), plan_switchover=_forgets_losses(switchover.plan)),
    ),
    "history_next": Mutant(
        "an epoch ends at the next start",
        Rules(
            belongs=lambda history, runs, first_seq: lineage.belongs(_next_ends(history), runs, first_seq),
            compare=_compare_next,
            plan_opening=_unnormalised(failover.plan),
            plan_switchover=_unnormalised(switchover.plan),
        ),
    ),
    "no_truncation": Mutant("a candidate keeps what does not belong", Rules(belongs=_everything_belongs)),
    "stale_plan_cuts": Mutant(
        "a plan with an old charter may cut a log",
        Rules(
            may_cut=lambda _version, _epoch, _known, _promised, _follow: True,
            may_prepare=lambda _promised, _epoch, _follow, _planned_on: True,
        ),
    ),
    "apply_beyond_durable": Mutant(
        "the image runs ahead of the own durable journal", Rules(apply_bound=lambda commit, _durable: commit)
    ),
    "apply_early": Mutant(
        "the image takes what is not committed", Rules(apply_bound=lambda _commit, durable: durable)
    ),
    "commit_before_append": Mutant(
        "received counts as appended", Rules(acknowledged=lambda _appended, received: received)
    ),
    "flush_appended": Mutant("FLUSH answered from appended", Rules(group_log=_FlushAppended)),
    "ack_old_session": Mutant(
        "acknowledgments from before an unclean restart still count", Rules(group_log=_AnySession)
    ),
    "ack_before_shrink": Mutant(
        "acknowledged without a member before the charter says so", Rules(shrink=_acknowledge_before_shrink)
    ),
    "grow_late": Mutant("a member is let in before it has everything", Rules(grow=_grow_late)),
    "unknown_cas_assumed": Mutant(
        "an unknown outcome is taken as done", Rules(asked=_only_pending, outcome=_assume_done)
    ),
    "promise_ignored": Mutant(
        "records below the promise are accepted", Rules(accepts=lambda _promised, _epoch: True)
    ),
    "lease_forgotten": Mutant("a starting store knows no leases", Rules(lease_started=_no_lease)),
    "store_start_trusted": Mutant("a started store acts at once", Rules(store_ready=_ready_unheard)),
    "old_store_accepted": Mutant(
        "a store older than what members saw is used",
        Rules(store_ready=_always_ready, check_token=_no_stale_token),
    ),
    "era_plus_one": Mutant("a new store generation raises the era only", Rules(mint_generation=_era_only)),
    "amnesia_trusted": Mutant(
        "restored snapshots are not noticed", Rules(regressed=_never_regressed, check_token=_trusting_token)
    ),
    "memory_members_only": Mutant(
        "only members, not the store, notice restored snapshots", Rules(check_token=_trusting_token)
    ),
}
"""Every wrong rule by its name."""
