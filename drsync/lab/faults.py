"""`lab fault`: disturb one process of a lab, and put it right again."""

import signal
from enum import StrEnum

from drsync.lab import processes
from drsync.lab.cluster import Cluster
from drsync.lab.layout import PROCESSES
from drsync.model.errors import TransientError, UsageError


class Fault(StrEnum):
    """What can be done to a process."""

    KILL = "kill"
    PAUSE = "pause"
    RESUME = "resume"
    RESTART = "restart"


SAID = {
    Fault.KILL: "was killed (SIGKILL); drsync lab fault restart {name} starts it again",
    Fault.PAUSE: "is paused (SIGSTOP); drsync lab fault resume {name} lets it go on",
    Fault.RESUME: "goes on",
    Fault.RESTART: "was started as process {pid}",
}


async def disturb(cluster: Cluster, fault: Fault, name: str) -> str:
    """Do it; what was done, in words.

    Raises:
        UsageError: there is no process of that name.
        TransientError: it does not run, or is not paused.
    """
    if name not in PROCESSES:
        raise UsageError(f"there is no {name!r} in a lab", remedy=f"Name one of {', '.join(PROCESSES)}.")
    match fault:
        case Fault.KILL:
            await cluster.kill(name)
        case Fault.PAUSE:
            cluster.signal(name, signal.SIGSTOP)
        case Fault.RESUME:
            _resume(cluster, name)
        case Fault.RESTART:
            await cluster.stop(name)
            cluster.start(name)
    process = cluster.alive().get(name)
    return f"{name} {SAID[fault].format(name=name, pid=process.pid if process else 0)}"


def _resume(cluster: Cluster, name: str) -> None:
    process = cluster.alive().get(name)
    if process is not None and not processes.is_paused(process):
        raise TransientError(f"{name} is not paused", code="not_paused")
    cluster.signal(name, signal.SIGCONT)
