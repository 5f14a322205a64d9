"""The peer of a pair in sync: qemu-storage-daemon with a mirror job that waits for each write, over NBD."""

import json
import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from _fio import running, unix_uri
from _machine import wait_until

TOOL = "qemu-storage-daemon"
PACKAGE = "qemu-system-common"  # Debian's package of it
READY_S = 60.0
REPLY_BYTES_MAX = 1 << 16


def why_not() -> str:
    """Why there is nothing to compare with; empty when there is."""
    return "" if shutil.which(TOOL) else f"{TOOL} is not installed: apt-get install {PACKAGE}"


class Monitor:
    """A connection that speaks QMP."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._file = self._socket.makefile("rb")
        self._file.readline(REPLY_BYTES_MAX)  # the greeting
        self.ask("qmp_capabilities")

    def ask(self, command: str, **arguments: object) -> object:
        """Ask, pass over events, and return the answer."""
        self._socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        while True:
            answer = json.loads(self._file.readline(REPLY_BYTES_MAX))
            if "error" in answer:
                raise SystemExit(f"{TOOL}: {command}: {answer['error'].get('desc')}")
            if "return" in answer:
                return answer["return"]

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self._socket.close()


def is_ready(monitor: Monitor) -> bool:
    """Whether the job has copied what there was, so that every write now goes to both."""
    jobs = monitor.ask("query-jobs")
    return isinstance(jobs, list) and any(job.get("status") == "ready" for job in jobs)


@contextmanager
def mirror(room: Path, size: int) -> Iterator[tuple[str, dict[str, int]]]:
    """A raw file whose writes are answered when a second daemon has them, too; its address and the processes.

    The second daemon is reached over TCP on loopback, with nothing around it: a pair of drsync has SSH there.
    """
    folder = room / "mirror"
    folder.mkdir()
    near, far, front, away, control = (folder / name for name in ("near", "far", "s", "a", "q"))
    for path in (near, far):
        with path.open("wb") as file:
            file.truncate(size)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with ExitStack() as stack:
        target = [TOOL, "--blockdev", f"driver=file,node-name=far,filename={far}"]
        target += ["--nbd-server", f"addr.type=inet,addr.host=127.0.0.1,addr.port={port}"]
        target += ["--export", "type=nbd,id=e,node-name=far,name=far,writable=on"]
        target += ["--chardev", f"socket,id=q,path={away},server=on,wait=off", "--monitor", "chardev=q"]
        far_pid = stack.enter_context(running(target, away))
        source = [TOOL, "--blockdev", f"driver=file,node-name=near,filename={near}"]
        far_end = f"server.type=inet,server.host=127.0.0.1,server.port={port},export=far"
        source += ["--blockdev", f"driver=nbd,node-name=far,{far_end}"]
        source += ["--nbd-server", f"addr.type=unix,addr.path={front}"]
        source += ["--export", "type=nbd,id=e,node-name=near,name=,writable=on"]
        source += ["--chardev", f"socket,id=q,path={control},server=on,wait=off", "--monitor", "chardev=q"]
        near_pid = stack.enter_context(running(source, control))
        monitor = Monitor(control)
        stack.callback(monitor.close)
        job = {"job-id": "m", "device": "near", "target": "far", "sync": "full"}
        monitor.ask("blockdev-mirror", **job, **{"copy-mode": "write-blocking"})
        wait_until("the mirror is ready", lambda: is_ready(monitor), READY_S)
        yield unix_uri(front), {"qemu near": near_pid, "qemu far": far_pid}
