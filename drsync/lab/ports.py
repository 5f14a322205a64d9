"""Loopback ports for the processes of a lab."""

import random
import socket
from collections.abc import Iterable
from contextlib import ExitStack

from drsync.model.errors import TransientError

HOST = "127.0.0.1"
FIRST, LAST = 20000, 32000  # because Linux gives ports from 32768 on to outgoing connections
TRIES_MAX = 1000  # because a machine where so many ports in a row are taken has another problem


def choose(
    names: Iterable[str], kept: dict[str, int] | None = None, held: ExitStack | None = None
) -> dict[str, int]:
    """A free port for each name; those in `kept` that are still free stay as they are.

    Args:
        names: what the ports are for.
        kept: ports that were chosen before.
        held: keeps the ports from everybody who chooses or dials, until it is closed. Servers can listen
            on them all the while (they set SO_REUSEADDR, as asyncio does).

    Raises:
        TransientError: hardly any port is free.
    """
    with ExitStack() as until_all_are_chosen:
        holder = until_all_are_chosen if held is None else held
        chosen: dict[str, int] = {}
        for name in names:
            port = (kept or {}).get(name, 0)
            chosen[name] = port if port and _hold(port, holder, is_kept=True) else _another(holder)
        return chosen


def _another(held: ExitStack) -> int:
    for _ in range(TRIES_MAX):
        port = random.randint(FIRST, LAST)  # noqa: S311  # it is no secret, only unlikely to be taken
        if _hold(port, held):
            return port
    raise TransientError(f"found no free port between {FIRST} and {LAST} on {HOST}")


def _hold(port: int, held: ExitStack, *, is_kept: bool = False) -> bool:
    """Bind a port without listening there, which others can do who say SO_REUSEADDR; False if it is taken.

    A new port is asked for without that option, so that two who choose never get the same one; a kept port
    with it, because old connections of its last server may still linger.
    """
    holder = socket.socket()
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(is_kept))
        holder.bind((HOST, port))
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    except OSError:
        holder.close()
        return False
    held.enter_context(holder)
    return True
