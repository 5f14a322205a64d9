"""Whether a center may open a group, and what that would admit to lose.

Everything that decides who may become the owner is here. The argument: a cleanly running in-sync member
holds every acknowledged write. So whoever is such a member, or has received the whole tail of one, opens
without loss, whether or not the others answer. Where every in-sync member restarted uncleanly and all of
them answer, the longest tail among them lacks at most what was never flushed. Anything else may lose
acknowledged writes and is refused unless a person accepts that (F.A 2).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from drsync.core import lineage, safety
from drsync.core.generation import is_begun
from drsync.core.observation import Observation
from drsync.core.safety import Reason
from drsync.model.charter import Charter
from drsync.model.copy import CopyState, Statement
from drsync.model.epoch import NEVER, generation
from drsync.model.position import Loss

USELESS = frozenset((CopyState.BLANK, CopyState.FORKED, CopyState.FAILED))
"""States of copies that are neither sealed nor asked for records."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an opening at the target would mean.

    Attributes:
        loss: what it would admit to lose.
        reasons: why it is refused; empty when it may go on.
        position: last record the target would open at, with all donations.
        donors: members that hold records the target lacks, the longest first.
    """

    loss: Loss
    reasons: tuple[Reason, ...]
    position: int
    donors: tuple[str, ...] = ()


def voices(seen: Observation) -> dict[str, Statement]:
    """The members that count: reached, and with a usable copy. A new group's target counts when blank."""
    return {
        name: word
        for name, word in sorted(seen.statements.items())
        if word.state not in USELESS or (name == seen.target and _is_about_to_begin(seen.charter, word))
    }


def _is_about_to_begin(charter: Charter, word: Statement) -> bool:
    """Whether a blank copy is that of a new group, and not of one that has lost its disk.

    The owner of a first epoch may die after the commit and before anything of that epoch is durable. Its
    copy is blank then, and has promised that epoch: an empty disk that was put in later has promised
    nothing, is not sealed because it is blank, and nobody but itself could make the owner follow.
    """
    if word.state is not CopyState.BLANK:
        return False
    if charter.epoch == NEVER:
        return True
    is_its_own = charter.owner == word.center and charter.in_sync <= {word.center}
    return is_its_own and charter.history[-1].fork_seq == 0 and word.promised >= charter.epoch


def belongs(charter: Charter, word: Statement) -> int:
    """Last record of a member's log that belongs to the charter's history."""
    return lineage.fork_point(charter.history, word)


def judge(seen: Observation) -> Verdict:
    """May the target open, and at what price."""
    heard = voices(seen)
    outranked = _outranked(seen.charter, heard)
    if outranked:
        return Verdict(Loss.FORCED, outranked, 0)
    target = heard.get(seen.target)
    if target is None:
        return Verdict(Loss.FORCED, (_why_no_candidate(seen),), 0)
    useless = _useless(seen.charter, target)
    own = belongs(seen.charter, target)
    if useless:
        return Verdict(Loss.FORCED, useless, own)
    if seen.charter.epoch == NEVER and not is_begun(seen.charter):
        return Verdict(Loss.NONE, (), own)
    donors = _donors(seen.charter, heard, target)
    position = max([own, *(belongs(seen.charter, heard[name]) for name in donors)])
    loss = _loss(seen.charter, heard, target, position)
    is_accepted = loss is not Loss.FORCED or seen.accept_loss
    reasons = () if is_accepted else _why_forced(seen, heard, target, position)
    return Verdict(loss, reasons, position, donors)


def _outranked(charter: Charter, heard: Mapping[str, Statement]) -> tuple[Reason, ...]:
    """A store mints within its generation only: whoever promised a later one listens to a newer store."""
    return tuple(
        safety.outranked(name, word.promised, charter.generation)
        for name, word in heard.items()
        if generation(word.promised) > charter.generation
    )


def _why_no_candidate(seen: Observation) -> Reason:
    if seen.target not in seen.members:
        return safety.unknown_center(seen.target, seen.members)
    word = seen.candidate
    if word is None:
        return safety.not_reached(seen.target, "the target")
    return safety.copy_failed(seen.target, word.state.value)


def _useless(charter: Charter, target: Statement) -> tuple[Reason, ...]:
    """Reasons that no override helps against."""
    if target.follow > charter.epoch:
        return (safety.moved_on(target.center, target.follow, charter.epoch),)
    if target.no_space:
        return (safety.no_space(target.center, target.no_space),)
    own = belongs(charter, target)
    if max(target.applied, target.first_seq - 1) > own:
        return (safety.needs_resync(target.center, max(target.applied, target.first_seq - 1), own),)
    return ()


def _donors(charter: Charter, heard: Mapping[str, Statement], target: Statement) -> tuple[str, ...]:
    """Who holds records of the group's history that continue the target's log."""
    own = belongs(charter, target)
    longer = [
        (-belongs(charter, word), name)
        for name, word in heard.items()
        if belongs(charter, word) > own and word.first_seq <= own + 1 and word.follow <= charter.epoch
    ]
    return tuple(name for _, name in sorted(longer))


def _loss(charter: Charter, heard: Mapping[str, Statement], target: Statement, position: int) -> Loss:
    """What an opening at `position` would admit."""
    if target.amnesic or is_begun(charter):
        return Loss.FORCED
    answered = [heard[name] for name in charter.in_sync if name in heard and not heard[name].amnesic]
    complete = [word for word in answered if belongs(charter, word) <= position]
    if any(not word.unclean for word in complete):
        return Loss.NONE
    if len(complete) == len(charter.in_sync):
        return Loss.VOLATILE
    return Loss.FORCED


def _why_forced(
    seen: Observation, heard: Mapping[str, Statement], target: Statement, position: int
) -> tuple[Reason, ...]:
    charter = seen.charter
    if target.amnesic:
        return (safety.went_back(target.center),)
    if is_begun(charter):
        return (safety.new_generation(charter.generation, tuple(sorted(charter.in_sync))),)
    ahead = [
        safety.left_behind(target.center, name, belongs(charter, heard[name]) - position)
        for name in sorted(charter.in_sync & set(heard))
        if belongs(charter, heard[name]) > position
    ]
    if ahead:
        return tuple(ahead)
    in_sync = tuple(sorted(charter.in_sync))
    if target.center in charter.in_sync:
        silent = tuple(name for name in in_sync if name not in heard or heard[name].amnesic)
        return (safety.unclean_and_silent(target.center, silent),)
    return (safety.not_in_sync(target.center, in_sync, how_far_behind(seen, position)),)


def how_far_behind(seen: Observation, position: int) -> str:
    """In words: what is known about the distance to the owner."""
    last = seen.last_known
    if last is None:
        return f"it stands at {position}, and the owner was not heard of since this coordinator started"
    age = seen.now - last.heard_at
    behind = max(0, last.commit - position)
    return f"it is {behind} records behind what the owner reported {age:.0f} s ago"
