"""What worlds went through: situations that must occur now and then, because what never occurs is not tested.

Every promise is kept in a world where nothing happens. So each run counts what it met, and over some hundred
seeds every situation of `SITUATIONS` must have been met by at least one.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from drsync.core.plan import Command, Prepare
from drsync.model.copy import CopyState
from drsync.model.position import Loss
from drsync.sim.agent import STATE_DIR
from drsync.sim.character import COORDINATOR, GROUP_ID, NAMES
from drsync.sim.invariants.space import BEYOND

if TYPE_CHECKING:
    from drsync.engine.copy import GroupCopy
    from drsync.engine.member import Member
    from drsync.sim.client import Export
    from drsync.sim.world import World

EVENTS: dict[str, str] = {
    "switchover_done": "a switchover succeeds",
    "switchover_refused": "a switchover is refused",
    "switchover_failed": "a switchover fails in the middle",
    "failover_done": "a failover succeeds",
    "failover_refused": "a failover is refused",
    "failover_decided": "a failover is decided by policy",
    "drill_done": "a drill succeeds",
    "drill_refused": "a drill is refused",
    "drill_failed": "a drill fails",
    "open_done": "an owner is opened where it was",
    "open_refused": "an opening where it was is refused",
    "resumed": "a new coordinator goes on with what an old one began",
    "left_in_sync": "a member leaves the in-sync set",
    "owner_suspected": "an owner is not heard, and goes on by the word of others",
    "log_cut": "a log is cut",
    "copy_failed": "a copy fails",
    "no_space": "a journal finds no space",
    "space_back": "a full disk has space again",
    "gone_back": "a copy has gone back in time",
    "store_went_back": "an old store is noticed",
    "generation_begun": "a person begins a new store generation",
    "donor_silent": "a candidate does not get what a donor has",
    "journal_not_kept": "a member is converted to marks",
    "resync_begun": "a resync session begins",
    "resync_resumed": "a resync session goes on after its line was lost",
    "resync_dropped": "what was put aside is dropped",
    "resync_refused": "a resync session is refused",
    "resync_switched": "a target switches",
    "resync_done": "a resync session ends level",
    "fork_kept": "a target keeps its fork aside",
}
"""What daemons say -> the situation that it is a sign of."""

MODES: dict[str, str] = {
    ": dirty, begins": "a resync session sends what is marked",
    ": digest, begins": "a resync session compares digests",
    ": everything, begins": "a resync session sends everything",
}
"""Part of what a target says of the session that begins -> situation."""

ENDS: dict[str, str] = {
    "sealed": "a term ends because it is sealed",
    "deposed": "a term ends because its owner learns that it is deposed",
    "frozen for longer": "a term ends because it was frozen too long",
    "has promised": "a term ends because a member has promised a higher epoch",
}
"""Part of the reason why a term ended -> situation."""

PARTS = {"term_ended": ENDS, "resync_began": MODES}

STATES: tuple[str, ...] = (
    "an owner is frozen",
    "an owner has no lease",
    "an owner answers while the coordinator is dead for longer than its lease",
    "two owners have open terms at once",
    "two owners hold leases at once",
    "an owner holds back answers for a member that is behind",
    "a member is unclean",
    "a member is amnesic",
    "a member needs blockwise resync",
    "a member is not harmed any more",
    "a view is open while records arrive",
    "a journal was trimmed",
    "a stopped process has work waiting",
    "a resync session begins another round",
    "an owner brings two members level at once",
)
"""Seen from time to time."""

OPENINGS: dict[Loss, str] = {
    Loss.NONE: "an epoch after the first opens without a loss",
    Loss.VOLATILE: "an epoch opens with a volatile loss",
    Loss.FORCED: "an epoch opens with a forced loss",
}

OTHERS: tuple[str, ...] = (
    "acknowledged writes are lost as stated",
    "a fork is kept aside",
    "a member comes back into the in-sync set",
    "a candidate fetches from donors",
    "writes are under way when an owner dies",
    "a person is needed after calm",
    "a process dies while something is put aside",
    "a process dies in a switch",
)

SITUATIONS: tuple[str, ...] = (
    *EVENTS.values(),
    *MODES.values(),
    *ENDS.values(),
    *STATES,
    *OPENINGS.values(),
    *OTHERS,
)
"""Each must occur now and then; faults and orders, by their names, beside these."""


class Coverage:
    """Of one run.

    Attributes:
        met: situation, or "fault NAME" -> how often; a state counts once for each time it begins.
    """

    def __init__(self, world: "World") -> None:
        self.met: Counter[str] = Counter()
        self._world = world
        self._now: set[str] = set()
        self._copies: dict[str, GroupCopy] = {}
        self._left: set[str] = set()
        self._harmed: set[str] = set()
        self._tips: dict[str, int] = {}
        self._coordinator_lived = 0.0
        for name, agent in world.agents.items():
            agent.at_copy.append(partial(self._copies.__setitem__, name))
        world.trace.heard.append(self._heard)
        world.opened.append(self._opened)
        world.coordinator.at_command.append(self._performed)

    # --- what happens

    def struck(self, kind: str, name: str) -> None:
        """A fault or an order did something."""
        self.met[f"{kind} {name}"] += 1

    def _heard(self, who: str, event: str, why: str) -> None:
        if who == "person" and event == "helps":
            self.met["a person is needed after calm"] += 1
        if event in EVENTS:
            self.met[EVENTS[event]] += 1
        for part, situation in PARTS.get(event, {}).items():
            self.met[situation] += part in why
        if event == "process_ended" and who in NAMES:
            self._look_at_what_died(who)
        if event == "log_cut":
            self.met["a fork is kept aside"] += "kept as fork" in why
        elif event == "left_in_sync":
            self._left.add(why.partition(":")[0])
        elif event == "joined_in_sync" and why.partition(":")[0] in self._left:
            self.met["a member comes back into the in-sync set"] += 1

    def _look_at_what_died(self, center: str) -> None:
        """Its engine is still there to be looked at; what is put aside has a name on its disk."""
        self.met["writes are under way when an owner dies"] += self._has_writes_under_way(center)
        try:
            home = self._world.hosts[center].disk.directory(STATE_DIR / "groups" / GROUP_ID)
        except FileNotFoundError:
            return
        self.met["a process dies while something is put aside"] += "stage" in home.entries
        copy = self._copies.get(center)
        self.met["a process dies in a switch"] += copy is not None and copy.is_switching

    def _has_writes_under_way(self, center: str) -> bool:
        # The process is dead by now; its engine is still there to be looked at.
        exports = [export for export in self._world.application.exports if export.center == center]
        return any(export.device.engine.oldest_pending_age for export in exports)

    def _opened(self, export: "Export") -> None:
        history = self._world.ledger.histories[export.epoch]
        if len(history) > 1 or history[0].loss is not Loss.NONE:
            self.met[OPENINGS[history[-1].loss]] += 1

    def _performed(self, command: Command) -> None:
        if isinstance(command, Prepare) and command.donors:
            self.met["a candidate fetches from donors"] += 1

    # --- what is so

    def look(self) -> None:
        """Note what is so now. Cheap, but not free: a few times a second."""
        now = self._states()
        for state in now - self._now:
            self.met[state] += 1
        self._now = now

    def _states(self) -> set[str]:
        world = self._world
        found: set[str] = set()
        owners: list[Member] = []
        for name in NAMES:
            for member in world.agents[name].members():
                self._look_at_member(name, member, found)
                if member.term is not None and not member.term.engine.is_closed:
                    owners.append(member)
        if len(owners) > 1:
            found.add("two owners have open terms at once")
        leased = [self._look_at_owner(owner, found) for owner in owners]
        if sum(leased) > 1:
            found.add("two owners hold leases at once")
        if self._harmed - world.harmed:
            found.add("a member is not harmed any more")
        self._harmed = set(world.harmed)
        for host in world.hosts.values():
            if any(process.has_parked for process in host.processes):
                found.add("a stopped process has work waiting")
        return found

    def _look_at_member(self, name: str, member: "Member", found: set[str]) -> None:
        copy = member.copy
        if copy.state is CopyState.FAILED:
            return
        if copy.durable.unclean:
            found.add("a member is unclean")
        if copy.durable.amnesic:
            found.add("a member is amnesic")
        tip = copy.journal.tip.seq
        if member.views.ids() and tip > self._tips.get(name, tip):
            found.add("a view is open while records arrive")
        self._tips[name] = tip
        if copy.journal.first_seq > 1:
            found.add("a journal was trimmed")

    def _look_at_owner(self, owner: "Member", found: set[str]) -> bool:
        """Also whether it holds a lease."""
        term = owner.term
        assert term is not None
        engine, coordinator = term.engine, self._world.coordinator
        if engine.is_frozen:
            found.add("an owner is frozen")
        if engine.stats.paced:
            found.add("an owner holds back answers for a member that is behind")
        sessions = [one for name in NAMES if (one := term.resyncs.progress(name)) is not None]
        if any(session.rounds for session in sessions):
            found.add("a resync session begins another round")
        if len(sessions) > 1:
            found.add("an owner brings two members level at once")
        if any(BEYOND in plan for plan in term.plans.values()):
            found.add("a member needs blockwise resync")
        if not engine.is_leased:
            found.add("an owner has no lease")
            return False
        now = self._world.timeline.now
        if coordinator.is_alive and self._world.hosts[COORDINATOR].is_up:
            self._coordinator_lived = now
        if now - self._coordinator_lived > self._world.character.group.policy.lease_s:
            found.add("an owner answers while the coordinator is dead for longer than its lease")
        return True

    def end(self) -> dict[str, int]:
        """Everything that was met."""
        if self._world.ledger.lost:
            self.met["acknowledged writes are lost as stated"] += self._world.ledger.lost
        return {name: times for name, times in sorted(self.met.items()) if times}


def missing(met: Mapping[str, int], struck: Iterable[str] = ()) -> list[str]:
    """What should have been met and was not: situations, and faults by "fault NAME"."""
    return [name for name in (*SITUATIONS, *struck) if not met.get(name)]
