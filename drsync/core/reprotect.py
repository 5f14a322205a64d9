"""What is left to do after a change of owner until the group is protected as its policy says.

Pure, level-triggered: computed afresh from the charter and the members' last words, so it needs no memory of
what was begun. Who rejoins first: the owner's mates, since without one an owner's loss costs writes; then the
others. Each member has one step, the first row that fits:

===============================================  ========  =====================================
the member                                       step      who does it
===============================================  ========  =====================================
was not heard                                    START     a person
its copy is failed                               REPAIR    a person
its copy is a fork of the group                  RESOLVE   a person
nothing brings it level: no journal, no blocks   REBUILD   a person
does not follow the owner's epoch                ATTACH    by itself
is a mate in a synchronous group, not in sync    JOIN      by itself, when it has caught up
anything else                                    NONE
===============================================  ========  =====================================
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from drsync.core import star
from drsync.core.star import Means, Resyncable
from drsync.model.charter import Charter
from drsync.model.copy import CopyState, Statement
from drsync.model.group import Mode


class Rejoin(StrEnum):
    """What a member needs next."""

    START = "start"
    REPAIR = "repair"
    RESOLVE = "resolve"
    REBUILD = "rebuild"
    ATTACH = "attach"
    JOIN = "join"
    NONE = "none"


BY_A_PERSON = frozenset((Rejoin.START, Rejoin.REPAIR, Rejoin.RESOLVE, Rejoin.REBUILD))
WORDS = {
    Rejoin.START: "start its agent, or mend the line to it",
    Rejoin.REPAIR: "repair its disk; see the log of its agent",
    Rejoin.RESOLVE: "decide about its fork",
    Rejoin.REBUILD: "make its copy anew: neither the owner's journal nor its blocks bring it level",
    Rejoin.ATTACH: "it connects to the owner by itself",
    Rejoin.JOIN: "it joins by itself when it has caught up",
    Rejoin.NONE: "nothing",
}


@dataclass(frozen=True, slots=True)
class Task:
    """What one member needs.

    Attributes:
        center: the member.
        step: what.
        lacks: records it lacks of the owner's, as far as is known.
        is_for_a_person: whether somebody has to act.
    """

    center: str
    step: Rejoin
    lacks: int = 0

    @property
    def is_for_a_person(self) -> bool:
        """Whether somebody has to act."""
        return self.step in BY_A_PERSON


def plan(
    charter: Charter,
    words: Mapping[str, Statement],
    heard: frozenset[str],
    means: Mapping[str, Means] | None = None,
) -> tuple[Task, ...]:
    """What is left to do, in order; empty when the group is protected.

    Args:
        charter: in force.
        words: last statements, of whatever age.
        heard: the members that were heard just now.
        means: what the owner has beside its journal to bring each member level.
    """
    if not charter.owner:
        return ()
    mates = charter.group.mates(charter.owner)
    others = [member.name for member in charter.group.members if member.name != charter.owner]
    known = means or {}
    tasks = [_task(charter, name, words, heard, known.get(name, Means())) for name in others]
    left = [task for task in tasks if task.step is not Rejoin.NONE]
    return tuple(sorted(left, key=lambda task: (task.center not in mates, task.lacks, task.center)))


def _task(
    charter: Charter, name: str, words: Mapping[str, Statement], heard: frozenset[str], means: Means
) -> Task:
    word, owner = words.get(name), words.get(charter.owner)
    if name not in heard or word is None:
        return Task(name, Rejoin.START)
    if word.state is CopyState.FAILED:
        return Task(name, Rejoin.REPAIR)
    if word.state is CopyState.FORKED:
        return Task(name, Rejoin.RESOLVE)
    # The better direction: a member's word may be newer than the owner's, and then it seems to be ahead.
    way = star.pair(charter, owner, word, (means, Means())).best
    if owner is not None and way.how is Resyncable.IMPOSSIBLE:
        return Task(name, Rejoin.REBUILD, way.lacks)
    if word.follow != charter.epoch:
        return Task(name, Rejoin.ATTACH, way.lacks)
    must_join = charter.group.policy.mode is not Mode.ASYNC and name in charter.group.mates(charter.owner)
    if must_join and name not in charter.in_sync:
        return Task(name, Rejoin.JOIN, way.lacks)
    return Task(name, Rejoin.NONE)
