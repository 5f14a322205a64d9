"""The four processes of a lab: started, waited for, stopped, disturbed; and the way to their coordinator."""

import asyncio
import fcntl
import os
import shutil
import signal
import stat
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from drsync.adapters.api_client.client import ApiClient
from drsync.adapters.api_client.doc import Doc
from drsync.lab import processes, record
from drsync.lab.configs import HTTP
from drsync.lab.layout import CENTER_NAMES, COORDINATOR, PROCESSES, Layout
from drsync.lab.ports import HOST
from drsync.lab.record import LabRecord, Process
from drsync.model.errors import DrsyncError, PermanentError, RefusedError, TransientError, UsageError

CONNECT_SECONDS = 60.0  # because four interpreters start at once on two cores, and journals are read again
STOP_SECONDS = 15.0  # because an agent closes its journals cleanly, and a slow disk takes seconds for it
KILL_SECONDS = 5.0
POLL_S = 0.1
LOG_LINES = 12  # because the reason of a process that died is in its last lines

Heard = Callable[[str], None]
"""Told the name of each process as it is ready."""


class Cluster:
    """A lab that exists; everything is read from its directory, because other commands change it too."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    # --- the record

    @property
    def record(self) -> LabRecord:
        """What the lab remembers.

        Raises:
            UsageError: there is no lab.
        """
        found = record.load(self.layout.record)
        if found is None:
            raise UsageError(
                f"there is no lab in {self.layout.root}",
                code="no_lab",
                remedy="Start one with drsync lab up, or name its directory with --dir.",
            )
        return found

    def remember(self, change: Callable[[LabRecord], LabRecord]) -> LabRecord:
        """Change the record; no other command changes it meanwhile."""
        with locked(self.layout.lock):
            changed = change(self.record)
            record.save(self.layout.record, changed)
            return changed

    # --- processes

    def alive(self) -> dict[str, Process]:
        """The processes that run now."""
        return {name: p for name, p in self.record.processes.items() if processes.is_alive(p)}

    @property
    def is_running(self) -> bool:
        """Whether all four run."""
        return len(self.alive()) == len(PROCESSES)

    def require_some(self) -> None:
        """The lab was started.

        Raises:
            UsageError: there is no lab.
            TransientError: nothing of it runs.
        """
        if not self.alive():
            raise TransientError(
                f"the lab in {self.layout.root} does not run", code="not_running", remedy="drsync lab up"
            )

    def start(self, name: str) -> Process:
        """Start a process from its configuration, unless it runs."""
        running = self.alive().get(name)
        if running is not None:
            return running
        make_run_root(self.layout)
        kind = "coordinator" if name == COORDINATOR else "agent"
        command = ["-m", "drsync.cli.main", kind, "run", "--config", str(self.layout.config(name))]
        # -P, because the current directory is the person's and may hold anything.
        process = processes.start([sys.executable, "-P", *command], self.layout.log(name), os.environ)
        self.remember(lambda known: known.with_process(name, process))
        return process

    async def stop(self, name: str, *, is_kind: bool = True) -> bool:
        """Stop a process, by SIGKILL if it is not to be kind; whether it ended without force."""
        process = self.alive().get(name)
        ended_well = True
        if process is not None:
            processes.send(process, signal.SIGTERM if is_kind else signal.SIGKILL)
            processes.send(process, signal.SIGCONT)  # one that is paused would not hear it
            ended_well = await processes.wait_until_gone(process, STOP_SECONDS if is_kind else KILL_SECONDS)
            if not ended_well:
                processes.send(process, signal.SIGKILL)
                await processes.wait_until_gone(process, KILL_SECONDS)
        self.remember(lambda known: known.with_process(name, None))
        return ended_well

    async def stop_all(self) -> list[str]:
        """Stop everything, the coordinator last; the names of those that had to be killed."""
        async with asyncio.TaskGroup() as tasks:
            ends = {name: tasks.create_task(self.stop(name)) for name in CENTER_NAMES}
        killed = [name for name, end in ends.items() if not end.result()]
        if not await self.stop(COORDINATOR):
            killed.append(COORDINATOR)
        if self.layout.is_run_root_outside:
            shutil.rmtree(self.layout.run_root, ignore_errors=True)
        return killed

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a process.

        Raises:
            TransientError: it does not run.
        """
        process = self.alive().get(name)
        if process is None or not processes.send(process, number):
            raise TransientError(
                f"{name} does not run", code="not_running", remedy=f"drsync lab fault restart {name}"
            )

    async def kill(self, name: str) -> None:
        """SIGKILL a process; it is gone when this returns, but still on record as one that should run.

        Raises:
            TransientError: it does not run.
        """
        process = self.alive().get(name)
        self.signal(name, signal.SIGKILL)
        if process is not None:
            await processes.wait_until_gone(process, KILL_SECONDS)

    def require_alive(self, names: tuple[str, ...]) -> None:
        """Every one of these processes runs.

        Raises:
            PermanentError: one of them ended; with its exit code and last words.
        """
        alive = self.alive()
        for name in names:
            if name not in alive:
                raise self._died(name)

    def _died(self, name: str) -> PermanentError:
        process = self.record.processes.get(name)
        code = processes.collect(process) if process is not None else None
        how = (
            "ended"
            if code is None
            else f"was killed by signal {-code}"
            if code < 0
            else f"ended with exit code {code}"
        )
        words = processes.last_lines(self.layout.log(name), LOG_LINES)
        log = "".join(f"\n  │ {line}" for line in words) or " (nothing)"
        return PermanentError(
            f"{name} {how}; its last words were:{log}",
            code="process_died",
            remedy=f"The whole log is in {self.layout.log(name)}.",
        )

    # --- the coordinator

    @property
    def url(self) -> str:
        """Where the coordinator answers people and tools."""
        return f"http://{HOST}:{self.record.ports[HTTP]}"

    @asynccontextmanager
    async def api(self) -> AsyncIterator[ApiClient]:
        """A connection to the coordinator."""
        async with ApiClient(self.url, self.layout.token) as client:
            yield client

    async def status(self) -> Doc | None:
        """The coordinator's status, None when it does not answer."""
        try:
            async with self.api() as client:
                return await client.get("/v1/status")
        except DrsyncError:
            return None

    async def wait_for(
        self,
        what: str,
        is_reached: Callable[[Doc], bool],
        seconds: float,
        needed: tuple[str, ...] = PROCESSES,
    ) -> Doc:
        """The first status that satisfies `is_reached`.

        Raises:
            TransientError: it did not come about in time.
            PermanentError: one of the processes in `needed` ended.
        """
        deadline = time.monotonic() + seconds
        last: DrsyncError | None = None
        async with self.api() as client:
            while True:
                self.require_alive(needed)
                try:
                    status = await client.get("/v1/status")
                except TransientError as error:
                    last = error
                else:
                    last = None
                    if is_reached(status):
                        return status
                if time.monotonic() > deadline:
                    raise TransientError(
                        f"waited {seconds:.0f} s for this and it did not come about: {what}"
                        + (f" ({last})" if last else ""),
                        remedy=f"Look at the logs: {self.layout.root}/*/log",
                    )
                await asyncio.sleep(POLL_S)

    async def wait_connected(self, heard: Heard) -> Doc:
        """Until the coordinator answers and every center is connected to it."""
        known: set[str] = set()

        def is_reached(status: Doc) -> bool:
            now = {COORDINATOR}
            now |= {name for name, center in status.table("centers") if center.flag("connected")}
            for name in PROCESSES:
                if name in now - known:
                    heard(name)
            known.update(now)
            return now.issuperset(PROCESSES)

        return await self.wait_for("all centers connected to the coordinator", is_reached, CONNECT_SECONDS)


@contextmanager
def locked(path: Path, *, is_patient: bool = True) -> Iterator[None]:
    """Hold a lock file.

    Raises:
        TransientError: somebody else holds it, and we were not to wait.
    """
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if is_patient else fcntl.LOCK_NB))
        except BlockingIOError:
            raise TransientError(
                f"another command is starting the lab in {path.parent}",
                code="busy",
                remedy="Wait for it, or look at drsync lab status.",
            ) from None
        yield


def make_run_root(layout: Layout) -> None:
    """Make the directory of the sockets; one in a shared place must be nobody else's.

    Raises:
        RefusedError: somebody else made it, or others may enter it.
    """
    root = layout.run_root
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = root.lstat()
    is_ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
    if not is_ours or stat.S_IMODE(status.st_mode) & 0o077:
        raise RefusedError(
            f"{root} is not a private directory of ours",
            code="run_dir_taken",
            remedy="Look at it and remove it, or use a lab directory with a shorter path.",
        )
