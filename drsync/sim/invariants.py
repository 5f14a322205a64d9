"""What must hold at every moment, looked at from outside while the world runs. Numbers: docs/testing.md.

INV-01, INV-02 and INV-14 are noticed by the ledger when an application is told something; here are those that
can be seen in logs, images and charters. A look costs some microseconds, so that there can be many.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from drsync.engine.member import Member
from drsync.model.charter import Charter
from drsync.model.copy import CopyState
from drsync.model.epoch import NEVER, Epoch
from drsync.model.errors import DrsyncError
from drsync.sim.character import NAMES
from drsync.sim.client import SLOT, value_of
from drsync.sim.ledger import ViolationError

if TYPE_CHECKING:
    from drsync.sim.world import World


@dataclass(slots=True)
class Seen:
    """What was last seen of a member's disk.

    Attributes:
        life: how often its data was taken away; what was seen before says nothing then.
    """

    tip_seq: int = 0
    promised: Epoch = NEVER
    life: int = 0


class Watch:
    """Looks at one world."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._chains: dict[tuple[Epoch, int], tuple[bytes, str]] = {}
        self._seen = {name: Seen() for name in NAMES}
        self._charter: Charter | None = None
        self.looks = 0

    def look(self) -> None:
        """Check everything that is cheap. Raises ViolationError."""
        self.looks += 1
        world = self._world
        if world.ledger.broken is not None:
            raise world.ledger.broken
        self._look_at_charter(world.charter)
        owners: list[Member] = []
        for name in NAMES:
            agent = world.agents[name]
            self._no_bugs(name)
            if not agent.is_alive:
                continue
            for member in agent.members():
                if member.copy.state is CopyState.FAILED:
                    continue
                self._look_at_log(name, member)
                self._look_at_bounds(name, member)
                if member.term is not None and not member.term.engine.is_closed:
                    owners.append(member)
        for owner in owners:
            self._look_at_commit(owner)

    def _no_bugs(self, name: str) -> None:
        agent = self._world.agents[name]
        if agent.bugs:
            raise ViolationError("BUG", f"{name}: {agent.bugs[0]!r}")
        process = agent.process
        if process is not None and process.troubles:
            raise ViolationError("BUG", f"{name}: {process.troubles[0]}")

    # --- charters

    def _look_at_charter(self, charter: Charter | None) -> None:
        before = self._charter
        if charter is None or charter is before:
            return
        if before is not None and charter.generation == before.generation:
            if charter.version < before.version:
                raise ViolationError(
                    "INV-07", f"the charter went from version {before.version} to {charter.version}"
                )
            if charter.epoch < before.epoch:
                raise ViolationError("INV-07", f"the epoch went from {before.epoch:x} to {charter.epoch:x}")
        self._charter = charter

    def forget_charter(self) -> None:
        """The store was taken away."""
        self._charter = None

    # --- logs

    def disk_changed(self, name: str) -> None:
        """The disk of a member was replaced or put back: what was seen of it says nothing any more."""
        self._seen[name] = Seen(life=self._seen[name].life + 1)

    def _look_at_log(self, name: str, member: Member) -> None:
        copy = member.copy
        seen = self._seen[name]
        tip, promised = copy.journal.tip, copy.durable.promised
        if tip.seq:
            known = self._chains.setdefault((tip.epoch, tip.seq), (tip.chain, name))
            if known[0] != tip.chain:
                raise ViolationError(
                    "INV-04",
                    f"record {tip.seq} of epoch {tip.epoch:x} has one chain at {known[1]}, another at {name}",
                )
        follow = copy.durable.follow
        if tip.seq > seen.tip_seq and follow < seen.promised and not self._is_candidate(name):
            raise ViolationError(
                "INV-03", f"{name} took record {tip.seq} in epoch {follow:x} after promising {promised:x}"
            )
        if promised < seen.promised:
            raise ViolationError(
                "INV-03", f"{name} promised {seen.promised:x} and then only {promised:x}"
            )
        seen.tip_seq, seen.promised = tip.seq, promised

    def _is_candidate(self, name: str) -> bool:
        """Whether a change of owner names it: then it fetches what others hold of the log it will continue."""
        charter = self._world.charter
        return charter is not None and charter.intent is not None and charter.intent.target == name

    def _look_at_bounds(self, name: str, member: Member) -> None:
        copy = member.copy
        durable = copy.journal.durable_seq
        if copy.volumes.applied > durable:
            raise ViolationError(
                "INV-05", f"{name} applied record {copy.volumes.applied}, durable is only {durable}"
            )
        commit = copy.commit
        if member.term is not None:
            commit = max(commit, member.term.engine.log.commit)
        if copy.volumes.applied > commit:
            raise ViolationError(
                "INV-05", f"{name} applied record {copy.volumes.applied}, committed are only {commit}"
            )

    def _look_at_commit(self, owner: Member) -> None:
        """What is committed is in the log of every member of the set that the charter in force names."""
        term = owner.term
        assert term is not None
        charter = self._world.charter
        if charter is None or charter.epoch != term.charter.epoch:
            return
        commit = term.engine.log.commit
        for name in sorted(charter.in_sync - self._world.harmed):
            for member in self._world.agents[name].members():
                copy = member.copy
                is_following = copy.durable.follow == charter.epoch and copy.state is not CopyState.FAILED
                if is_following and not copy.durable.unclean and copy.journal.tip.seq < commit:
                    raise ViolationError(
                        "INV-06",
                        f"record {commit} is committed by {term.copy.me.center}, but {name}, which is in "
                        f"sync, has only {copy.journal.tip.seq}",
                    )

    # --- images

    def look_at_image(self, name: str) -> None:
        """INV-09: an image holds what the log says at its position. Costs a read of all slots."""
        world = self._world
        for member in world.agents[name].members():
            copy = member.copy
            charter = copy.durable.charter
            if copy.state is CopyState.FAILED or charter is None:
                continue
            if copy.volumes.reached != copy.volumes.applied:
                continue  # a drain is under way, or was interrupted: the journal repairs it
            history = world.ledger.lineage(copy.durable.follow, charter.history)
            buffer = bytearray(SLOT)
            image = copy.volumes.views[0].image
            for slot in range(world.character.slots):
                try:
                    image.read_into(slot * SLOT, memoryview(buffer))
                except DrsyncError:
                    return  # a disk that fails its readers fails us, too
                found = value_of(buffer)
                expected = world.ledger.content(history, copy.volumes.applied, slot)
                if found != expected:
                    raise ViolationError(
                        "INV-09",
                        f"slot {slot} of the image of {name} holds {found}, "
                        f"but record {copy.volumes.applied} left {expected} there",
                    )
