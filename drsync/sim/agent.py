"""The shipped agent on a simulated machine: started, killed, stopped and started again, as by systemd."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import override

from drsync.adapters.segments.files import ensure_directory, sync_directory
from drsync.agent.agent import Agent, Outside
from drsync.agent.copies import DiskCopies
from drsync.agent.start_token import StartToken
from drsync.engine.copy import GroupCopy
from drsync.engine.member import Member
from drsync.model.errors import DrsyncError, MalformedError
from drsync.ports.volume import BlockDevice
from drsync.sim.disk import Disk
from drsync.sim.disk_files import DiskFiles
from drsync.sim.front_end import SimFrontEnd
from drsync.sim.host import Host, HostClock, HostDice
from drsync.sim.network import Network
from drsync.sim.process import Process
from drsync.sim.service import Service, StoppedError, Tell, as_the_unit_says, end_with, leaves
from drsync.sim.transport import SimTransport

STATE_DIR = Path("/var/lib/drsync")
SEGMENT_BYTES = 64 << 10  # because a short world should see segments end, be trimmed and be reused

AtStart = Callable[[Process, Agent], None]
"""Told of each process and the agent in it, before that opens anything."""

AtCopy = Callable[[GroupCopy], None]
"""Told of each copy as it was found on the disk, before anything is asked of it."""

Served = Callable[[str, Process, str, str, BlockDevice], None]
"""Told when a volume can be used: center, process, group, volume, device. Call the device in that process."""


def _nobody(center: str, process: Process, group: str, volume: str, device: BlockDevice) -> None:
    """No application runs."""
    del center, process, group, volume, device


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the world does with its agents.

    Attributes:
        tell, served: who hears of them.
        again_s: after how many seconds a process that died by itself is started again.
    """

    tell: Tell
    served: Served = _nobody
    again_s: Callable[[], float] = as_the_unit_says


class SimAgent(Service):
    """One center's agent, over all its processes; its name is the center's.

    Attributes:
        agent: in the running process, once it has begun; None while there is none.
        front: what is served now.
        at_start, at_copy: who looks at its processes and copies from outside.
    """

    def __init__(
        self,
        host: Host,
        network: Network,
        name: str,
        peers: tuple[str, ...],
        cluster: str,
        dice: random.Random,
        around: Surroundings,
    ) -> None:
        super().__init__(host, name, process_name="agent", tell=around.tell, again_s=around.again_s)
        self.agent: Agent | None = None
        self.front: SimFrontEnd | None = None
        self.at_start: list[AtStart] = []
        self.at_copy: list[AtCopy] = []
        self._network = network
        self._peers = peers
        self._cluster = cluster
        self._dice = dice
        self._around = around
        install(host.disk)

    def members(self) -> list[Member]:
        """The groups here, as the running process knows them; none while it does not run."""
        return self.agent.members() if self.agent is not None else []

    @override
    def _forget(self) -> None:
        self.agent = self.front = None

    # --- inside the process

    @override
    async def _main(self, process: Process, stop: asyncio.Event) -> None:
        agent: Agent | None = None
        try:
            agent = self._make(process)
            for tell in self.at_start:
                tell(process, agent)
            await agent.open()
            self.agent = agent
            async with asyncio.TaskGroup() as tasks:
                await agent.start(tasks)
                tasks.create_task(end_with(stop))
        except* StoppedError:
            assert agent is not None
            await agent.close()
        except* (DrsyncError, OSError) as errors:
            self.heard("process_failed", "; ".join(str(error) for error in leaves(errors)))
        except* Exception as errors:  # noqa: BLE001  # whatever escaped is a bug, and the world must know
            for error in leaves(errors):
                self.bug("main", error)

    def _make(self, process: Process) -> Agent:
        host, clock = self.host, HostClock(self.host, process)
        files = host.files(process)
        self.front = SimFrontEnd(_Applications(self, process))
        return Agent(
            Outside(
                center=self.name,
                cluster=self._cluster,
                peers=self._peers,
                boot_id=host.boot_id,
                transport=SimTransport(self._network, process, self.name),
                clock=clock,
                dice=HostDice(self._dice),
                copies=DiskCopies(STATE_DIR, self._cluster, self.name, files, SEGMENT_BYTES),
                token=StartToken(STATE_DIR, files),
                front=self.front,
                make_trees=None,
                lines=_SimLines(self),
                about={"address": self.name, "state_dir": str(STATE_DIR)},
            )
        )

    # --- what the process says

    def bug(self, where: str, error: BaseException) -> None:
        """Something escaped in the running process."""
        self.bugs.append(error)
        self.heard("bug", f"{where}: {error!r}")

    def serves(self, process: Process, group: str, volume: str, device: BlockDevice) -> None:
        """The running process serves a volume."""
        self._around.served(self.name, process, group, volume, device)


def install(disk: Disk) -> None:
    """The directory that comes with the package, long before anybody could lose power."""
    files = DiskFiles(disk)
    ensure_directory(files, STATE_DIR)
    for directory in STATE_DIR.parents:
        sync_directory(files, directory)
    files.die()


class _Applications:
    """`front_end.Customers` at one center."""

    def __init__(self, agent: SimAgent, process: Process) -> None:
        self._agent, self._process = agent, process

    def served(self, group: str, volume: str, device: BlockDevice) -> None:
        """See Customers."""
        self._agent.serves(self._process, group, volume, device)

    def dropped(self, group: str) -> None:
        """See Customers: devices of an ended term say so themselves."""
        self._agent.heard("dropped", group)


class _SimLines:
    """`agent.lines.Lines` to the listener of the world."""

    def __init__(self, agent: SimAgent) -> None:
        self._agent = agent

    def say(self, event: str, reason: str) -> None:
        """See Lines."""
        self._agent.heard(event, reason)

    def say_of(self, copy: GroupCopy, event: str, reason: str) -> None:
        """See Lines."""
        if event == "copy_opened":
            for tell in self._agent.at_copy:
                tell(copy)
        self._agent.heard(event, f"{copy.spec.name}: {reason}")

    def malformed(self, peer: str, error: MalformedError) -> None:
        """See Lines."""
        self._agent.heard("malformed", f"{peer}: {error}")

    def bug(self, where: str, error: Exception) -> None:
        """See Lines."""
        self._agent.bug(where, error)
