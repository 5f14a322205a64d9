"""Starting processes that outlive the command, and never touching anybody else's."""

import asyncio
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from drsync.lab.record import Process

STATE_FIELD, STARTED_FIELD = 0, 19  # proc(5): fields 3 and 22 of stat, counted behind the name in parentheses
POLL_S = 0.02  # because a process that was told to stop is gone within tenths of a second
LOG_TAIL_BYTES = 16 << 10  # because the last words of a process fit, and its log may be gigabytes
ZOMBIE, STOPPED = "Z", "T"


@dataclass(frozen=True, slots=True)
class Stat:
    """What the kernel says of a process: its state letter and its start time in ticks."""

    state: str
    started: int


def boot_id() -> str:
    """The running kernel's boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def stat_of(pid: int) -> Stat | None:
    """The state of a process, None when there is none of that id."""
    try:
        raw = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = raw.rpartition(")")[2].split()
    return Stat(fields[STATE_FIELD], int(fields[STARTED_FIELD]))


def is_alive(process: Process) -> bool:
    """Whether exactly this process still runs; one that ended and was not collected yet does not."""
    stat = stat_of(process.pid)
    return (
        stat is not None
        and stat.started == process.started
        and stat.state != ZOMBIE
        and process.boot == boot_id()
    )


def is_paused(process: Process) -> bool:
    """Whether it was stopped by SIGSTOP."""
    stat = stat_of(process.pid)
    return is_alive(process) and stat is not None and stat.state == STOPPED


def send(process: Process, number: signal.Signals) -> bool:
    """Send a signal to exactly this process; False when it is gone.

    The handle is taken before the identity is checked, so that the id cannot change hands in between.
    """
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        if not is_alive(process):
            return False
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def start(argv: Sequence[str], log: Path, environment: Mapping[str, str]) -> Process:
    """Start a process in a session of its own; what it prints is appended to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    pid = os.posix_spawn(
        argv[0],
        list(argv),
        dict(environment),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        # A shell that starts us in the background has SIGINT ignored, and that would be inherited.
        setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP],
    )
    stat = stat_of(pid)
    assert stat is not None, "our own child is there until we collect it"
    return Process(pid, stat.started, boot_id())


def collect(process: Process) -> int | None:
    """The exit code of a child of ours that ended (negative: the signal); None if unknown."""
    try:
        pid, status = os.waitpid(process.pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(status) if pid else None


async def wait_until_gone(process: Process, seconds: float) -> bool:
    """Whether it ended within `seconds`."""
    deadline = time.monotonic() + seconds
    while is_alive(process):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL_S)
    collect(process)
    return True


def last_lines(log: Path, count: int) -> list[str]:
    """The last lines of a log; none when there is no log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()[-count:]
    except FileNotFoundError:
        return []
