"""The listening side: who comes in, as whom, and nothing but our subsystem."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import asyncssh
from typing_extensions import override

from drsync.adapters.ssh import policy, quirks
from drsync.adapters.ssh.dialing import KIND_BYTES
from drsync.adapters.ssh.link import SshLink
from drsync.ports.transport import LinkKind

if TYPE_CHECKING:
    from drsync.adapters.ssh.peers import PeerBook
    from drsync.ports.attention import Heard
    from drsync.ports.transport import Accept

_KINDS: dict[bytes, LinkKind] = {
    policy.PREAMBLE_MAGIC + byte + bytes(3): kind for kind, byte in KIND_BYTES.items()
}
_NAME_SHOWN = 64  # because no center has a longer name
assert all(len(preamble) == policy.PREAMBLE_BYTES for preamble in _KINDS)


class Door:
    """What all connections of one listener share."""

    def __init__(
        self, book: "PeerBook", accept: "Accept", on_refused: Callable[[str, str], None], heard: "Heard"
    ) -> None:
        self.book = book
        self.accept = accept
        self.on_refused = on_refused
        self.heard = heard
        self.connections: set[asyncssh.SSHServerConnection] = set()
        self._strangers: dict[asyncssh.SSHServerConnection, None] = {}

    def stranger_came(self, connection: asyncssh.SSHServerConnection) -> None:
        """Count a connection that has not authenticated; the oldest must go when there are too many."""
        self.connections.add(connection)
        self._strangers[connection] = None
        if len(self._strangers) > policy.UNAUTHENTICATED_MAX:
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            oldest.abort()

    def stranger_went(self, connection: asyncssh.SSHServerConnection) -> None:
        """It authenticated, or is gone."""
        self._strangers.pop(connection, None)


class Visitor(asyncssh.SSHServer):
    """One connection: a public key that is pinned for the user name, then one session."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._connection: asyncssh.SSHServerConnection | None = None
        self._name = ""
        self._has_session = False

    @override
    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Somebody is at the door."""
        self._connection = conn
        self._door.stranger_came(conn)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Gone."""
        del exc
        if self._connection is not None:
            self._door.stranger_went(self._connection)
            self._door.connections.discard(self._connection)

    @override
    def begin_auth(self, username: str) -> bool:
        """Everybody must authenticate; unknown names are refused when their key comes."""
        del username
        return True

    @override
    def public_key_auth_supported(self) -> bool:
        """The only method there is."""
        return True

    @override
    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Whether this key is pinned for this name."""
        if self._door.book.is_client_key(username, key):
            self._name = username
            return True
        # A stranger's words reach the log: short, and without control characters (P69).
        self._door.on_refused(ascii(username[:_NAME_SHOWN])[1:-1], self._door.book.why_not(username, key))
        return False

    @override
    def auth_completed(self) -> None:
        """The key was proven."""
        assert self._connection is not None
        self._door.stranger_went(self._connection)
        if not quirks.is_sound(self._connection):
            self._door.on_refused(self._name, "did not agree to strict key exchange")
            self._connection.abort()
            return
        quirks.drop_empty_ignores(self._connection)

    @override
    def session_requested(self) -> "VisitorSession | bool":
        """One session per connection."""
        if self._has_session or not self._name:
            return False
        self._has_session = True
        return VisitorSession(self._door, self._name)


class VisitorSession(asyncssh.SSHServerSession[bytes]):
    """The channel of one link: reads the preamble, then hands everything to the link."""

    def __init__(self, door: Door, name: str) -> None:
        self._door = door
        self._name = name
        self._channel: asyncssh.SSHServerChannel[bytes] | None = None
        self._preamble = b""
        self._link: SshLink | None = None

    @override
    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        """The channel is open."""
        chan.set_write_buffer_limits(policy.WRITE_BUFFER_BYTES)
        self._channel = chan

    @override
    def subsystem_requested(self, subsystem: str) -> bool:
        """Ours and no other; shells and commands are refused by the base class."""
        return subsystem == policy.SUBSYSTEM

    @override
    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        """Hand it on, after the preamble."""
        del datatype
        if self._link is not None:
            self._link.received(data)
            return
        self._preamble += data
        if len(self._preamble) < policy.PREAMBLE_BYTES:
            return
        preamble, rest = self._preamble[: policy.PREAMBLE_BYTES], self._preamble[policy.PREAMBLE_BYTES :]
        self._preamble = b""
        self._open(preamble, rest)

    def _open(self, preamble: bytes, rest: bytes) -> None:
        assert self._channel is not None
        kind = _KINDS.get(preamble)
        if kind is None:
            self._door.on_refused(self._name, f"began with {preamble.hex()}, which is no preamble")
            self._channel.close()
            return
        if kind is not LinkKind.CONTROL:
            connection = self._channel.get_connection()
            connection.set_keepalive(policy.LISTENER_KEEPALIVE_S, policy.LISTENER_KEEPALIVES_MAX)
        self._link = SshLink(self._name, kind, self._channel, self._door.heard)
        if rest:
            self._link.received(rest)
        self._door.accept(self._link)

    @override
    def pause_writing(self) -> None:
        """Hand it on."""
        if self._link is not None:
            self._link.paused(is_paused=True)

    @override
    def resume_writing(self) -> None:
        """Hand it on."""
        if self._link is not None:
            self._link.paused(is_paused=False)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Hand it on, and end the connection: it has no other use."""
        if self._link is not None:
            self._link.lost(exc)
        if self._channel is not None:
            self._channel.get_connection().close()
