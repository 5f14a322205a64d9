"""What must hold at every moment, looked at from outside while the world runs. Numbers: docs/testing.md.

INV-01, INV-02 and INV-14 are also noticed by the ledger when an application is told something. A look costs
some tens of microseconds, so that there can be many; what costs more is looked at seldom.
"""

from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from drsync.model.copy import CopyState
from drsync.model.errors import DrsyncError
from drsync.sim.character import NAMES, SMALL_QUOTA
from drsync.sim.invariants.age import Age
from drsync.sim.invariants.bounds import Bounds
from drsync.sim.invariants.charters import Charters
from drsync.sim.invariants.disks import Disks
from drsync.sim.invariants.echo import Echo
from drsync.sim.invariants.holdings import Holdings
from drsync.sim.invariants.images import Images
from drsync.sim.invariants.limits import Limits
from drsync.sim.invariants.logs import Logs
from drsync.sim.invariants.register import Register
from drsync.sim.invariants.space import Space
from drsync.sim.ledger import ViolationError

if TYPE_CHECKING:
    from drsync.engine.member import Member
    from drsync.sim.world import World

SELDOM = 20  # looks, because what is counted then changes slowly
AGE_EVERY = 90  # looks, because a status costs as much as twenty of them
DISKS_EVERY = 240  # looks, because opening three copies costs as much as two hundred of them
DISKS_OFTEN = 20  # likewise while things break and journals are small: marks stand for what they lack then
ECHO_EVERY = 50  # looks, because a repeated request keeps a member from others for a moment


class Watch:
    """Looks at one world.

    Attributes:
        looks: how often it has.
    """

    def __init__(self, world: "World") -> None:
        self._world = world
        self.looks = 0
        self.charters = Charters(world)
        self.holdings = Holdings(world)
        self.logs = Logs(world, self.charters)
        self.bounds = Bounds(world, self.charters, self.holdings)
        self.space = Space(world, self.charters, self.holdings)
        self.images = Images(world)
        self.age = Age(world, self.holdings)
        self.limits = Limits(world)
        self.register = Register(world.timeline)
        self.echo = Echo(world)
        self.disks = Disks(world, self.holdings)
        self._ended: set[str] = set()
        self._attend()

    def _attend(self) -> None:
        """Be told of what cannot be seen from time to time."""
        world, holdings = self._world, self.holdings
        holdings.before_cut = self.logs.before_cut
        holdings.before_trim = self.space.before_trim
        world.application.at_answer.append(self.bounds.at_answer)
        for name, agent in world.agents.items():
            agent.at_copy.append(partial(holdings.opened, name))
            agent.at_start.append(self.register.attend_agent)
        world.trace.heard.append(self._heard)
        world.coordinator.at_start.append(self.register.attend_office)
        world.coordinator.at_command.append(self.echo.performed)
        world.coordinator.at_other_store.append(self.forget_charter)

    def _heard(self, who: str, event: str, _why: str) -> None:
        if event == "process_ended" and who in NAMES:
            self._ended.add(who)

    # --- from time to time

    def look(self) -> None:
        """Check everything that is cheap, and now and then what is not. Raises ViolationError."""
        self.looks += 1
        world = self._world
        if world.ledger.broken is not None:
            raise world.ledger.broken
        self._no_bugs_in_coordinator()
        charter = self.charters.look()
        self.images.look_at_disks()
        owners: list[tuple[str, Member]] = []
        members: list[tuple[str, Member]] = []
        for name in NAMES:
            agent = world.agents[name]
            self._no_bugs(name)
            if not agent.is_alive:
                continue
            for member in agent.members():
                if member.copy.state is CopyState.FAILED or member.copy.is_switching:
                    continue  # it has no journal open; disks are looked at in the middle, too
                members.append((name, member))
                self.logs.look(name, member)
                self.bounds.look_at_member(name, member)
                self.space.look(name, member)
                if member.term is not None and not member.term.engine.is_closed:
                    owners.append((name, member))
        self.bounds.look_at_leases(owners)
        self.bounds.look_at_losses()
        for _, owner in owners:
            assert owner.term is not None
            self.logs.look_at_copies(owner.term, members)
            self.space.look_at_owner(owner.term)
        if charter is not None:
            for _, owner in owners:
                self.bounds.look_at_owner(charter, owner)
            self.bounds.look_at_set(charter)
        self._look_seldom()

    def _look_seldom(self) -> None:
        charter = self.charters.now
        for name in sorted(self._ended):  # because nobody has put in order yet what was left
            self.disks.look(name)
        self._ended.clear()
        if self.looks % SELDOM == 0:
            self._world.forget_harm()
            self.limits.look()
            for name in NAMES:
                self.images.look_at_views(name)
        if self.looks % AGE_EVERY == 0 and charter is not None:
            self.age.look(charter)
        if self.looks % ECHO_EVERY == 0:
            self.echo.repeat()
        is_small = self._world.character.group.policy.journal_quota_bytes <= SMALL_QUOTA
        is_often = is_small and not self._world.is_calm
        if self.looks % DISKS_EVERY == 0:
            self.disks.look_at_pairs()
        elif is_often and self.looks % DISKS_OFTEN == 0:
            self.disks.look_at_two()

    def _no_bugs(self, name: str) -> None:
        agent = self._world.agents[name]
        if agent.bugs:
            raise ViolationError("BUG", f"{name}: {agent.bugs[0]!r}")
        process = agent.process
        if process is not None and process.troubles:
            raise ViolationError("BUG", f"{name}: {process.troubles[0]}")

    def _no_bugs_in_coordinator(self) -> None:
        coordinator = self._world.coordinator
        for error in coordinator.bugs:
            if not isinstance(error, DrsyncError):  # a store that says no is told there, too
                raise ViolationError("BUG", f"{coordinator.name}: {error!r}")
        process = coordinator.process
        if process is not None and process.troubles:
            raise ViolationError("BUG", f"{coordinator.name}: {process.troubles[0]}")

    def look_at_image(self, name: str) -> None:
        """INV-09: an image holds what the log says at its position. Raises ViolationError."""
        self.images.look_at_image(name)

    def look_at_the_end(self) -> None:
        """What can only be told of a whole run, in a world that is well again. Raises ViolationError."""
        self.limits.look_for_leaks()
        self._compare_logs()
        self.disks.look_at_pairs()
        call = self.register.contradiction()
        if call is not None:
            raise ViolationError("INV-07", f"no order of charters explains this: {call}")

    def _compare_logs(self) -> None:
        world = self._world
        copies = [member.copy for name in world.left for member in world.agents[name].members()]
        copies = [copy for copy in copies if copy.state is not CopyState.FAILED]
        for one, other in pairwise(copies):
            if one.durable.follow == other.durable.follow:
                self.logs.compare(one, other)

    # --- what the world does

    def disk_changed(self, name: str) -> None:
        """The disk of a member was replaced or put back: what was seen of it says nothing any more."""
        self.logs.forget(name)
        self.holdings.forget(name)
        self.images.forget(name)

    def forget_charter(self) -> None:
        """The store was taken away, or put back to what it was."""
        self.charters.forget()
        self.register.forget(self._world.charter)
