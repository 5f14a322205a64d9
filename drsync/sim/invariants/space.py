"""INV-11, INV-12, INV-13 and INV-16: what others or views need is kept, or it is said that it is not."""

from typing import TYPE_CHECKING

from drsync.core.resync_tables import SourceState
from drsync.engine.copy import GroupCopy
from drsync.engine.member import Member
from drsync.model.position import History, Runs
from drsync.sim.character import NAMES
from drsync.sim.invariants.charters import Charters
from drsync.sim.invariants.holdings import Holdings
from drsync.sim.ledger import ViolationError

if TYPE_CHECKING:
    from drsync.engine.term import OwnerTerm
    from drsync.sim.world import World

BEYOND = "no longer holds"  # in the plan of an owner for a member that its journal cannot bring forward


class Space:
    """Journals, as far as others need them."""

    def __init__(self, world: "World", charters: Charters, holdings: Holdings) -> None:
        self._world = world
        self._charters = charters
        self._holdings = holdings
        self._given_up: dict[str, int] = {}  # center -> what it dropped because its journal was too large

    def look(self, name: str, member: Member) -> None:
        """INV-13: images stay behind every view, and its records are kept. Raises ViolationError."""
        copy = member.copy
        for view_id in member.views.ids():
            view = member.views.find(view_id)
            assert view is not None
            if copy.volumes.reached > view.seq:
                raise ViolationError(
                    "INV-13", f"{name} applies record {copy.volumes.reached} under a view of {view.seq}"
                )
            if copy.journal.first_seq - 1 > view.base_seq:
                raise ViolationError(
                    "INV-13",
                    f"{name} keeps records from {copy.journal.first_seq}, a view from {view.base_seq}",
                )
        if copy.journal.first_seq - 1 > copy.volumes.applied:
            raise ViolationError(
                "INV-11",
                f"{name} dropped records up to {copy.journal.first_seq}, applied {copy.volumes.applied}",
            )

    def _look_at_sessions(self, term: "OwnerTerm") -> None:
        """INV-13: what was written since a session began is kept until it ends. Raises ViolationError."""
        copy, trimmed = term.copy, term.copy.journal.first_seq - 1
        for name in NAMES:
            session = term.resyncs.of(name).source
            if session.state not in (SourceState.IDLE, SourceState.KEPT) and trimmed > session.p0:
                words = f"records after {session.p0}, and holds those after {trimmed}"
                raise ViolationError("INV-13", f"{copy.me.center} owes {name} {words}")

    def look_at_owner(self, term: "OwnerTerm") -> None:
        """INV-12: nobody whose disk is whole lacks more than the journal holds. Raises ViolationError.

        Unless the journal took more than its quota: that is what the quota is for, and the plan says so.
        """
        copy = term.copy
        self._look_at_sessions(term)
        if copy.journal.first_seq - 1 <= self._given_up.get(copy.me.center, -1):
            return
        for name in NAMES:
            if BEYOND in term.plans.get(name, "") and name not in self._world.harmed:
                raise ViolationError("INV-12", f"{name} was never damaged, and {term.plans[name]}")

    def _is_marked(self, name: str, other: str, held: int, through_seq: int) -> bool:
        """Whether the blocks of these records are marked for the member, or all of it counts as different."""
        members = self._world.agents[name].members()
        marks = members[0].keeper.of(other) if members else None
        return marks is not None and (
            not marks.is_known or (marks.since <= held and through_seq <= marks.through)
        )

    def before_trim(self, name: str, copy: GroupCopy, through_seq: int) -> None:
        """INV-13: nothing is dropped that another member lacks, unless it is marked for that member.

        A journal that takes more than its quota may drop more than that.

        Called by the code under test: what is wrong is noted, not raised.
        """
        world, charter = self._world, self._charters.newest()
        if charter is None:
            return
        if copy.journal.held_bytes > copy.spec.policy.journal_quota_bytes:
            self._given_up[name] = max(through_seq, self._given_up.get(name, 0))
            return
        # What the group gave up meanwhile is wanted by nobody.
        through_seq = min(through_seq, common(copy.journal.runs, charter.history))
        for other in NAMES:
            theirs = self._holdings.of(other).copy
            if other == name or other in world.harmed:
                continue
            held = common(theirs.journal.runs, charter.history) if theirs is not None else 0
            held = min(held, self._holdings.durable(other))
            first = theirs.journal.first_seq if theirs is not None else 1
            if (
                held < through_seq
                and first <= through_seq
                and not self._is_marked(name, other, held, through_seq)
            ):
                world.ledger.note(
                    "INV-13", f"{name} drops records up to {through_seq}, {other} has them only up to {held}"
                )


def common(runs: Runs, history: History) -> int:
    """The last record of a log that belongs to a history: a reckoning of its own, not the shipped one."""
    ends: dict[int, int | None] = {}
    end: int | None = None
    for start in reversed(history):
        ends[start.epoch] = end
        end = start.fork_seq if end is None else min(end, start.fork_seq)
    found = 0
    for run in runs:
        if run.epoch not in ends:
            break
        end = ends[run.epoch]
        if end is not None and run.last_seq > end:
            return max(found, end)
        found = run.last_seq
    return found
