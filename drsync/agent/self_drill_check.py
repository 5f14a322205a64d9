"""One check of an opened point: what the group asks for, done on a view in the background."""

import errno
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from drsync.adapters.nbd.address import make_uri
from drsync.agent.front_end import FrontEnd
from drsync.agent.self_drill_bench import CHECKERS, Bench, Finding, Setting
from drsync.agent.self_drill_exports import PacedExports, Spawn
from drsync.agent.view_desk import PROBE_BYTES, filesystem_of
from drsync.engine.background_reading import BackgroundReading, Pace
from drsync.engine.threads import in_long_thread
from drsync.engine.views import GroupView
from drsync.model.errors import DrsyncError, NoSpaceError, RefusedError, TransientError, UsageError
from drsync.model.group import VolumeSpec
from drsync.model.point_proof import Outcome
from drsync.model.self_drill import Check, SelfDrill
from drsync.ports.clock import Clock

Work = Callable[[Bench, Setting], Awaitable[Finding]]

MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check came to. `stored`: bytes that were too many to be read in time; else 0."""

    outcome: Outcome
    text: str
    digest: str = ""
    stored: int = 0


class Checker:
    """Checks one view. One use; everything it made is gone when `run` ends, however it ends."""

    def __init__(
        self,
        view: GroupView,
        policy: SelfDrill,
        bench: Bench | None,
        front: FrontEnd,
        clock: Clock,
        spawn: Spawn,
    ) -> None:
        """`bench` runs programs; None where none can be."""
        self._view = view
        self._policy = policy
        self._bench = bench
        self._front = front
        self._clock = clock
        self._spawn = spawn
        self._pace = Pace(policy.rate, clock.now())
        self._reading = BackgroundReading(view, clock, self._pace)
        self._began = clock.now()

    async def run(self, facts: Mapping[str, str]) -> Checked:
        """Check; `facts` are for programs.

        Raises:
            DrsyncError: the view was given up, or cannot be read just now.
        """
        volumes = list(self._view.spec.volumes)
        match self._policy.check:
            case Check.PROGRAM:
                return await self._with_program(facts)
            case Check.FILESYSTEM:
                return await self._filesystems(volumes, facts)
            case _:
                return await self._read(volumes)

    async def _read(self, volumes: list[VolumeSpec]) -> Checked:
        most = int(self._policy.rate * self._policy.max_time_s)
        stored = await self._reading.stored_bytes(volumes, most)
        if stored > most:
            seconds = self._policy.max_time_s
            words = f"more than {most / MIB:.0f} MiB is stored, which is not read in {seconds:.0f} s"
            return Checked(Outcome.UNKNOWN, words, stored=stored)
        found = await self._reading.read(volumes)
        return Checked(Outcome.PROVED, f"{found.bytes / MIB:.0f} MiB read", found.digest)

    async def _filesystems(self, volumes: list[VolumeSpec], facts: Mapping[str, str]) -> Checked:
        systems = {volume.name: system for volume in volumes if (system := await self._system(volume))}
        rest = [volume for volume in volumes if volume.name not in systems]
        if systems:
            found = await self._served(facts, lambda bench, setting: bench.filesystems(setting, systems))
            if found.outcome is not Outcome.PROVED or not rest:
                return found
        else:
            found = Checked(Outcome.PROVED, "no volume bears a file system")
        read = await self._read(rest)
        return Checked(read.outcome, f"{found.text}; of {_names(rest)} {read.text}", stored=read.stored)

    async def _with_program(self, facts: Mapping[str, str]) -> Checked:
        argv = self._policy.program
        return await self._served(facts, lambda bench, setting: bench.program(setting, argv))

    async def _served(self, facts: Mapping[str, str], work: Work) -> Checked:
        """With the volumes served to programs. What could not be tried is not known."""
        if self._bench is None:
            return Checked(Outcome.UNKNOWN, "no programs are run here")
        exports = PacedExports(self._view, self._pace, self._clock, self._spawn)
        server = self._front.server(self._view.id, exports)
        try:
            await server.start()
            path = self._front.path(self._view.id)
            uris = {volume.name: make_uri(volume.name, path) for volume in self._view.spec.volumes}
            left = self._policy.max_time_s - (self._clock.now() - self._began)
            found = await work(self._bench, Setting(self._view.id, uris, facts, max(1.0, left)))
        except (RefusedError, UsageError, TransientError, NoSpaceError, OSError) as error:
            remedy = f" ({error.remedy})" if isinstance(error, DrsyncError) and error.remedy else ""
            found = Finding(Outcome.UNKNOWN, f"{error}{remedy}")
        finally:
            await server.stop(answers=False)
        return self._trusted(found, exports)

    def _trusted(self, found: Finding, exports: PacedExports) -> Checked:
        """A program's word counts only if its disk was there all the time."""
        if found.outcome is not Outcome.UNKNOWN and self._view.quota.was_short:
            most = f"at most {self._view.quota.most >> 20} MiB"
            return Checked(Outcome.UNKNOWN, f"what it wrote could not be kept ({most}): {found.text}")
        if found.outcome is not Outcome.UNKNOWN and exports.errors:
            word = errno.errorcode[errno.EIO]
            return Checked(Outcome.UNKNOWN, f"the point could not be read: {exports.errors} times {word}")
        return Checked(found.outcome, found.text)

    async def _system(self, volume: VolumeSpec) -> str:
        """Name of the file system that a checker is known for; empty without one."""
        head = bytearray(min(PROBE_BYTES, volume.size))
        reader = self._view.reader(volume)
        await in_long_thread(lambda: reader.read_into(0, memoryview(head)))
        system = filesystem_of(bytes(head))
        return system if system in CHECKERS else ""


def _names(volumes: list[VolumeSpec]) -> str:
    return ", ".join(volume.name for volume in volumes)
