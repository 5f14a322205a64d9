import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from drsync.lab import processes
from drsync.lab.cluster import Cluster
from drsync.lab.faults import Fault, disturb
from drsync.lab.layout import COORDINATOR, PROCESSES, PRODUCTION, REMOTE
from drsync.lab.record import Process
from drsync.model.errors import PermanentError, TransientError, UsageError


def test_a_process_id_that_was_used_again_is_never_signalled(running: Cluster) -> None:
    process = running.alive()[PRODUCTION]
    for other in (
        replace(process, started=process.started - 1),
        replace(process, boot="another-boot"),
    ):
        assert not processes.is_alive(other)
        assert not processes.send(other, signal.SIGKILL)
    assert processes.is_alive(process)


def test_a_process_that_is_gone_is_neither_alive_nor_signalled() -> None:
    gone = Process(pid=2**22 - 3, started=1, boot=processes.boot_id())
    assert not processes.is_alive(gone)
    assert not processes.send(gone, signal.SIGKILL)


def test_processes_live_in_sessions_of_their_own(running: Cluster) -> None:
    process = running.alive()[PRODUCTION]
    assert os.getsid(process.pid) == process.pid


async def test_the_words_and_the_exit_code_of_a_process_that_died_are_shown(cluster: Cluster) -> None:
    argv = [sys.executable, "-S", "-c", "print('port taken'); raise SystemExit(7)"]
    process = processes.start(argv, cluster.layout.log(PRODUCTION), os.environ)
    cluster.remember(lambda known: known.with_process(PRODUCTION, process))
    while processes.is_alive(process):
        os.sched_yield()
    with pytest.raises(PermanentError, match=r"(?s)exit code 7.*port taken"):
        cluster.require_alive((PRODUCTION,))


def test_a_log_of_any_size_shows_its_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"line {n}\n" for n in range(100_000)))
    assert processes.last_lines(log, 2) == ["line 99998", "line 99999"]
    assert processes.last_lines(tmp_path / "none", 2) == []


async def test_a_killed_center_is_not_running_and_a_paused_one_is_paused(running: Cluster) -> None:
    assert "killed" in await disturb(running, Fault.KILL, PRODUCTION)
    assert PRODUCTION not in running.alive()
    with pytest.raises(TransientError, match="does not run"):
        await disturb(running, Fault.PAUSE, PRODUCTION)

    await disturb(running, Fault.PAUSE, REMOTE)
    remote = running.alive()[REMOTE]
    while not processes.is_paused(remote):
        os.sched_yield()
    await disturb(running, Fault.RESUME, REMOTE)
    while processes.is_paused(remote):
        os.sched_yield()
    with pytest.raises(TransientError, match="not paused"):
        await disturb(running, Fault.RESUME, REMOTE)
    with pytest.raises(UsageError, match="'shanghai'"):
        await disturb(running, Fault.KILL, "shanghai")


async def test_everything_is_stopped_even_what_is_paused(running: Cluster) -> None:
    victims = list(running.alive().values())
    running.signal(REMOTE, signal.SIGSTOP)
    assert await running.stop_all() == []
    assert not any(processes.is_alive(process) for process in victims)
    assert running.record.processes == {}
    assert running.alive() == {}


def test_names_are_those_of_the_centers_and_the_coordinator(running: Cluster) -> None:
    assert set(running.alive()) == set(PROCESSES)
    assert running.is_running
    running.signal(COORDINATOR, signal.SIGCONT)
