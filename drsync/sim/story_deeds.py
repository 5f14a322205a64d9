"""What people, power and cables do in a story: each deed is told, then done."""

from abc import ABC, abstractmethod

from drsync.sim.character import COORDINATOR
from drsync.sim.coordinator import Order
from drsync.sim.disk import Disk, Faults
from drsync.sim.disk_nodes import PAGE
from drsync.sim.host import Host
from drsync.sim.process import Process
from drsync.sim.story_words import called, listed, running
from drsync.sim.world import World

FIRST_RECORDS = 4096 + 300  # bytes from the beginning of a segment, because its header is a page
UNUSED = 40_000  # bytes from the beginning of a volume, because stories write only to the first 8 KiB


class Deeds(ABC):
    """What is done to one world.

    Attributes:
        world: for what has no words of its own here.
    """

    world: World

    @abstractmethod
    def say(self, text: str) -> None:
        """Something that the reader should know, at this moment."""

    # --- lines

    def isolate(self, *names: str) -> None:
        """Places are cut off from all others; they still reach each other."""
        others = [place for place in self.world.places if place not in names]
        whom = "everybody" if len(names) == 1 else "everybody else"
        self.say(f"{listed(names)} {'is' if len(names) == 1 else 'are'} cut off from {whom}.")
        for name in names:
            for other in others:
                self._cut(name, other)

    def cut(self, one: str, other: str) -> None:
        """Two places are cut off from each other."""
        self.say(f"{called(one)} and {called(other)} do not hear each other any more.")
        self._cut(one, other)

    def deafen(self, listener: str, speaker: str) -> None:
        """One place does not hear another, which goes on hearing it."""
        self.say(f"{called(listener)} does not hear {called(speaker)} any more; the other way works.")
        self.world.network.cut(speaker, listener)

    def _cut(self, one: str, other: str) -> None:
        self.world.network.cut(one, other)
        self.world.network.cut(other, one)

    def mend(self) -> None:
        """All lines are as they were."""
        self.say("All lines are mended.")
        self.world.network.mend_all()
        self.world.lay_lines()

    def mend_line(self, one: str, other: str) -> None:
        """One line is as it was."""
        self.say(f"The line between {called(one)} and {called(other)} is mended.")
        self.world.network.mend(one, other)
        self.world.network.mend(other, one)

    def slow(self, one: str, other: str, rate: float) -> None:
        """The line between two places takes only so many bytes a second each way."""
        self.say(f"The line between {called(one)} and {called(other)} takes only {rate:.0f} bytes a second.")
        self.world.network.line(one, other).rate = rate
        self.world.network.line(other, one).rate = rate

    def lose_packets(self, one: str, other: str, share: float) -> None:
        """A line has to send a share of everything again."""
        self.say(f"The line between {called(one)} and {called(other)} loses {share:.0%} of what is sent.")
        self.world.network.line(one, other).loss = share
        self.world.network.line(other, one).loss = share

    def reset(self, one: str, other: str) -> None:
        """All connections between two places break."""
        self.say(f"The connections between {called(one)} and {called(other)} are reset.")
        self.world.network.reset(one, other)

    # --- processes

    def _process(self, name: str) -> Process:
        machine = self.world.coordinator if name == COORDINATOR else self.world.agents[name]
        assert machine.process is not None
        return machine.process

    def kill(self, name: str) -> None:
        """SIGKILL; it stays down."""
        self.say(f"{running(name)} is killed.")
        (self.world.coordinator if name == COORDINATOR else self.world.agents[name]).kill()

    def crash_in_a_call(self, name: str, number: int) -> None:
        """The agent dies within a change of a file; the service manager starts it again."""
        self.say(f"{running(name)} will die within file call {number} from now.")
        self.world.hosts[name].disk.die_at(number, "within")

    def start(self, name: str) -> None:
        """An agent or the coordinator is started."""
        self.say(f"{running(name)} is started again.")
        (self.world.coordinator if name == COORDINATOR else self.world.agents[name]).start()

    def freeze(self, name: str) -> None:
        """SIGSTOP."""
        self.say(f"{running(name)} stands still (SIGSTOP).")
        self._process(name).stop("signal")

    def thaw(self, name: str) -> None:
        """SIGCONT."""
        self.say(f"{running(name)} goes on (SIGCONT).")
        self._process(name).resume("signal")

    # --- machines

    def host(self, name: str) -> Host:
        """A machine."""
        return self.world.hosts[name]

    def power_off(self, *names: str) -> None:
        """Machines lose power, and stay without."""
        self.say(f"{listed(names)} {'loses' if len(names) == 1 else 'lose'} power.")
        for name in names:
            self.world.hosts[name].crash()

    def power_on(self, *names: str) -> None:
        """They get it back, and boot."""
        self.say(f"The power of {listed(names)} is back.")
        for name in names:
            self.world.boot(name)

    def suspend(self, name: str, seconds: float) -> None:
        """A virtual machine stands still; its boot clock goes on, as it should."""
        self.say(f"The machine of {called(name)} is suspended for {seconds:g} s.")
        self.world.hosts[name].suspend(seconds, counts=True)

    def set_wall_clock(self, name: str, hours: int) -> None:
        """Somebody sets a wall clock."""
        way = "forward" if hours > 0 else "back"
        self.say(f"The wall clock of {called(name)} is set {way} by {abs(hours)} h.")
        self.world.hosts[name].jump_wall(3600.0 * hours)

    # --- disks

    def disk(self, name: str) -> Disk:
        """What survives of a machine."""
        return self.world.hosts[name].disk

    def break_disk(self, name: str, what: str, faults: Faults) -> None:
        """A disk goes wrong in some way from now on."""
        self.say(f"The disk of {called(name)} {what}.")
        self.world.harmed.add(name)
        self.disk(name).faults = faults

    def rot_image(self, name: str) -> None:
        """A byte of an image changes on the medium; nobody is told."""
        file = next(file for path, file in self.disk(name).files() if path.endswith(".img"))
        self.world.harmed.add(name)
        file.flip(UNUSED)

    def rot_journal(self, name: str) -> None:
        """A bit in the first records of a journal changes on the medium."""
        self.say(f"A bit in the journal of {called(name)} rots, below what was known to be durable.")
        file = next(file for path, file in self.disk(name).files() if path.endswith(".seg"))
        self.world.harmed.add(name)
        file.flip(FIRST_RECORDS)

    def fill_disk(self, name: str, room: int = 0) -> None:
        """A disk has only so many bytes left."""
        self.say(f"The disk of {called(name)} is full.")
        disk = self.disk(name)
        disk.capacity = sum(file.blocks for _, file in disk.files()) * PAGE + room

    def make_room(self, name: str) -> None:
        """It has space again."""
        self.say(f"Somebody makes room on the disk of {called(name)}.")
        self.disk(name).capacity = None

    def replace_disk(self, name: str) -> None:
        """A new, empty disk; the machine boots."""
        self.say(f"The machine of {called(name)} gets a new, empty disk, and boots.")
        self.world.replace_disk(name)

    def take_snapshot(self, name: str) -> None:
        """Of the machine's disk."""
        self.say(f"Somebody takes a snapshot of the machine of {called(name)}.")
        self.world.snapshots[name] = self.disk(name).snapshot()

    def restore_snapshot(self, name: str) -> None:
        """The machine is put back to it, and boots."""
        self.say(f"The machine of {called(name)} is put back to the snapshot.")
        self.world.restore(name)

    # --- the store

    def fill_store(self, seconds: float) -> None:
        """The coordinator's disk has no room for a while."""
        self.say("The disk of the coordinator is full.")
        self.world.coordinator.fill_disk(seconds)

    def back_up_store(self) -> bytes:
        """A copy of the coordinator's database."""
        self.say("The coordinator's database is backed up.")
        return self.world.coordinator.backup()

    def restore_store(self, backup: bytes, which: str = "that backup") -> None:
        """The coordinator starts with another database, on a machine that was booted."""
        self.say(f"The coordinator is started with {which}.")
        self.world.hosts[COORDINATOR].crash()
        self.world.hosts[COORDINATOR].boot()
        self.world.coordinator.restart(backup)
        self._store_changed()

    def lose_store(self) -> None:
        """The coordinator's disk is gone; it is started with an empty one."""
        self.say("The coordinator's disk is lost. It is started with an empty one.")
        self.world.coordinator.lose_store()
        self._store_changed()
        self.world.coordinator.start()

    @abstractmethod
    def _store_changed(self) -> None:
        """What is looked at from outside must not be compared with what was there before."""

    # --- people

    def resize(self, volume: str, size: int, *, without: str = "") -> Order:
        """A person asks for a volume to grow."""
        group = self.world.character.group.name
        words = f"drsync volume resize {group}/{volume} --size {size}B"
        words += f' --without {without} --reason "it is away"' if without else ""
        self.say(f"Somebody types: {words}")
        return self.world.coordinator.resize(group, volume, size, without=without, reason="it is away")

    def order(
        self,
        kind: str,
        to: str,
        *,
        accept_loss: bool = False,
        dry_run: bool = False,
        without_store: bool = False,
    ) -> Order:
        """A person asks for a switchover, failover or drill."""
        coordinator, group = self.world.coordinator, self.world.character.group.name
        options = ((accept_loss, "--accept-loss"), (dry_run, "--dry-run"), (without_store, "--without-store"))
        words = [f"drsync {kind} {group}", "--at" if kind == "drill" else "--to", to]
        words += [option for is_set, option in options if is_set]
        self.say(f"Somebody types: {' '.join(words)}")
        if kind == "switchover":
            return coordinator.switchover(group, to)
        if kind == "failover":
            return coordinator.failover(
                group, to, accept_loss=accept_loss, dry_run=dry_run, without_store=without_store
            )
        return coordinator.drill(group, to)
