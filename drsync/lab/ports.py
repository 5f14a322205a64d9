"""Loopback ports for the processes of a lab."""

import random
import socket
from collections.abc import Iterable

from drsync.model.errors import TransientError

HOST = "127.0.0.1"
FIRST, LAST = 20000, 32000  # because Linux gives ports from 32768 on to outgoing connections
TRIES_MAX = 1000  # because a machine where so many ports in a row are taken has another problem


def choose(names: Iterable[str], kept: dict[str, int] | None = None) -> dict[str, int]:
    """A free port for each name; those in `kept` that are still free stay as they are.

    Raises:
        TransientError: hardly any port is free.
    """
    chosen: dict[str, int] = {}
    for name in names:
        port = (kept or {}).get(name, 0)
        chosen[name] = port if port and is_free(port) else _another(set(chosen.values()))
    return chosen


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _another(taken: set[int]) -> int:
    for _ in range(TRIES_MAX):
        port = random.randint(FIRST, LAST)  # noqa: S311  because it is no secret, only unlikely to be taken
        if port not in taken and is_free(port):
            return port
    raise TransientError(f"found no free port between {FIRST} and {LAST} on {HOST}")
