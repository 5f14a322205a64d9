"""INV-23: the age of a copy as the coordinator publishes it is never less than what would be lost with it."""

from typing import TYPE_CHECKING, cast

from drsync.model.charter import Charter
from drsync.sim.character import COORDINATOR, NAMES
from drsync.sim.invariants.holdings import Holdings
from drsync.sim.invariants.space import common
from drsync.sim.ledger import ViolationError

if TYPE_CHECKING:
    from drsync.sim.world import World

ROUNDING_S = 0.001  # because figures have three digits
DRIFT = 0.01  # because the owner counts by a clock that may go wrong by so much


class Age:
    """The age of every copy, as published and as it is."""

    def __init__(self, world: "World", holdings: Holdings) -> None:
        self._world = world
        self._holdings = holdings
        self._began_at = {name: host.boottime() for name, host in world.hosts.items()}

    def look(self, charter: Charter) -> None:
        """Compare. Costs a status of the coordinator: seldom. Raises ViolationError."""
        if not charter.owner:
            return
        published = self.published()
        unseen_s = self._unseen_s(charter.owner) + self._unseen_s(COORDINATOR)
        for name in NAMES:
            if name not in published or not self._holdings.is_sound(name):
                continue
            told, true = published[name], self.true_s(name, charter)
            if told is not None and told + ROUNDING_S + unseen_s < true * (1 - DRIFT):
                raise ViolationError(
                    "INV-23", f"{name} lacks a write of {true:.3f} s ago, the status says {told:.3f} s"
                )

    def _unseen_s(self, name: str) -> float:
        """For how long in all a machine's clock stood still while it was suspended: nobody there can know."""
        world = self._world
        shown = world.hosts[name].boottime() - self._began_at[name]
        return max(0.0, world.timeline.now - shown)

    def published(self) -> dict[str, float | None]:
        """Center -> seconds, None for unknown; empty while the coordinator answers nothing."""
        office = self._world.coordinator.office
        process = self._world.coordinator.process
        if office is None or process is None or not process.is_alive:
            return {}
        groups = cast(
            "dict[str, dict[str, dict[str, dict[str, float | None]]]]", office.picture.status()["groups"]
        )
        group = groups.get(self._world.character.group.name)
        if group is None:
            return {}
        return {name: facts["rpo_actual_s"] for name, facts in group["centers"].items()}

    def true_s(self, name: str, charter: Charter) -> float:
        """The age of the oldest answered write that a member lacks; 0 if it lacks none."""
        copy = self._holdings.of(name).copy
        if copy is None:
            return 0.0
        held = min(common(copy.journal.runs, charter.history), self._holdings.tip(name))
        missing = self._world.ledger.promised_after(charter.history, held)
        answered = [write.answered for write in missing if write.answered is not None]
        return self._world.timeline.now - min(answered) if answered else 0.0
