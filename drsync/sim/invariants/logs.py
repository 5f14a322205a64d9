"""INV-03, INV-04, INV-08, INV-10: promises hold, logs are one chain, copies prefixes, cuts lose nothing."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from drsync.engine.copy import GroupCopy
from drsync.engine.member import Member
from drsync.model.copy import CopyState
from drsync.model.epoch import NEVER, Epoch
from drsync.model.position import Loss
from drsync.sim.character import NAMES
from drsync.sim.invariants.charters import Charters
from drsync.sim.ledger import ViolationError, covering, holds

if TYPE_CHECKING:
    from drsync.engine.term import OwnerTerm
    from drsync.sim.world import World


@dataclass(slots=True)
class Seen:
    """What was last seen of a member's disk."""

    tip_seq: int = 0
    compared: int = 0  # its batches up to this record are known to all
    promised: Epoch = NEVER


class Logs:
    """The logs of all members."""

    def __init__(self, world: "World", charters: Charters) -> None:
        self._world = world
        self._charters = charters
        self._chains: dict[tuple[Epoch, int], tuple[bytes, str]] = {}
        self._seen = {name: Seen() for name in NAMES}

    def forget(self, name: str) -> None:
        """The disk of a member was replaced or put back: what was seen of it says nothing any more."""
        self._seen[name] = Seen()

    def look(self, name: str, member: Member) -> None:
        """Check one log. Raises ViolationError."""
        copy = member.copy
        seen = self._seen[name]
        tip, promised, follow = copy.journal.tip, copy.durable.promised, copy.durable.follow
        if tip.seq != seen.tip_seq:
            self._look_at_tip(name, copy, seen)
        if tip.seq != seen.compared and not self._world.hosts[name].disk.troubles:
            self._look_at_batches(name, copy, seen)
        if promised < seen.promised:
            raise ViolationError("INV-03", f"{name} promised {seen.promised:x} and then only {promised:x}")
        if follow > promised:
            raise ViolationError("INV-03", f"{name} follows {follow:x} and promised only {promised:x}")
        seen.promised = promised
        self._charters.look_at_history(name, copy.durable.history)

    def _look_at_tip(self, name: str, copy: GroupCopy, seen: Seen) -> None:
        tip, follow = copy.journal.tip, copy.durable.follow
        if tip.seq > seen.tip_seq and follow < seen.promised and not self._is_candidate(name):
            raise ViolationError(
                "INV-03",
                f"{name} took record {tip.seq} in epoch {follow:x} after promising {seen.promised:x}",
            )
        seen.tip_seq = tip.seq

    def _look_at_batches(self, name: str, copy: GroupCopy, seen: Seen) -> None:
        """INV-04: at every position that a log has come to since, whoever had it had the same chain."""
        journal = copy.journal
        after = journal.batch_end_at_or_below(max(min(seen.compared, journal.tip.seq), journal.first_seq - 1))
        for place in journal.places(after.seq):
            end = journal.position_at(place.last_seq)
            assert end is not None
            known = self._chains.setdefault((end.epoch, end.seq), (end.chain, name))
            if known[0] != end.chain:
                raise ViolationError(
                    "INV-04",
                    f"record {end.seq} of epoch {end.epoch:x} has one chain at {known[1]}, another at {name}",
                )
        seen.compared = journal.tip.seq

    def compare(self, one: GroupCopy, other: GroupCopy) -> None:
        """INV-04: two logs at every position that both hold, as they are stored. Raises ViolationError."""
        first = max(one.journal.first_seq, other.journal.first_seq) - 1
        last = min(one.journal.tip.seq, other.journal.tip.seq)
        low = one.journal.batch_end_at_or_below(first).seq
        for place in one.journal.places(max(low, one.journal.first_seq - 1)):
            here, there = one.journal.position_at(place.last_seq), other.journal.position_at(place.last_seq)
            if place.last_seq <= first or here is None or there is None:
                continue
            if place.last_seq > last:
                break
            if here != there:
                raise ViolationError(
                    "INV-04", f"{one.me.center} is at {here} where {other.me.center} is at {there}"
                )

    def _is_candidate(self, name: str) -> bool:
        """Whether a change of owner names it: it fetches what others hold of the log it will continue."""
        charter = self._charters.now
        return charter is not None and charter.intent is not None and charter.intent.target == name

    def look_at_copies(self, term: "OwnerTerm", replicas: list[tuple[str, Member]]) -> None:
        """INV-08: whoever follows an owner holds a prefix of its log. Raises ViolationError."""
        epoch, log = term.charter.epoch, term.copy.journal
        top = log.tip.seq
        for name, member in replicas:
            copy = member.copy
            if copy.durable.follow != epoch or copy.state is not CopyState.REPLICA:
                continue
            tip = copy.journal.tip
            if tip.seq > top:
                raise ViolationError(
                    "INV-08", f"{name} holds record {tip.seq} of epoch {epoch:x}, its owner only {top}"
                )
            here = log.position_at(tip.seq)
            if here is not None and here.chain != tip.chain and tip.seq:
                raise ViolationError("INV-08", f"{name} differs from its owner at record {tip.seq}")

    def before_cut(self, name: str, copy: GroupCopy, after_seq: int) -> None:
        """INV-10: what somebody relies on is cut only where a loss was stated, and kept aside then.

        Called by the code under test: what is wrong is noted, not raised.
        """
        world, charter = self._world, self._charters.newest()
        self._seen[name].compared = min(self._seen[name].compared, after_seq)
        if charter is None or name in world.harmed:
            return
        held = {
            run.epoch: (run.first_seq, run.last_seq) for run in copy.journal.runs if run.last_seq > after_seq
        }
        for write in world.ledger.relied_on(after_seq):
            first, last = held.get(write.epoch, (1, 0))
            if not first <= write.seq <= last:
                continue
            words = f"{name} cuts record {write.seq} of epoch {write.epoch:x}, on which somebody relies"
            if holds(charter.history, write.epoch, write.seq):
                world.ledger.note("INV-10", f"{words} and which belongs to the history in force")
            elif Loss.FORCED in covering(charter.history, write.epoch, write.seq) and not self._is_kept(copy):
                world.ledger.note("INV-10", f"{words}, and keeps it nowhere")

    def _is_kept(self, copy: GroupCopy) -> bool:
        """Whether some fork was put aside at this center."""
        disk = self._world.hosts[copy.me.center].disk
        return any("/forks/" in path for path, _ in disk.files())
