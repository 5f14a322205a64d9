"""A simulated machine: its clocks, its disk, its power, and the processes on it."""

import asyncio
import random
from collections.abc import Callable

from drsync.sim.disk import Disk
from drsync.sim.disk_files import DiskFiles
from drsync.sim.process import Process
from drsync.sim.timeline import Entry, Timeline

BOOT_MAX_S = 1e6  # because clocks of different machines must never be comparable by accident
WALL_START_US = 1_790_000_000_000_000  # because labels should look like dates
THREAD_LOW_S, THREAD_HIGH_S = 0.000_2, 0.004  # because an fsync of an SSD takes about that
STALL_RATE = 0.002  # of the work in threads
STALL_S = 1.5  # because a disk with a bad sector retries for so long


class Host:
    """One machine.

    Attributes:
        name: its place in the network.
        boot_id: changes with every boot.
        rate: of its clock that counts since boot; 1 is right.
        disk: what survives.
        processes: those alive.
        is_up: whether it has power.
        wall_step_us: how far its wall clock jumps each second, forth and back; what decides must not notice.
    """

    def __init__(self, timeline: Timeline, name: str, dice: random.Random, disk: Disk) -> None:
        self.timeline = timeline
        self.name = name
        self.disk = disk
        self.rate = 1.0
        self.is_up = True
        self.stall_rate = STALL_RATE
        self.wall_step_us = 0
        self.processes: list[Process] = []
        self.boots = 0
        self._dice = dice
        self._since = timeline.now
        self._shown = dice.uniform(0, BOOT_MAX_S)
        self._wall_us = WALL_START_US
        self._resume: Entry | None = None
        self._resumes_at = 0.0
        self._rate_awake = 1.0
        self._is_suspended = False
        self.boot_id = ""
        self._new_boot()

    def _new_boot(self) -> None:
        self.boots += 1
        self.boot_id = f"{self.name}-boot-{self.boots}"

    # --- clocks

    def boottime(self) -> float:
        """See `Machine`. Never goes back; runs at `rate`."""
        return self._shown + (self.timeline.now - self._since) * self.rate

    def instant_of(self, boottime: float) -> float:
        """See `Machine`: as far as can be told now."""
        return self._since + (boottime - self._shown) / (self.rate or 1e-9)

    def wall_us(self) -> int:
        """Microseconds since 1970; may be set."""
        jumps = self.wall_step_us if int(self.timeline.now) & 1 else -self.wall_step_us
        return self._wall_us + int(self.timeline.now * 1e6) + jumps

    def set_rate(self, rate: float) -> None:
        """From now on its clock drifts; while it stands still, when it goes on."""
        if self._is_suspended and rate:
            self._rate_awake = rate
            return
        self._shown, self._since = self.boottime(), self.timeline.now
        self.rate = rate

    def jump_wall(self, seconds: float) -> None:
        """Somebody sets the wall clock."""
        self._wall_us += int(seconds * 1e6)

    def thread_delay(self) -> float:
        """See `Machine`."""
        dice = self._dice
        late_s = self.disk.late_s()
        if dice.random() < self.stall_rate:
            return late_s + dice.uniform(THREAD_HIGH_S, STALL_S)
        return late_s + dice.uniform(THREAD_LOW_S, THREAD_HIGH_S)

    # --- processes and power

    def process(self, name: str) -> Process:
        """A new process. The machine must be up."""
        assert self.is_up, f"{self.name} is down"
        made = Process(self, f"{name}@{self.name}")
        made.at_end.append(lambda: self.processes.remove(made))
        self.processes.append(made)
        if self._is_suspended:
            made.stop("suspended")
        return made

    def files(self, process: Process) -> DiskFiles:
        """The disk as a process uses it: it stands still while the disk stalls, and may die in a call.

        A thread of it that stalls was late before it began (`thread_delay`): it makes nobody else wait.
        """

        def stalled(seconds: float) -> None:
            if process.is_in_thread:
                return
            process.stop("disk")
            self.timeline.after(seconds, lambda: process.resume("disk"))

        def later(call: Callable[[], None]) -> None:
            process.call_later(self.thread_delay(), call)

        files = DiskFiles(self.disk, stalled, process.kill, later if self.disk.has_ring else None)
        process.at_end.append(files.die)
        return files

    def suspend(self, seconds: float, *, counts: bool) -> None:
        """The machine stands still; `counts`: whether its boottime goes on meanwhile, as it should.

        Who suspends it once more may prolong that, not shorten it.
        """
        if not self.is_up:
            return
        if not self._is_suspended:
            self._is_suspended = True
            self._rate_awake = self.rate
            for process in self.processes:
                process.stop("suspended")
        if not counts:
            self.set_rate(0.0)
        until = self.timeline.now + seconds
        if self._resume is not None:
            if until <= self._resumes_at:
                return
            self._resume.cancel()
        self._resumes_at = until
        self._resume = self.timeline.after(seconds, self._wake)

    def _wake(self) -> None:
        self._is_suspended = False
        self._resume = None
        self.set_rate(self._rate_awake)
        for process in list(self.processes):
            process.resume("suspended")

    def crash(self) -> None:
        """The power goes: processes are gone, and what was not synced may be."""
        if not self.is_up:
            return
        self.is_up = False
        if self._resume is not None:
            self._resume.cancel()
            self._wake()
        for process in list(self.processes):
            process.kill()
        self.disk.power_cut(self._dice)

    def boot(self) -> None:
        """The power is back."""
        if not self.is_up:
            self.is_up = True
            self._new_boot()


class HostClock:
    """`ports.clock.Clock` of a process."""

    def __init__(self, host: Host, process: Process) -> None:
        self._host, self._process = host, process

    def now(self) -> float:
        """See Clock."""
        return self._host.boottime()

    def wall_us(self) -> int:
        """See Clock."""
        return self._host.wall_us()

    async def sleep_until(self, instant: float) -> None:
        """See Clock."""
        if instant <= self._host.boottime():
            await asyncio.sleep(0)
            return
        future: asyncio.Future[object] = self._process.create_future()
        handle = self._process.call_at(instant, _wake, future)
        try:
            await future
        finally:
            handle.cancel()

    def until_round(self, period_s: float, slack_s: float = 0.0) -> float:
        """See Clock. Nobody is waited for: each loop has rounds of its own."""
        return period_s


def _wake(future: asyncio.Future[object]) -> None:
    if not future.done():
        future.set_result(None)


class HostDice:
    """`ports.clock.Random`, reproducible."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice

    def hex128(self) -> str:
        """See Random."""
        return f"{self._dice.getrandbits(128):032x}"

    def uniform(self, low: float, high: float) -> float:
        """See Random."""
        return self._dice.uniform(low, high)
