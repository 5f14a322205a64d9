"""One world: three centers, a coordinator, an application, and everything that breaks.

Only what exists and how it is put together lives here. What breaks is in `faults`, what must never happen in
`invariants`, the order of a run in `run`.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from drsync.model.charter import Charter
from drsync.model.copy import CopyState
from drsync.model.epoch import NEVER, Epoch
from drsync.model.group import Durability
from drsync.ports.volume import BlockDevice
from drsync.sim import character
from drsync.sim.agent import SimAgent, Surroundings, install
from drsync.sim.character import CENTERS, CLUSTER, COORDINATOR, GROUP_ID, NAMES, Character
from drsync.sim.client import Application, Export, content_of
from drsync.sim.coordinator import SimCoordinator
from drsync.sim.disk import Disk
from drsync.sim.host import Host
from drsync.sim.ledger import Ledger
from drsync.sim.network import Network
from drsync.sim.process import Process
from drsync.sim.timeline import Timeline
from drsync.sim.trace import Trace

if TYPE_CHECKING:
    from drsync.sim.disk_nodes import Directory

FOUND_LOOK_S = 0.1  # after which whoever founds it looks whether it is there
FOUND_AGAIN_S = 2.0  # after which a person who got an error asks again
FOUND_S = 0.5  # because somebody founds a group when the coordinator answers
CALM_RATE = 12.0  # writes a second at the end, because every line carries that many
SMALL_RATE = 3.0  # because a small journal must outlast two resync sessions over the slowest line
OWNER_RATE = 0.5  # of the faults that hit one center look for the owner


NEVER_BACK = (NEVER, 0)
BRIEF_PLACE, BRIEF_EVERY = "same_city", 3
"""In every third world that was not made for a story one center syncs on the spot, the others in threads."""
RINGS_FROM = 1000
"""From this seed on the kernels of every second world sync beside loops; older seeds stay what they were."""


class World:
    """Everything one seed runs on.

    Attributes:
        dice: for faults; every other part has dice of its own, so that a fault more changes little else.
        places: members and the coordinator, as the network names them.
        heard: told what the coordinator says: event, reason.
        cuts: how many faults have cut a line, by line.
        snapshots: of machines, to be put back to.
        backups: of the store, the newest last.
        gone: machines that were lost for ever.
        doomed: disks that somebody is going to replace, by member.
        rolled_back: members that were, and the epoch and the last record that they had reached.
        harmed: members whose data was damaged and that have not caught up since.
        is_founded: the group serves, and nobody disturbs that it comes to be.
        is_calm: nothing breaks any more.
    """

    def __init__(
        self,
        seed: int,
        weights: dict[str, float],
        *,
        keeps_all: bool = False,
        known: Character | None = None,
    ) -> None:
        """`known`: its character, when that is not to be drawn from the seed."""
        self.seed = seed
        self._brief_place = BRIEF_PLACE if known is None and seed % BRIEF_EVERY == 0 else ""
        self._has_ring = known is None and seed >= RINGS_FROM and seed % 2 == 1
        self.timeline = Timeline()
        self.trace = Trace(self.timeline, keeps_all=keeps_all)
        self.dice = self.new_dice("faults")
        self.character = known or character.roll(self.new_dice("character"), weights)
        self.network = Network(self.timeline, self.new_dice("network"))
        self.network.is_host_up = lambda place: self.hosts[place].is_up
        self.places = (*NAMES, COORDINATOR)
        self.hosts = {
            name: Host(self.timeline, name, self.new_dice(f"host {name}"), self.new_disk(name))
            for name in self.places
        }
        self.ledger = Ledger()
        self.application = Application(
            self.timeline, self.new_dice("application"), self.ledger, self.character.slots
        )
        self.application.rate = self.character.write_rate
        self.application.is_fsync = self.character.group.policy.durability is Durability.FSYNC
        self.agents = {name: self._agent(name) for name in NAMES}
        self.coordinator = SimCoordinator(
            self.hosts[COORDINATOR],
            self.network,
            centers=CENTERS,
            cluster=CLUSTER,
            dice=self.new_dice("coordinator"),
            tell=self._coordinator_said,
            again_s=self._again_s,
        )
        self.cuts: dict[tuple[str, str], int] = {}
        self.snapshots: dict[str, Directory] = {}
        self.backups: list[bytes] = []
        self.gone: set[str] = set()
        self.doomed: dict[str, Disk] = {}
        self.rolled_back: dict[str, tuple[Epoch, int]] = {}
        self.harmed: set[str] = set()
        self._newest = (0, 0)  # generation and version of the newest charter that anybody has seen
        self.is_founded = False
        self.is_calm = False
        self._found_at = 0.0
        self.lay_lines()
        self.heard: list[Callable[[str, str], None]] = []
        self.opened: list[Callable[[Export], None]] = []
        self.disk_changed: list[Callable[[str], None]] = []

    def _coordinator_said(self, who: str, event: str, reason: str) -> None:
        self.trace.say(who, event, reason)
        for tell in self.heard:
            tell(event, reason)

    def new_disk(self, place: str) -> Disk:
        """An empty disk of the kind that a place has."""
        disk = Disk()
        disk.is_brief = place == self._brief_place
        disk.has_ring = self._has_ring
        return disk

    def new_dice(self, what: str) -> random.Random:
        """Dice of their own for a part of the world."""
        return random.Random(f"{self.seed} {what}")

    def _agent(self, name: str) -> SimAgent:
        peers = tuple(other for other in NAMES if other != name)
        around = Surroundings(self.trace.say, self._served, self._again_s)
        return SimAgent(
            self.hosts[name], self.network, name, peers, CLUSTER, self.new_dice(f"agent {name}"), around
        )

    def _again_s(self) -> float:
        return self.dice.uniform(*self.character.restart_s)

    def lay_lines(self) -> None:
        """Every line as it is when nothing is wrong with it."""
        for one in self.places:
            for other in self.places:
                self.lay_line(one, other)

    def lay_line(self, one: str, other: str) -> None:
        """One line likewise; whether it is cut is another matter."""
        found = self.character
        far = {"remote"} if found.is_store_in_city else {"remote", COORDINATOR}
        is_far = (one in far) != (other in far)
        line = self.network.line(one, other)
        line.latency = found.latency_far if is_far else found.latency_city
        line.jitter = line.latency * found.jitter
        line.rate = found.rate_far if is_far else 0.0

    def _served(self, center: str, process: Process, group: str, volume: str, device: BlockDevice) -> None:
        del group, volume
        export = self.application.served(center, process, device)
        if len(export.devices) > 1:
            return  # the application knows already that the group is served
        engine_charter = self.agents[center].members()[0].charter
        assert engine_charter is not None
        self.ledger.opened(export.epoch, engine_charter.history, f"{process.name}, process {process.number}")
        self.trace.say(center, "serves", f"epoch {export.epoch:x}")
        for tell in self.opened:
            tell(export)
        if self.hosts[center].disk.is_lying:
            # Nothing in this version finds out that an owner's disk gives back other bytes: somebody does.
            self.later(0.0, lambda: self.replace_disk(center))

    # --- the beginning

    def begin(self) -> None:
        """Start all processes and found the group."""
        self.coordinator.start()
        for agent in self.agents.values():
            agent.start()
        self.later(FOUND_S, self._found)
        self.application.start()

    def _found(self) -> None:
        """Until there is a group: whoever founds it types it again after an error."""
        if self.charter is not None:
            return  # for good: a store that is lost later is not filled again by that
        if self.timeline.now >= self._found_at:
            self._found_at = self.timeline.now + FOUND_AGAIN_S
            self.coordinator.create(self.character.group)
        self.later(FOUND_LOOK_S, self._found)

    def end(self) -> None:
        """Take everything down, so that nothing is left half-way."""
        for host in self.hosts.values():
            for process in list(host.processes):
                process.kill()
        self.timeline.run(self.timeline.now)

    # --- time

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Have something happen."""
        self.timeline.after(seconds, action)

    # --- what is so

    @property
    def charter(self) -> Charter | None:
        """The charter in force, as the store has it."""
        return self.coordinator.charter(GROUP_ID)

    @property
    def left(self) -> list[str]:
        """Members that were not lost for ever."""
        return [name for name in NAMES if name not in self.gone]

    def owner_or_any(self) -> str:
        """A member, often the one that serves."""
        owners = [export.center for export in self.application.exports if not export.is_over]
        if owners and self.dice.random() < OWNER_RATE:
            return self.dice.choice(owners)
        return self.dice.choice(NAMES)

    def may_harm(self, name: str) -> bool:
        """Whether the data of a member may be damaged: the others hold everything that was promised."""
        charter = self.charter
        if charter is None or self.is_calm or not self._is_newest(charter):
            return False
        self.forget_harm()
        others = [one for one in sorted(charter.in_sync) if one != name and self.is_sound(one)]
        return self.harmed <= {name} and bool(others)

    def _is_newest(self, charter: Charter) -> bool:
        """Whether nobody has seen a newer charter: a store that was put back names an old in-sync set."""
        members = [member for agent in self.agents.values() for member in agent.members()]
        seen = [(known.generation, known.version) for member in members if (known := member.charter)]
        now = (charter.generation, charter.version)
        self._newest = max([self._newest, now, *seen])
        return now == self._newest

    def forget_harm(self) -> None:
        """Whoever was harmed and has caught up on a disk that is whole is held to its promises again."""
        charter = self.charter
        if charter is not None and self._is_newest(charter):
            self.harmed = {one for one in sorted(self.harmed) if not self._has_recovered(one, charter)}

    def is_sound(self, name: str) -> bool:
        """Whether a member runs and its copy is whole."""
        members = self.agents[name].members()
        if not self.agents[name].is_alive or not members:
            return False
        word = members[0].statement()
        return word.state not in (CopyState.FAILED, CopyState.FORKED) and not (word.unclean or word.amnesic)

    def _has_recovered(self, name: str, charter: Charter) -> bool:
        members = self.agents[name].members()
        if not self.is_sound(name) or self.hosts[name].disk.is_damaged:
            return False
        word = members[0].statement()
        newest = self.ledger.last_promised()
        if self.rolled_back.get(name, NEVER_BACK) > (word.follow, word.durable):
            return False  # nobody may have noticed it yet: that of marks alone tells nothing of writes
        return word.follow == charter.epoch and (newest is None or word.durable >= newest.seq)

    # --- what breaks and is mended

    def cut_for(self, seconds: float, lines: Iterable[tuple[str, str]]) -> None:
        """Cut some lines for a while."""
        cut = list(lines)
        self.cut(cut)
        self.later(seconds, lambda: self.mend(cut))

    def cut(self, lines: Sequence[tuple[str, str]]) -> None:
        """Cut some lines until `mend`; each as often as it was cut."""
        for line in lines:
            self.cuts[line] = self.cuts.get(line, 0) + 1
            self.network.cut(*line)

    def mend(self, lines: Sequence[tuple[str, str]]) -> None:
        """Mend what was cut once. Without effect for what `heal` has mended."""
        for line in lines:
            if self.cuts.get(line):
                self.cuts[line] -= 1
                if not self.cuts[line]:
                    self.network.mend(*line)

    def hold(self, troubles: list[float], trouble: float, seconds: float) -> None:
        """Something is wrong for a while, whatever else is; `heal` may have ended it before."""
        troubles.append(trouble)
        self.later(seconds, lambda: troubles.remove(trouble) if trouble in troubles else None)

    def crash(self, name: str) -> None:
        """A machine loses power, and gets it back after a while."""
        host = self.hosts[name]
        if not host.is_up:
            return
        host.crash()
        self.later(self.dice.uniform(*self.character.boot_s), lambda: self.boot(name))

    def boot(self, name: str) -> None:
        """A machine gets its power back; its services start."""
        host = self.hosts[name]
        if host.is_up or name in self.gone:
            return
        host.boot()
        self.trace.say(name, "boots")
        if name == COORDINATOR:
            self.start_coordinator()
        else:
            self.agents[name].start()

    def start_coordinator(self) -> None:
        """Start the coordinator if it does not run and its machine does."""
        if self.hosts[COORDINATOR].is_up and not self.coordinator.is_alive:
            self.coordinator.start()

    def replace_disk(self, name: str) -> None:
        """Somebody puts in a new, empty disk; the machine starts afresh."""
        host = self.hosts[name]
        self.harmed.add(name)
        host.crash()
        host.disk = self.new_disk(name)
        install(host.disk)
        self._changed(name)
        self.trace.say(name, "has a new disk")
        self.boot(name)

    def replace_disk_later(self, name: str, seconds: float) -> None:
        """Likewise after a while, unless it was replaced before: the new one may be all that is left."""
        disk = self.doomed[name] = self.hosts[name].disk
        self.later(seconds, lambda: self.replace_disk(name) if self.hosts[name].disk is disk else None)

    def restore(self, name: str) -> None:
        """A machine is put back to its snapshot, and boots."""
        host = self.hosts[name]
        self.harmed.add(name)
        host.crash()
        host.disk.restore(self.snapshots[name])
        host.disk.power_cut(self.dice)  # because a snapshot has what was on the disk
        self._changed(name)
        self.boot(name)

    def roll_back(self, name: str) -> None:
        """The directory of an agent is put back to its snapshot while the machine goes on, as a volume is.

        Nothing in it tells of that: the boot is the one in which the snapshot was taken.
        """
        host = self.hosts[name]
        self.harmed.add(name)
        for member in self.agents[name].members():
            self.rolled_back[name] = (member.copy.durable.follow, member.copy.journal.tip.seq)
        self.agents[name].kill()
        host.disk.restore(self.snapshots[name])
        host.disk.power_cut(self.dice)
        self._changed(name)
        self.trace.say(name, "is put back to its snapshot")
        self.agents[name].start()

    def _changed(self, name: str) -> None:
        for tell in self.disk_changed:
            tell(name)

    def rot(self, name: str) -> str:
        """A bit of a replica's journal rots while its machine is dark; somebody replaces the disk later."""
        if any(export.center == name for export in self.application.exports):
            return ""
        disk = self.hosts[name].disk
        segments = [(path, file) for path, file in disk.files() if path.endswith(".seg")]
        if not segments:
            return ""
        self.harmed.add(name)
        self.crash(name)
        path, file = self.dice.choice(segments)
        file.flip(self.dice.randrange(4096, 16_384), self.dice.randrange(8))
        self.replace_disk_later(name, self.dice.uniform(8.0, 15.0))
        return path

    # --- calm

    def heal(self) -> None:
        """Nothing breaks any more, and what is broken is mended."""
        self.is_calm = True
        is_small = self.character.group.policy.journal_quota_bytes <= character.SMALL_QUOTA
        self.application.rate = min(self.character.write_rate, SMALL_RATE if is_small else CALM_RATE)
        self.trace.say("world", "calm")
        self.mend_all()

    def mend_all(self) -> None:
        """What is broken is mended, all at once."""
        self.coordinator.relieve()
        self.cuts.clear()
        self.network.mend_all()
        self.lay_lines()
        for host in self.hosts.values():
            host.disk.faults = None
            host.disk.capacity = None
            host.disk.doom = None
            host.set_rate(1.0)
            host.stall_rate = 0.0
        for name, disk in self.doomed.items():
            if self.hosts[name].disk is disk and name not in self.gone:
                self.replace_disk(name)
        for name in self.places:
            self.boot(name)
        self.keep_up()

    def keep_up(self) -> None:
        """Start what does not run."""
        self.start_coordinator()
        for agent in self.agents.values():
            agent.start()

    def whole_image(self, name: str) -> bytes:
        """What an application would read at a center if it were opened there now: all volumes in a row."""
        member = self.agents[name].members()[0]
        copy = member.copy
        if member.term is None:
            while copy.volumes.record_slice(copy.journal.tip.seq):
                pass
        return bytes(content_of(copy.volumes.views))

    def order(self, what: str, center: str, *, accept_loss: bool = False) -> str:
        """A person asks for something; what came of it is in the trace."""
        if not self.coordinator.is_alive:
            return ""
        group = self.character.group.name
        if what == "switchover":
            self.coordinator.switchover(group, center)
        elif what == "failover" and accept_loss and self.coordinator.is_useless(self.character.group.name):
            self.coordinator.failover(group, center, accept_loss=True, without_store=True)
            return f"somebody asks for a failover to {center} without the store"
        elif what == "failover":
            self.coordinator.failover(group, center, accept_loss=accept_loss)
        else:
            self.coordinator.drill(group, center)
        return f"somebody asks for a {what} to {center}" + (" whatever is lost" if accept_loss else "")
