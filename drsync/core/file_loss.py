"""What a failover would give up of the trees, and when that is too much to go on without a person's word.

Files follow their owner by generations and no write waits for them, so a failover may lose the newest
changes even at a center that is in sync. That alone is no reason to refuse: it is stated. A lag above the
group's RPO target, or one that nobody knows, needs acceptance (F.A 10).
"""

from dataclasses import dataclass

from drsync.core import safety
from drsync.core.observation import Observation, TreeKnown
from drsync.core.safety import Reason
from drsync.model.charter import IntentKind
from drsync.model.fileset import FileSetSpec, FileSetWord


@dataclass(frozen=True, slots=True)
class FileLoss:
    """What opening at the target gives up of one tree.

    Attributes:
        fileset: its name.
        held: number of the generation that is at the target.
        known: number of the newest generation anybody has heard of; >= held.
        seconds: changes that are older than so many seconds before the owner was lost are there; None when
            nobody knows.
        pending: entries that the target knows to be changed and does not have.
        pending_names: some of them.
        hold: why the target's tree stands still; empty when it does not.
    """

    fileset: str
    held: int
    known: int
    seconds: float | None
    pending: int = 0
    pending_names: tuple[str, ...] = ()
    hold: str = ""


def files_lost(seen: Observation) -> tuple[FileLoss, ...]:
    """One statement for each tree of the group; none when the target is the owner, whose tree it is."""
    if seen.target == seen.charter.owner or not seen.charter.owner:
        return ()
    return tuple(_lost(seen, one) for one in seen.charter.group.filesets)


def objections(seen: Observation) -> tuple[Reason, ...]:
    """Why a failover needs a person who accepts what its trees lose."""
    if seen.kind is not IntentKind.FAILOVER or seen.accept_loss:
        return ()
    target_s = seen.charter.group.objectives.rpo_s
    reasons = []
    for lost in files_lost(seen):
        if lost.seconds is None:
            reasons.append(safety.files_unknown(seen.target, lost.fileset))
        elif lost.seconds > target_s:
            reasons.append(safety.files_behind(seen.target, lost.fileset, lost.seconds, target_s))
    return tuple(reasons)


def hindrances(seen: Observation) -> tuple[Reason, ...]:
    """Why a planned change is not even begun: a tree stands still, or would make it wait for long."""
    centers = (seen.charter.owner, seen.target)
    filesets = seen.charter.group.filesets
    held = tuple(
        safety.files_held(center, one.name, hold)
        for center in centers
        for one in filesets
        if (hold := _word(seen, center, one).hold)
    )
    target_s = seen.charter.group.objectives.rpo_s
    behind = tuple(
        safety.files_late(seen.target, lost.fileset, lost.seconds, target_s)
        for lost in files_lost(seen)
        if lost.seconds is not None and lost.seconds > target_s
    )
    return held or behind


def _lost(seen: Observation, fileset: FileSetSpec) -> FileLoss:
    word = _word(seen, seen.target, fileset)
    tree = _tree(seen, fileset)
    heard = [_newest(_word(seen, name, fileset)) for name in _followers(seen)]
    known = max([word.held.number, tree.generation if tree is not None else 0, *heard])
    return FileLoss(
        fileset.name,
        word.held.number,
        known,
        _seconds(seen, tree, has_all=word.held.number == known),
        word.pending,
        word.pending_names,
        word.hold,
    )


def _seconds(seen: Observation, tree: TreeKnown | None, *, has_all: bool) -> float | None:
    """Age of the oldest change that may be missing, at the moment the owner could no longer cut a generation.

    It cuts none without its lease, so its silence counts up to the length of one lease. What was edited there
    afterwards is not lost: it is set aside when that center returns.
    """
    last = seen.last_known
    if last is None or tree is None or tree.looked_s is None:
        return None
    lag_s = 0.0 if has_all else dict(tree.lags_s).get(seen.target)
    if lag_s is None:
        return None
    silent_s = min(max(0.0, seen.now - last.heard_at), seen.charter.group.policy.lease_s)
    return lag_s + tree.looked_s + silent_s


def _followers(seen: Observation) -> list[str]:
    """Who follows the charter's epoch: the others may know of generations that the group gave up."""
    return [name for name, word in seen.statements.items() if word.follow == seen.charter.epoch]


def _word(seen: Observation, center: str, fileset: FileSetSpec) -> FileSetWord:
    said = seen.statements.get(center)
    words = said.files if said is not None else ()
    return next((word for word in words if word.fileset == fileset.id), FileSetWord(fileset.id))


def _newest(word: FileSetWord) -> int:
    return max(word.held.number, word.known.number)


def _tree(seen: Observation, fileset: FileSetSpec) -> TreeKnown | None:
    trees = seen.last_known.trees if seen.last_known is not None else ()
    return next((tree for tree in trees if tree.fileset == fileset.name), None)
