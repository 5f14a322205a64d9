"""A new generation of the charter store: begun by a person when the store is lost, old or cannot be proven.

Only what it begins with and why it is refused is decided here (F.A 4, 22, 23). The first charter of a
generation is the newest one that anybody reachable remembers, with nobody in office: the former owner's lease
is not prolonged, and what was in sync is hearsay. From there the usual failover opens the group
(`core.failover`), and states a loss, since the lost store may have known better.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from drsync.core import lineage, safety
from drsync.core.safety import Reason
from drsync.model import epoch as epochs
from drsync.model.charter import Charter, Intent
from drsync.model.copy import Statement
from drsync.model.errors import RefusedError


@dataclass(frozen=True, slots=True)
class Memory:
    """What a member that was reached remembers.

    Attributes:
        charter: the newest it has seen.
        statement: its word.
        bound_s: for how long its confirmation to an owner without the store still binds it; 0: none does.
    """

    charter: Charter
    statement: Statement
    bound_s: float = 0.0


def newest(charters: Collection[Charter]) -> Charter:
    """The one that outranks the others. There is at least one."""
    return max(charters, key=rank)


def require_current(seen: Charter | None, offered: int, center: str) -> None:
    """Whatever comes from a store of an older generation than `center` has seen is refused (F.A 4).

    Raises:
        RefusedError: it does.
    """
    known = seen.generation if seen is not None else 0
    if offered < known:
        raise RefusedError(
            f"{center} has seen store generation {known}; this comes from the older generation {offered}",
            code="old_generation",
            remedy="stop the coordinator with the older store",
        )


def rank(charter: Charter) -> tuple[int, int]:
    """What charters of one group are compared by: an older store's count of versions says nothing."""
    return charter.generation, charter.version


def is_begun(charter: Charter) -> bool:
    """Whether the store's generation is newer than the last opening: nobody has opened in it yet."""
    return charter.generation > epochs.generation(charter.epoch)


def objections(memories: Mapping[str, Memory], store_ready: str) -> tuple[Reason, ...]:
    """Why no generation may be begun now; empty when it may.

    Args:
        memories: of the members that were reached.
        store_ready: empty when the store may act as it is.
    """
    if not store_ready:
        return (safety.store_usable(),)
    if not memories:
        return (safety.nobody_remembers(),)
    owner = newest([memory.charter for memory in memories.values()]).owner
    if owner in memories:
        return ()  # it is sealed first, and answers nothing from then on
    bound = {name: memory.bound_s for name, memory in memories.items() if memory.bound_s > 0}
    return tuple(safety.still_bound(name, owner, seconds) for name, seconds in sorted(bound.items()))


def first_charter(memories: Mapping[str, Memory], own: Charter | None, intent: Intent) -> Charter:
    """What the new generation begins with: a version above all that is remembered, and the intent to open.

    Nobody holds the office: no session matches, so that no lease is granted and no in-sync set changed until
    the group is opened in this generation.
    """
    known = [memory.charter for memory in memories.values()] + ([own] if own is not None else [])
    base = newest(known)
    version = max(charter.version for charter in known)
    seen = [memory.statement.promised for memory in memories.values()]
    seen += [memory.statement.follow for memory in memories.values()]
    seen += [charter.epoch for charter in known]
    number = epochs.generation(lineage.mint_generation(seen, base.generation))
    return replace(
        base,
        version=version + 1,
        generation=number,
        owner_session="",
        intent=replace(intent, from_version=version),
    )
