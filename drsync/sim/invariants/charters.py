"""INV-02 and INV-07: charters go forward, a change of owner has exactly one intent, epochs are used once."""

from itertools import pairwise
from typing import TYPE_CHECKING

from drsync.model.charter import Charter
from drsync.model.epoch import NEVER, Epoch
from drsync.model.position import History, Loss
from drsync.sim.character import GROUP_ID
from drsync.sim.ledger import ViolationError

if TYPE_CHECKING:
    from drsync.sim.world import World


class Charters:
    """The charters of one store, in the order in which they were in force.

    Attributes:
        now: the one in force when it was last looked at: the newest that a store ever had, also when an old
            copy of the store was put back since.
        volatile: openings that admit a volatile loss, which nobody has looked at yet: before, after.
    """

    def __init__(self, world: "World") -> None:
        self._world = world
        self.now: Charter | None = None
        self.volatile: list[tuple[Charter, Charter]] = []
        self._held: Charter | None = None
        self._last: dict[Epoch, Charter] = {}
        self._uuids: dict[Epoch, str] = {}
        self._looked_at: dict[str, History] = {}

    def look(self) -> Charter | None:
        """Check what the store holds and what it held since the last look. Raises ViolationError."""
        charter = self._world.charter
        before = self._held
        if charter is None or charter is before:
            return self.now
        if before is not None and charter.generation == before.generation:
            if charter.version < before.version:
                raise ViolationError(
                    "INV-07", f"the charter went from version {before.version} to {charter.version}"
                )
            if charter.epoch < before.epoch:
                raise ViolationError("INV-07", f"the epoch went from {before.epoch:x} to {charter.epoch:x}")
        self._follow(before, charter)
        self._held = charter
        if self.now is None or is_newer(charter, self.now):
            self.now = charter
        return self.now

    def _follow(self, before: Charter | None, charter: Charter) -> None:
        """Every step from one to the other."""
        steps = [charter]
        if before is None or charter.version != before.version + 1:
            low = before.version if before is not None else 0
            kept = self._world.coordinator.history(GROUP_ID)
            steps = [one for one in kept if low < one.version <= charter.version] or steps
        for old, new in pairwise([before, *steps] if before is not None else steps):
            self.check_step(old, new)
        for step in steps:
            self._remember(step)

    def _remember(self, charter: Charter) -> None:
        known = self._last.get(charter.epoch)
        if known is None or is_newer(charter, known):
            self._last[charter.epoch] = charter

    def check_step(self, old: Charter, new: Charter) -> None:
        """One charter followed another. Raises ViolationError."""
        if new.generation > old.generation and new.version > old.version:
            return  # a person declared the store lost
        if new.version != old.version + 1 or new.generation != old.generation:
            raise ViolationError("INV-07", f"version {new.version} came after version {old.version}")
        if new.epoch == old.epoch:
            self._check_same_epoch(old, new)
        else:
            self._check_opening(old, new)

    def _check_same_epoch(self, old: Charter, new: Charter) -> None:
        if (new.owner, new.owner_session, new.history) != (old.owner, old.owner_session, old.history):
            raise ViolationError(
                "INV-07", f"version {new.version} changes the owner or the history within epoch {new.epoch:x}"
            )
        if new.epoch != NEVER and new.owner not in new.in_sync:
            raise ViolationError("INV-07", f"version {new.version} does not count its own owner as in sync")

    def _check_opening(self, old: Charter, new: Charter) -> None:
        words = f"version {new.version} grants epoch {new.epoch:x} to {new.owner}"
        if new.epoch < old.epoch:
            raise ViolationError("INV-07", f"{words}, but {old.epoch:x} was granted before")
        intent = old.intent
        if intent is None or intent.target != new.owner:
            meant = "nothing was intended" if intent is None else f"{intent.target} was intended"
            raise ViolationError("INV-07", f"{words}, but {meant}")
        start = new.history[-1] if new.history else None
        if start is None or start.epoch != new.epoch or not _continues(old.history, new.history):
            raise ViolationError("INV-07", f"{words}, but its history is not that before and one opening")
        if start.loss is Loss.VOLATILE:
            self.volatile.append((old, new))
        if start.loss is Loss.FORCED and not intent.accept_loss:
            raise ViolationError("INV-07", f"{words} with a loss that nobody accepted")

    def last_of(self, epoch: Epoch) -> Charter | None:
        """The last charter that named an epoch as the present one, asked at this moment."""
        charter = self._world.charter
        if charter is not None and charter.epoch == epoch:
            self._remember(charter)
        elif charter is not self._held:  # it changed since the last look
            for kept in self._world.coordinator.history(GROUP_ID):
                self._remember(kept)
        return self._last.get(epoch)

    def newest(self) -> Charter | None:
        """The newest that any store ever had, at this moment."""
        charter = self._world.charter
        if self.now is None or (charter is not None and is_newer(charter, self.now)):
            return charter
        return self.now

    def look_at_history(self, center: str, history: History) -> None:
        """INV-02: what a member adopted names each epoch as everybody else does. Raises ViolationError."""
        if self._looked_at.get(center) is history:
            return
        self._looked_at[center] = history
        for start in history:
            if self._uuids.setdefault(start.epoch, start.uuid) != start.uuid:
                raise ViolationError("INV-02", f"epoch {start.epoch:x} at {center} was opened twice")

    def forget(self) -> None:
        """The store was taken away, or put back to what it was: it does not go on from what was seen."""
        self._held = None


def is_newer(charter: Charter, other: Charter) -> bool:
    """Whether a charter is of a later generation, or of a later version of the same."""
    return (charter.generation, charter.version) > (other.generation, other.version)


def _continues(old: History, new: History) -> bool:
    """Whether the last start of `new` was put on `old`, and nothing forgotten that tells of a record."""
    end = new[-1].fork_seq
    found = {start.epoch: start for start in new[:-1]}
    for start in old:
        kept = found.pop(start.epoch, None)
        if kept is None:
            if start.loss is not Loss.NONE or start.fork_seq < end:
                return False
        elif (kept.uuid, kept.loss, kept.fork_seq) != (start.uuid, start.loss, min(start.fork_seq, end)):
            return False
    return not found
