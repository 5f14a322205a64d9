"""The in-sync set while compare-and-sets are under way, and what a member may promise and open.

Everything that decides whose acknowledgment a commit waits for is here. The one rule: from the moment a
change is asked for until its outcome is known, the owner obeys the stricter of both charters (P10).
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from drsync.model.charter import Charter
from drsync.model.copy import Statement
from drsync.model.epoch import Epoch
from drsync.model.group import Mode


class CasKind(StrEnum):
    """What became of a compare-and-set."""

    DONE = "done"
    LOST = "lost"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class CasView:
    """The outcome as the owner heard it, and the charter now in force if the store told it."""

    kind: CasKind
    current: Charter | None = None


@dataclass(frozen=True, slots=True)
class InSync:
    """The owner's knowledge of its charter.

    Attributes:
        charter: the newest charter known to be in force.
        pending: a change of it that was asked for and whose outcome is not known.
        is_deposed: the charter names another epoch or owner; acknowledge nothing any more.
    """

    charter: Charter
    pending: Charter | None = None
    is_deposed: bool = False

    @property
    def ack_set(self) -> frozenset[str]:
        """The centers a commit waits for."""
        pending = frozenset[str]() if self.pending is None else self.pending.in_sync
        return self.charter.in_sync | pending


def begin(charter: Charter) -> InSync:
    """The owner has opened under `charter`."""
    return InSync(charter)


def shrink(state: InSync, member: str) -> tuple[InSync, Charter | None]:
    """Stop waiting for a silent member: the charter first. The second value is the change to ask for.

    Without effect when the mode forbids it, when the member is not in sync, or when another change is
    still under way. Until the outcome is known the member stays in the ack set.
    """
    charter = state.charter
    may_shrink = (
        charter.group.policy.mode is Mode.SYNC and member in charter.in_sync and member != charter.owner
    )
    if not may_shrink or not _is_idle(state):
        return state, None
    return _ask(state, charter.in_sync - {member})


def grow(state: InSync, member: str, member_appended: int, commit: int) -> tuple[InSync, Charter | None]:
    """Let a member in that has everything committed. From the returned state on, commits wait for it.

    Only same-city members of a synchronous group, not while a procedure is in progress. The order is the
    safety: wait for it first, then ask the store.
    """
    charter = state.charter
    if charter.group.policy.mode is Mode.ASYNC or member not in charter.group.mates(charter.owner):
        return state, None
    if (
        member in charter.in_sync
        or member_appended < commit
        or charter.intent is not None
        or not _is_idle(state)
    ):
        return state, None
    return _ask(state, charter.in_sync | {member})


def _is_idle(state: InSync) -> bool:
    return state.pending is None and not state.is_deposed


def _ask(state: InSync, in_sync: frozenset[str]) -> tuple[InSync, Charter]:
    wanted = replace(state.charter, version=state.charter.version + 1, in_sync=in_sync)
    return replace(state, pending=wanted), wanted


def outcome(state: InSync, view: CasView) -> InSync:
    """The store answered the pending change, or did not.

    LOST alone settles nothing while the charter in force still has the expected version: an earlier
    attempt of the same change may be on its way and still land.
    """
    if view.kind is CasKind.DONE and state.pending is not None:
        return replace(state, charter=state.pending, pending=None)
    return state if view.current is None else learned(state, view.current)


def learned(state: InSync, charter: Charter) -> InSync:
    """A charter was read. A newer version settles whatever was pending; an older one says nothing.

    A newer store generation deposes even the owner it names: it has to be opened in it.
    """
    known = state.charter
    if (charter.generation, charter.version) <= (known.generation, known.version):
        return state
    same = (charter.generation, charter.epoch, charter.owner) == (known.generation, known.epoch, known.owner)
    return replace(state, charter=charter, pending=None, is_deposed=state.is_deposed or not same)


def accepts(promised: Epoch, epoch: Epoch) -> bool:
    """Whether a member takes records of `epoch`: never below what it promised (INV-03)."""
    return epoch >= promised


def may_seal(promised: Epoch, epoch: Epoch, bound_until: float, bound_epoch: Epoch, now: float) -> bool:
    """Whether a member may promise `epoch`: never below a promise or against a confirmation.

    `bound_until` and `bound_epoch` are of the last failsafe confirmation given (F.A 24), 0 when none was.
    """
    if epoch < promised:
        return False
    return now >= bound_until or epoch <= bound_epoch


def may_prepare(promised: Epoch, epoch: Epoch, follow: Epoch) -> bool:
    """Whether a candidate may cut and complete its log for `epoch`: under its promise, before it opened.

    Whoever follows the epoch may have acknowledged records of it: a late request must not cut them.
    """
    return promised == epoch and follow < epoch


def may_open(charter: Charter, statement: Statement) -> bool:
    """Whether the charter grants this very process the right to open its epoch.

    It must name the center and the session, and the promise must be exactly this epoch. An epoch is
    opened at most once: a copy that already follows it needs a new one (F.A 2). A copy that went back in
    time opens only where a person accepted its loss.
    """
    if (charter.owner, charter.owner_session) != (statement.center, statement.session):
        return False
    if statement.promised != charter.epoch or statement.follow >= charter.epoch:
        return False
    return charter.is_forced or not statement.amnesic
