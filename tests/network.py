"""Hosts of a test: network namespaces on a bridge, and cables that are pulled. Needs root and iproute2."""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

COMMAND_S = 30.0
CLONE_NEWNET = 0x40000000  # setns(2)
SPACES = Path("/run/netns")


def why_not() -> str:
    """Why there are no such hosts here; empty when they can be tried."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "not installed: ip"
    tried = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False, timeout=COMMAND_S)
    return "" if tried.returncode == 0 else "this machine allows no namespaces"


class Network:
    """A bridge in a namespace of its own, and a namespace for each host on it.

    `addresses` are those of the hosts; nothing outside of these namespaces has any of them.
    """

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self.addresses = addresses
        self._prefix = f"drsync{os.getpid()}"
        self.wire = f"{self._prefix}-wire"
        self._made: list[str] = []

    def make(self) -> None:
        """Everything that hosts are plugged into."""
        self._add(self.wire)
        self._ip(self.wire, "link", "add", "br0", "type", "bridge")
        self._ip(self.wire, "link", "set", "br0", "up")
        for name, address in self.addresses.items():
            space, port = self.space(name), self.port(name)
            self._add(space)
            self._ip(self.wire, "link", "add", port, "type", "veth", "peer", "name", "host0", "netns", space)
            self._ip(self.wire, "link", "set", port, "master", "br0", "up")
            self._ip(space, "address", "add", f"{address}/24", "dev", "host0")
            self._ip(space, "link", "set", "host0", "up")
            self._ip(space, "link", "set", "lo", "up")

    def space(self, name: str) -> str:
        """The namespace of a host."""
        return f"{self._prefix}-{name}"

    def port(self, name: str) -> str:
        """Where the bridge has a host's cable."""
        return f"p{list(self.addresses).index(name)}"

    def plug(self, name: str, *, is_in: bool) -> None:
        """Pull a host's cable, or plug it in again: nobody is told, and connections stay half open."""
        self._ip(self.wire, "link", "set", self.port(name), "up" if is_in else "down")

    @contextmanager
    def entered(self, name: str) -> Iterator[None]:
        """What this thread starts meanwhile runs on that host. Nothing may be awaited inside."""
        libc = ctypes.CDLL(None, use_errno=True)
        with Path("/proc/thread-self/ns/net").open() as own, (SPACES / self.space(name)).open() as other:
            _enter(libc, other.fileno())
            try:
                yield
            finally:
                _enter(libc, own.fileno())

    def close(self) -> None:
        """Take down what was made here."""
        for space in reversed(self._made):
            _run("ip", "netns", "delete", space, is_checked=False)
        self._made.clear()

    def _add(self, space: str) -> None:
        _run("ip", "netns", "add", space)
        self._made.append(space)

    def _ip(self, space: str, *words: str) -> None:
        _run("ip", "-n", space, *words)


def _enter(libc: ctypes.CDLL, space: int) -> None:
    if libc.setns(space, CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), "setns")


def _run(*command: str, is_checked: bool = True) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=COMMAND_S)
    assert done.returncode == 0 or not is_checked, f"{' '.join(command)}: {done.stderr}"
