"""Comparing two copies when they connect: which of the rules R1 to R9 applies, and what follows (F.4).

The owner holds its own view and the member's statement; everything that decides whether a member's log is
streamed to, cut, kept aside or refused is here. Exactly one plan fits any pair. A plan that cuts carries
the charter version it was computed from, because plans age (`may_cut`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from drsync.core import lineage
from drsync.model.copy import CopyState, Statement
from drsync.model.epoch import NEVER, Epoch
from drsync.model.position import NO_CHAIN, History, Position


@dataclass(frozen=True, slots=True)
class OwnerView:
    """What the owner knows when a member connects.

    Attributes:
        cluster, group: identities.
        history: of the charter the owner opened.
        epoch: the owner's epoch.
        tip: its last appended record.
        commit: its commit position.
        first_seq: first record its journal still holds.
        version: charter version this view was taken from.
        chain_at_fork: the owner's chain at `fork_point(history, statement)`; None when its journal has no
            batch end there.
        incarnations: center -> incarnation it last met; an absent center is met for the first time.
    """

    cluster: str
    group: str
    history: History
    epoch: Epoch
    tip: Position
    commit: int
    first_seq: int
    version: int
    chain_at_fork: bytes | None = None
    incarnations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a member says about itself beside its statement: where it belongs and the history it follows."""

    cluster: str
    group: str
    history: History = ()


@dataclass(frozen=True, slots=True)
class RefuseUnrelated:
    """R1: the copies are of different groups or clusters."""

    ours: str
    theirs: str


@dataclass(frozen=True, slots=True)
class StepDown:
    """R0: the member promised a higher epoch; whoever calls itself owner here is none any more."""

    promised: Epoch


@dataclass(frozen=True, slots=True)
class Seed:
    """R2: the member has nothing. A journal that reaches back to record 1 builds the whole copy."""

    is_streamable: bool


@dataclass(frozen=True, slots=True)
class FreezeBoth:
    """R4: one epoch number was opened twice, or one epoch continued differently: evidence, touch nothing."""

    epoch: Epoch
    reason: str


@dataclass(frozen=True, slots=True)
class Corrupt:
    """R5: the copies should be equal at `seq` and are not: compare digests, raise an alarm."""

    seq: int


@dataclass(frozen=True, slots=True)
class Stream:
    """R6: send the records after `from_seq`."""

    from_seq: int


@dataclass(frozen=True, slots=True)
class DirtyResync:
    """R7: the journal no longer reaches back to `from_seq`; send the blocks changed since."""

    from_seq: int


Follow = Stream | DirtyResync
"""How a member that is a prefix of the owner catches up."""


@dataclass(frozen=True, slots=True)
class Truncate:
    """R8: nothing after `to` was ever committed: drop it, then catch up.

    `chain` is the chain that must stand at `to`; the member checks it before it cuts. None: not known.
    """

    to: int
    chain: bytes | None
    version: int
    then: Follow


@dataclass(frozen=True, slots=True)
class ExportFork:
    """R9: what follows `after_seq` may have been acknowledged: keep it aside as a fork, cut, then catch up.

    `is_image_intact`: nothing after the fork was applied, so cutting the log is all the image needs.
    Otherwise the blocks of the exported records are resent with those the owner changed.
    """

    after_seq: int
    chain: bytes | None
    version: int
    is_image_intact: bool
    then: Follow


Caught = Stream | DirtyResync | Truncate | ExportFork


@dataclass(frozen=True, slots=True)
class Quarantine:
    """R3: the member is not who it was (new store, or gone back in time): no votes until it caught up."""

    reason: str
    then: Caught


ConnectPlan = RefuseUnrelated | StepDown | Seed | FreezeBoth | Corrupt | Quarantine | Caught


def fork_point(history: History, statement: Statement) -> int:
    """Last record of the member's log that belongs to `history`; ask the journal for the chain there."""
    return lineage.fork_point(history, statement)


def compare(owner: OwnerView, statement: Statement, identity: Identity) -> ConnectPlan:
    """The one plan for this pair. Complete: every pair has exactly one."""
    ours, theirs = f"{owner.cluster}/{owner.group}", f"{identity.cluster}/{identity.group}"
    if ours != theirs:
        return RefuseUnrelated(ours, theirs)
    if statement.promised > owner.epoch:
        return StepDown(statement.promised)
    if is_blank(statement):
        return Seed(is_streamable=owner.first_seq == 1)
    fork = fork_point(owner.history, statement)
    wrong = _contradiction(owner, statement, identity, fork)
    if wrong is not None:
        return wrong
    plan = _catch_up(owner, statement, fork)
    reason = _why_quarantine(owner, statement)
    return Quarantine(reason, plan) if reason else plan


def is_blank(statement: Statement) -> bool:
    """Whether there is nothing to compare: never written, or an empty log that was never trimmed."""
    return statement.state is CopyState.BLANK or (not statement.runs and statement.first_seq == 1)


def is_droppable(history: History, statement: Statement, fork: int) -> bool:
    """R8 rather than R9: nothing after `fork` can have been acknowledged.

    A record beyond the fork was never committed unless an opening after its epoch admitted a loss (forced
    or volatile); what the member applied or heard committed is never dropped either (F.A 5 and 21).
    """
    if max(statement.applied, statement.commit) > fork:
        return False
    first_cut = next((run.epoch for run in statement.runs if run.last_seq > fork), NEVER)
    return not lineage.is_loss_stated_after(history, first_cut)


def may_cut(version: int, epoch: Epoch, known_version: int, promised: Epoch, follow: Epoch) -> bool:
    """Whether a member may still carry out a cut planned on charter `version` for `epoch` (F.A 21)."""
    return version >= known_version and epoch >= promised and epoch >= follow


def _contradiction(
    owner: OwnerView, statement: Statement, identity: Identity, fork: int
) -> FreezeBoth | Corrupt | None:
    """R4 and R5: what no correct run produces."""
    twice = _opened_twice(owner.history, identity.history)
    if twice is not None:
        return FreezeBoth(twice, "the epoch was opened twice, with different identities")
    if fork > owner.tip.seq:
        return FreezeBoth(
            owner.epoch, f"the member holds records up to {fork}, the owner only to {owner.tip.seq}"
        )
    if fork < owner.first_seq - 1:
        return None
    stated = _chain_at(statement, fork)
    if owner.chain_at_fork is None or (stated is not None and stated != owner.chain_at_fork):
        return Corrupt(fork)
    return None


def _opened_twice(ours: History, theirs: History) -> Epoch | None:
    known = {start.epoch: start.uuid for start in ours}
    return next((start.epoch for start in theirs if known.get(start.epoch, start.uuid) != start.uuid), None)


def _chain_at(statement: Statement, seq: int) -> bytes | None:
    """The member's chain at `seq` as far as the statement tells; None inside a run."""
    if seq == 0:
        return NO_CHAIN
    if seq == statement.tip.seq:
        return statement.tip.chain
    return next((run.last_chain for run in statement.runs if run.last_seq == seq), None)


def _catch_up(owner: OwnerView, statement: Statement, fork: int) -> Caught:
    """R6 to R9."""
    is_held = owner.first_seq <= fork + 1
    follow: Follow = Stream(fork) if is_held else DirtyResync(fork)
    if statement.appended <= fork:
        return follow
    if is_droppable(owner.history, statement, fork):
        return Truncate(fork, owner.chain_at_fork, owner.version, follow)
    is_intact = statement.applied <= fork
    return ExportFork(
        fork, owner.chain_at_fork, owner.version, is_intact, follow if is_intact else DirtyResync(fork)
    )


def _why_quarantine(owner: OwnerView, statement: Statement) -> str:
    known = owner.incarnations.get(statement.center, statement.incarnation)
    if known != statement.incarnation:
        return f"{statement.center} has another store than before"
    return f"{statement.center} has gone back in time" if statement.amnesic else ""
