"""A person on duty in a mended world: does what the manual says must be done by a person, nothing else.

What drsync has to do by itself it must do by itself: whoever helps it there hides that it does not
(docs/failure-walk.md says under each heading who decides). Each help has its reason from there.
"""

from typing import TYPE_CHECKING

from drsync.model.copy import CopyState, Statement
from drsync.model.group import Mode
from drsync.model.operation import OperationState

if TYPE_CHECKING:
    from drsync.model.charter import Charter
    from drsync.sim.coordinator import Order
    from drsync.sim.world import World

OLD_STORE = "this charter store is an old copy"
WAITING_STORE = "the charter store has just started and waits"


class Person:
    """Of one world.

    Attributes:
        helped: how often, by the reason from the manual.
    """

    def __init__(self, world: "World") -> None:
        self._world = world
        self._orders: dict[str, Order] = {}  # center -> the last failover to it that was to lose nothing
        self._attempts = 0
        self.helped: dict[str, int] = {}

    def look(self, why: str) -> None:
        """It has not mended so far, because of `why`: help, if the manual leaves it to a person."""
        world, charter = self._world, self._world.charter
        failed = [name for name in world.left if self.has_failed(name)]
        serving = [export.center for export in world.application.exports if not export.is_over]
        store = self._store_trouble(charter)
        if store and (serving or charter is None or not self._owner_trouble(charter)):
            target = serving[0] if serving else self._ranked()[0]
            self._help(f"the store is lost: {store}", why)
            world.order("failover", target, accept_loss=True)
            return
        if charter is None:
            return
        trouble = self._owner_trouble(charter)
        if serving:
            if failed:
                self._replace(failed[0], why)
            elif trouble and charter.group.policy.mode is Mode.SYNC_STRICT:
                self._move(serving[0], trouble, why)
        elif trouble:
            others = [name for name in self._ranked() if name not in failed]
            if others:
                self._attempts += 1
                self._move(others[self._attempts % len(others)], trouble, why)
        elif failed:
            self._replace(failed[0], why)

    # --- what the manual leaves to a person

    def _store_trouble(self, charter: "Charter | None") -> str:
        """Why the store is of no use and nobody but a person may go on without it; empty when it is."""
        world = self._world
        groups = world.coordinator.status().get("groups")
        if not isinstance(groups, dict):
            return ""  # nobody answers, which passes
        if charter is None:
            return "it does not know the group"
        found = groups.get(charter.group.name)
        words = str(found["waiting"]) if found is not None else ""
        is_of_use = not words.startswith((OLD_STORE, WAITING_STORE) if world.gone else OLD_STORE)
        return "" if is_of_use else words

    def _owner_trouble(self, charter: "Charter") -> str:
        """Why the owner cannot go on by itself, as the manual tells of it; empty when it can."""
        world = self._world
        owner = charter.owner or charter.group.preferred_owner
        if world.gone:
            return f"{', '.join(sorted(world.gone))} is lost for good"
        if self.has_failed(owner):
            return f"the disk of the owner {owner} failed"
        words = [member.statement() for member in world.agents[owner].members()]
        if not words and world.agents[owner].is_alive:
            return f"the owner {owner} has no copy"
        if words and words[0].state is CopyState.BLANK and charter.owner:
            return f"the owner {owner} has a new disk"
        if words and words[0].amnesic:
            return f"the owner {owner} went back in time"
        empty = [
            name for name in sorted(charter.in_sync) if name != owner and self._has_lost_what_it_had(name)
        ]
        if words and words[0].unclean and empty:
            return f"the owner {owner} restarted uncleanly, and {', '.join(empty)} lost what it had"
        return ""

    def _has_lost_what_it_had(self, name: str) -> bool:
        word = self._word(name)
        is_blank = word is not None and word.state is CopyState.BLANK
        return word is None or word.amnesic or is_blank or self.has_failed(name)

    def has_failed(self, name: str) -> bool:
        """Whether the copy of a center says that it has failed."""
        agent = self._world.agents[name].agent
        if agent is None:
            return False
        return bool(agent.broken()) or any(m.copy.state is CopyState.FAILED for m in agent.members())

    # --- what is done then

    def _help(self, reason: str, why: str) -> None:
        self.helped[reason] = self.helped.get(reason, 0) + 1
        self._world.trace.say("person", "helps", f"{reason}; {why}")

    def _replace(self, name: str, why: str) -> None:
        if len(self._world.left) > 1:
            self._help(f"the disk of {name} failed", why)
            self._world.replace_disk(name)

    def _move(self, center: str, reason: str, why: str) -> None:
        """First without loss; whatever is lost if that was refused."""
        world = self._world
        before = self._orders.get(center)
        is_refused = before is not None and self._was_refused(before)
        self._help(reason, why)
        world.order("failover", center, accept_loss=is_refused)
        if not is_refused and world.coordinator.orders:
            self._orders[center] = world.coordinator.orders[-1]

    def _was_refused(self, order: "Order") -> bool:
        if order.refusal is not None:
            return True
        found = self._world.coordinator.operation(order)
        return found is None or found.state in {OperationState.FAILED, OperationState.REFUSED}

    def _ranked(self) -> list[str]:
        """Members that are left, first those that have most."""
        return sorted(self._world.left, key=self._standing, reverse=True)

    def _standing(self, name: str) -> tuple[int, int]:
        word = self._word(name)
        return (word.follow, word.appended) if word is not None else (0, 0)

    def _word(self, name: str) -> Statement | None:
        members = self._world.agents[name].members()
        return members[0].statement() if members else None
