"""OpenSSH for comparison: a server of our own on a loopback port, and `cat` through it."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path

from _machine import cpu_s, wait_until

CIPHER = "aes128-gcm@openssh.com"
READY_S = 10.0
PRIVILEGE_SEPARATION = Path("/run/sshd")  # because sshd started by root wants it; packages make it at boot


def find_sshd() -> str | None:
    """The server's path; sshd refuses to start by a relative one."""
    return shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@dataclass(frozen=True)
class Way:
    """An SSH connection that stays open, and the processes at its ends."""

    options: list[str]
    client: int
    server: int


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def children(pid: int) -> list[int]:
    """All processes below `pid`."""
    try:
        direct = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [found for child in map(int, direct) for found in (child, *children(child))]


@contextmanager
def ended(process: "subprocess.Popen[bytes]") -> Iterator["subprocess.Popen[bytes]"]:
    """Stopped at the end."""
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@contextmanager
def connection(room: Path, sshd: str) -> Iterator[Way]:
    """A server with its own keys and configuration, and one connection to it."""
    port = free_port()
    for name in ("host", "client"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(room / name)],
            check=True,
            timeout=READY_S,
        )
    shutil.copyfile(room / "client.pub", room / "authorized")
    host = " ".join((room / "host.pub").read_text().split()[:2])
    (room / "known").write_text(f"[127.0.0.1]:{port} {host}\n")
    config = {
        "ListenAddress": f"127.0.0.1:{port}",
        "HostKey": room / "host",
        "AuthorizedKeysFile": room / "authorized",
        "PidFile": "none",
        "Ciphers": CIPHER,
        "PubkeyAuthentication": "yes",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
        "UsePAM": "no",
        "StrictModes": "no",
        "UseDNS": "no",
    }
    (room / "sshd_config").write_text("".join(f"{key} {value}\n" for key, value in config.items()))
    if os.getuid() == 0:
        PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
    log = (room / "log").open("wb")
    server = subprocess.Popen([sshd, "-D", "-e", "-f", str(room / "sshd_config")], stderr=log)
    with log, ended(server):
        wait_until("sshd", lambda: listens(port), READY_S)
        control = room / "control"
        options = ["-F", "none", "-p", str(port), "-l", getuser(), "-S", str(control)]
        identity = ["-i", str(room / "client"), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"]
        identity += [
            "-o",
            f"UserKnownHostsFile={room / 'known'}",
            "-o",
            f"Ciphers={CIPHER}",
            "-o",
            "Compression=no",
        ]
        client = subprocess.Popen(
            ["ssh", *options, *identity, "-M", "-N", "127.0.0.1"], stdin=subprocess.DEVNULL
        )
        with ended(client):
            wait_until("ssh", control.exists, READY_S)
            yield Way([*options, "127.0.0.1"], client.pid, server.pid)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def cat(way: Way, data: Path) -> tuple[float, float, float]:
    """Send a file through `cat` to nowhere: seconds, and processor seconds of each end, the sender first."""
    ends = [[way.client], [way.server, *children(way.server)]]
    before = [sum(cpu_s(pid, with_children=True) for pid in end) for end in ends]
    began = time.monotonic()
    with data.open("rb") as file:
        subprocess.run(["ssh", *way.options, "cat >/dev/null"], stdin=file, check=True, timeout=600)
    took = time.monotonic() - began
    after = [sum(cpu_s(pid, with_children=True) for pid in end) for end in ends]
    return took, after[0] - before[0], after[1] - before[1]
