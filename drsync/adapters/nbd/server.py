"""The NBD server: listens on a UNIX socket (and on loopback TCP when asked), counts, admits and closes."""

import asyncio
import ipaddress
import socket
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from drsync.adapters.nbd.connection import Connection, Conversation
from drsync.adapters.nbd.negotiation import Chosen
from drsync.adapters.nbd.structured import StructuredTransmission
from drsync.adapters.nbd.transmission import Outlet, Transmission
from drsync.model.errors import TransientError, UsageError
from drsync.ports.attention import Heard, unheard
from drsync.ports.volume import Catalog, Exports

SOCKET_MODE = 0o660  # because whoever opens it may write to the volume: its owner and its group, no others
SOCKET_PATH_BYTES_MAX = 107  # because sockaddr_un holds 108 with the final zero
BACKLOG = 128


@dataclass(frozen=True, slots=True)
class Limits:
    """How much strangers may ask for.

    Attributes:
        handshake_seconds: because a stalled client must not hold a place for ever (P60).
        per_export: connections to one export; clients open up to 16.
        unchosen: sockets on one server that have not chosen an export yet (P60).
        stop_seconds: how long `Server.stop` waits for clients to take their last replies.
    """

    handshake_seconds: float = 10.0
    per_export: int = 64
    unchosen: int = 256
    stop_seconds: float = 1.0


DEFAULT_LIMITS = Limits()


Speak = Callable[[Chosen, Outlet], Conversation]
"""Who executes the requests of a connection that has chosen."""


def devices(exports: Exports) -> Speak:
    """Requests are executed by the devices themselves."""

    def speak(chosen: Chosen, outlet: Outlet) -> Conversation:
        device = exports.find(chosen.name)
        assert device is not None, "an export cannot go between its choice and its first request"
        if not chosen.is_structured:
            return Transmission(device, chosen.size, outlet, is_read_only=chosen.is_read_only)
        return StructuredTransmission(
            device,
            chosen.size,
            outlet,
            is_read_only=chosen.is_read_only,
            tells_allocation=chosen.tells_allocation,
        )

    return speak


class FrontDoor:
    """Listens, and lets connections in. All methods belong to the event loop that `start` ran in.

    Args:
        exports: what can be chosen.
        path: of the UNIX socket.
        speak: who executes the requests of a connection that has chosen.
        limits: how much strangers may ask for.
        heard: told of what clients ask for.
    """

    def __init__(
        self,
        exports: Catalog,
        path: Path,
        speak: Speak,
        limits: Limits = DEFAULT_LIMITS,
        heard: Heard = unheard,
    ) -> None:
        self.exports = exports
        self.heard = heard
        self.path = path
        self._speak = speak
        self._limits = limits
        self._claims: dict[tuple[str, bytes], Connection] = {}
        self._unchosen: set[Connection] = set()
        self._by_name: dict[str, set[Connection]] = {}
        self._listeners: list[asyncio.Server] = []
        self._all_left = asyncio.Event()

    async def start(self) -> None:
        """Listen on the UNIX socket, mode 0660. A socket file that nobody serves any more is replaced.

        Raises:
            UsageError: the path is too long for a socket, or something that is no socket lies there.
            TransientError: somebody else serves there, or the directory is not writable.
        """
        loop = asyncio.get_running_loop()
        listening = _bind(self.path)
        self._listeners.append(
            await loop.create_unix_server(lambda: Connection(self, loop), sock=listening, backlog=BACKLOG)
        )

    async def listen_loopback(self, host: str, port: int) -> int:
        """Listen on TCP too; only loopback, because there is no TLS. Returns the port.

        Raises:
            UsageError: not a loopback address.
            TransientError: the port is taken.
        """
        if not _is_loopback(host):
            raise UsageError(f"NBD over TCP is served on loopback only, not on {host}")
        loop = asyncio.get_running_loop()
        try:
            listener = await loop.create_server(lambda: Connection(self, loop), host, port, backlog=BACKLOG)
        except OSError as error:
            raise TransientError(f"cannot listen on {host}:{port}: {error.strerror}") from error
        self._listeners.append(listener)
        bound: int = listener.sockets[0].getsockname()[1]
        return bound

    def connections(self, name: str) -> int:
        """Connections that have chosen this export."""
        return len(self._by_name.get(name, ()))

    def close_export(self, name: str) -> int:
        """Drop the connections of an export; outstanding requests are answered ESHUTDOWN where possible.

        To be called once `exports.find(name)` gives None, or clients come straight back. Returns how many.
        """
        connections = list(self._by_name.get(name, ()))
        for connection in connections:
            connection.shut()
        return len(connections)

    async def stop(self, *, answers: bool = True) -> None:
        """Stop listening, close every connection, remove the socket file. Idempotent.

        Without `answers` nothing outstanding is answered, not even with an error: its outcome is open, and an
        error would promise that it never happens (F.A 6).
        """
        for listener in self._listeners:
            listener.close()
        if self._listeners:
            self.path.unlink(missing_ok=True)
        self._listeners.clear()
        for connection in self._everyone():
            if answers:
                connection.shut()
            else:
                connection.abort()
        await self._wait_until_left()

    async def _wait_until_left(self) -> None:
        loop = asyncio.get_running_loop()
        self._all_left.clear()
        if not self._everyone():
            return
        try:
            async with asyncio.timeout_at(loop.time() + self._limits.stop_seconds):
                await self._all_left.wait()
        except TimeoutError:
            for connection in self._everyone():
                connection.abort()
            await self._all_left.wait()

    def _everyone(self) -> list[Connection]:
        return [*self._unchosen, *(c for group in self._by_name.values() for c in group)]

    # --- called by connections (`drsync.adapters.nbd.connection.House`)

    @property
    def handshake_seconds(self) -> float:
        """How long a handshake may take."""
        return self._limits.handshake_seconds

    def admit(self, connection: Connection) -> bool:
        """A new socket."""
        if not self._listeners or len(self._unchosen) >= self._limits.unchosen:
            return False
        self._unchosen.add(connection)
        return True

    def may_open(self, name: str) -> bool:
        """Whether one more connection to this export is welcome."""
        return self.connections(name) < self._limits.per_export

    def opened(self, connection: Connection, chosen: Chosen) -> Conversation:
        """The connection has chosen. If it continues a session, an older connection of that one ends now."""
        self._unchosen.discard(connection)
        self._by_name.setdefault(chosen.name, set()).add(connection)
        if chosen.claim:
            older = self._claims.get((chosen.name, chosen.claim))
            self._claims[chosen.name, chosen.claim] = connection
            if older is not None:
                older.retire()
        return self._speak(chosen, connection)

    def left(self, connection: Connection, chosen: Chosen | None) -> None:
        """The connection is gone."""
        self._unchosen.discard(connection)
        name = None if chosen is None else chosen.name
        if chosen is not None and self._claims.get((chosen.name, chosen.claim)) is connection:
            del self._claims[chosen.name, chosen.claim]
        if name is not None:
            group = self._by_name.get(name, set())
            group.discard(connection)
            if not group:
                self._by_name.pop(name, None)
        if not self._unchosen and not self._by_name:
            self._all_left.set()


class Server(FrontDoor):
    """Serves block devices."""

    def __init__(
        self, exports: Exports, path: Path, limits: Limits = DEFAULT_LIMITS, heard: Heard = unheard
    ) -> None:
        super().__init__(exports, path, devices(exports), limits, heard)


def _bind(path: Path) -> socket.socket:
    """A socket that is bound, and has its mode before anybody can connect to it."""
    if len(bytes(path)) > SOCKET_PATH_BYTES_MAX:
        raise UsageError(
            f"socket path longer than {SOCKET_PATH_BYTES_MAX} bytes: {path}", remedy="use a shorter run_dir"
        )
    _clear_away(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(bytes(path))
        path.chmod(SOCKET_MODE)
    except OSError as error:
        listening.close()
        raise TransientError(f"cannot listen on {path}: {error.strerror}") from error
    return listening


def _clear_away(path: Path) -> None:
    """Remove the socket file of a server that died; leave everything else alone."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise UsageError(f"{path} exists and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)
        try:
            probe.connect(bytes(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise TransientError(f"{path} cannot be taken over: {error.strerror}") from error
    raise TransientError(f"another process serves {path}")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
