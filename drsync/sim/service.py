"""A service of a simulated machine: started, killed, stopped and started again, as by systemd."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable

from drsync.sim.host import Host
from drsync.sim.process import Process

AGAIN_S = 2.0  # because agents/systemd/drsync-agent.service says RestartSec=2s

Tell = Callable[[str, str, str], None]
"""Who hears what services say: name, event, reason."""


def nobody(name: str, event: str, reason: str) -> None:
    """Nobody listens."""
    del name, event, reason


def as_the_unit_says() -> float:
    """How long systemd waits before it starts a service again that died."""
    return AGAIN_S


class Service(ABC):
    """One service over all its processes.

    Attributes:
        name: its place in the network.
        host: the machine.
        process: the running one, or the one that ran last; None before the first.
        starts: processes started so far.
        bugs: exceptions that nobody foresaw, of all its processes.
    """

    def __init__(
        self, host: Host, name: str, *, process_name: str, tell: Tell, again_s: Callable[[], float]
    ) -> None:
        """It is not started yet. `again_s`: after how long one that died by itself is started again."""
        self.name = name
        self.host = host
        self.process: Process | None = None
        self.starts = 0
        self.bugs: list[BaseException] = []
        self._process_name = process_name
        self._tell = tell
        self._again_s = again_s
        self._stop: asyncio.Event | None = None
        self._is_wanted = False

    @property
    def is_alive(self) -> bool:
        """Whether there is a process, running or stopped by a signal."""
        return self.process is not None and self.process.is_alive

    def start(self) -> None:
        """Start a process. Without effect while one is alive or the machine is down."""
        if self.is_alive or not self.host.is_up:
            return
        self._is_wanted = True
        self.starts += 1
        process = self.process = self.host.process(self._process_name)
        process.at_end.append(lambda: self._ended(process))
        process.spawn(self._run(process))

    def kill(self) -> None:
        """SIGKILL: what the kernel and the disk have stays. It is down until `start`."""
        self._is_wanted = False
        if self.process is not None:
            self.process.kill()

    def stop(self) -> None:
        """SIGTERM: it ends cleanly. It is down until `start`."""
        self._is_wanted = False
        if self.process is not None and self._stop is not None:
            self.process.run_soon(self._stop.set)

    def restart(self) -> None:
        """Kill it and start it at once."""
        self.kill()
        self.start()

    def heard(self, event: str, reason: str) -> None:
        """Its process said something."""
        self._tell(self.name, event, reason)

    async def _run(self, process: Process) -> None:
        """Everything in a process: its work until it ends, then nothing any more."""
        self._stop = asyncio.Event()
        await self._main(process, self._stop)
        process.kill()

    @abstractmethod
    async def _main(self, process: Process, stop: asyncio.Event) -> None:
        """The work of a process until `stop` is set or it fails."""

    def _ended(self, process: Process) -> None:
        """The machine may have lost power; else the service manager starts it again."""
        self._stop = None
        self._forget()
        self.heard("process_ended", self._name_of(process))
        if self._is_wanted and self.host.is_up:
            self.host.timeline.after(self._again_s(), self._start_again)

    @abstractmethod
    def _forget(self) -> None:
        """Its process is gone: nothing that was in it is there any more."""

    def _name_of(self, process: Process) -> str:
        """What a listener is told of a process."""
        return process.name

    def _start_again(self) -> None:
        if self._is_wanted:
            self.start()


class StoppedError(Exception):
    """Ends a task group on a clean stop."""


async def end_with(stop: asyncio.Event) -> None:
    """Wait to be stopped. Raises StoppedError."""
    await stop.wait()
    raise StoppedError


def leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """What is in a group and in the groups in it."""
    found: list[BaseException] = []
    for error in group.exceptions:
        found += leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
