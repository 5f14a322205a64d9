"""The rules of the world, as values: the shipped decisions, each replaceable by a wrong one.

Only names live here. Whatever the world decides, it decides by calling one of these; a mutant is a `Rules`
with one field replaced, so what the checkers catch is exactly that rule's absence.
"""

from collections.abc import Callable
from dataclasses import dataclass

from drsync.core import compare as comparison
from drsync.core import failover, lease, lineage, ownership, store_trust, switchover
from drsync.core.compare import ConnectPlan, Identity, OwnerView
from drsync.core.group_log import GroupLog
from drsync.core.group_log import apply_bound as shipped_apply_bound
from drsync.core.lease import LeaseBook
from drsync.core.observation import Observation
from drsync.core.ownership import CasView, InSync
from drsync.core.plan import Plan
from drsync.core.store_trust import Heard, Remembered, TokenWord
from drsync.model.charter import Charter
from drsync.model.copy import Statement
from drsync.model.epoch import Epoch
from drsync.model.position import History, Runs


def never() -> bool:
    """A rule that never applies."""
    return False


def may_prepare(promised: Epoch, epoch: Epoch, follow: Epoch, planned_on: Epoch) -> bool:
    """A candidate prepares only under its promise, and never towards an older history than it follows."""
    return promised == epoch and follow <= planned_on


@dataclass(frozen=True)
class Rules:
    """What the world asks. The defaults are the shipped functions."""

    belongs: Callable[[History, Runs, int], int] = lineage.belongs
    mint_generation: Callable[[tuple[Epoch, ...], int], Epoch] = lineage.mint_generation
    compare: Callable[[OwnerView, Statement, Identity], ConnectPlan] = comparison.compare
    is_droppable: Callable[[History, Statement, int], bool] = comparison.is_droppable
    may_cut: Callable[[int, Epoch, int, Epoch, Epoch], bool] = comparison.may_cut
    may_prepare: Callable[[Epoch, Epoch, Epoch, Epoch], bool] = may_prepare
    group_log: type[GroupLog] = GroupLog
    apply_bound: Callable[[int, int], int] = shipped_apply_bound
    acknowledged: Callable[[int, int], int] = lambda appended, _received: appended
    shrink: Callable[[InSync, str], tuple[InSync, Charter | None]] = ownership.shrink
    grow: Callable[[InSync, str, int, int], tuple[InSync, Charter | None]] = ownership.grow
    asked: Callable[[InSync], InSync] = lambda state: state
    outcome: Callable[[InSync, CasView], InSync] = ownership.outcome
    learned: Callable[[InSync, Charter], InSync] = ownership.learned
    accepts: Callable[[Epoch, Epoch], bool] = ownership.accepts
    may_seal: Callable[[Epoch, Epoch, float, Epoch, float], bool] = ownership.may_seal
    may_open: Callable[[Charter, Statement], bool] = ownership.may_open
    lease_started: Callable[[Charter, float], LeaseBook] = LeaseBook.started
    may_go_on_without_store: Callable[[str, tuple[str, ...], tuple[str, ...], frozenset[str]], bool] = (
        lease.may_go_on_without_store
    )
    may_confirm: Callable[[Statement, Epoch, bool], bool] = lambda word, epoch, is_checked: lease.may_confirm(
        word, epoch, is_checked=is_checked
    )
    keeps_confirmation: Callable[[], bool] = lambda: True
    store_ready: Callable[[str, str, dict[str, Heard], tuple[str, ...], Heard], str] = store_trust.ready
    regressed: Callable[[Statement, Remembered], bool] = store_trust.regressed
    check_token: Callable[[int, int], TokenWord] = store_trust.check_token
    may_thaw: Callable[[], bool] = never
    plan_opening: Callable[[Observation], Plan] = failover.plan
    plan_switchover: Callable[[Observation], Plan] = switchover.plan
