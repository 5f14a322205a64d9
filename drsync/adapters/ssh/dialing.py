"""The dialing side: one connection to one peer, its host key compared with the pin."""

import asyncio
from typing import TYPE_CHECKING

import asyncssh
from typing_extensions import override

from drsync.adapters.ssh import keys, policy, quirks
from drsync.adapters.ssh.link import SshLink
from drsync.model.errors import DrsyncError, RefusedError, TransientError
from drsync.ports.attention import Heard
from drsync.ports.transport import LinkKind

if TYPE_CHECKING:
    from drsync.adapters.ssh.peers import PeerBook

KIND_BYTES = {LinkKind.CONTROL: b"\x01", LinkKind.BULK: b"\x02", LinkKind.FILES: b"\x03"}


class _Client(asyncssh.SSHClient):
    """Remembers a host key that was not the pinned one."""

    def __init__(self) -> None:
        self.presented: asyncssh.SSHKey | None = None

    @override
    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Called only for keys that are not pinned: refuse, always."""
        del host, addr, port
        self.presented = key
        return False


class _Session(asyncssh.SSHClientSession[bytes]):
    """Hands everything to its link."""

    def __init__(self, peer: str, kind: LinkKind, heard: Heard) -> None:
        self._peer = peer
        self._kind = kind
        self._heard = heard
        self.link: SshLink | None = None

    @override
    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        """The channel is open."""
        chan.set_write_buffer_limits(policy.WRITE_BUFFER_BYTES)
        self.link = SshLink(self._peer, self._kind, chan, self._heard)

    @override
    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        """Hand it on."""
        del datatype
        if self.link is not None:
            self.link.received(data)

    @override
    def pause_writing(self) -> None:
        """Hand it on."""
        if self.link is not None:
            self.link.paused(is_paused=True)

    @override
    def resume_writing(self) -> None:
        """Hand it on."""
        if self.link is not None:
            self.link.paused(is_paused=False)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Hand it on."""
        if self.link is not None:
            self.link.lost(exc)


class Dialer:
    """Opens links. Nothing is read from the user's SSH configuration, agent or known hosts."""

    def __init__(self, me: str, client_key: asyncssh.SSHKey, book: "PeerBook", heard: Heard) -> None:
        self._me = me
        self._client_key = client_key
        self._book = book
        self._heard = heard

    async def dial(self, peer: str, kind: LinkKind) -> tuple[asyncssh.SSHClientConnection, SshLink]:
        """A new connection with one open link.

        Raises:
            TransientError: not reached in `HANDSHAKE_S`.
            RefusedError: a key is not the pinned one, on either side, or the peer speaks otherwise.
        """
        host, port, pinned = self._book.to_dial(peer)
        client = _Client()
        try:
            async with asyncio.timeout(policy.HANDSHAKE_S):
                connection = await self._connect(host, port, pinned, client)
                try:
                    return connection, await self._open(connection, peer, kind)
                except BaseException:
                    connection.abort()
                    raise
        except (TimeoutError, OSError, asyncssh.Error) as error:
            raise self._explain(error, peer, f"{host}:{port}", pinned, client) from error

    async def _connect(
        self, host: str, port: int, pinned: asyncssh.SSHKey, client: _Client
    ) -> asyncssh.SSHClientConnection:
        return await asyncssh.connect(
            host,
            port,
            client_factory=lambda: client,
            known_hosts=([pinned], [], []),
            server_host_key_algs=policy.KEY_TYPES,
            username=self._me,
            client_keys=[self._client_key],
            preferred_auth="publickey",
            disable_trivial_auth=True,
            agent_path=None,
            connect_timeout=policy.HANDSHAKE_S,
            **policy.BOTH_WAYS,
        )

    async def _open(self, connection: asyncssh.SSHClientConnection, peer: str, kind: LinkKind) -> SshLink:
        if not quirks.is_sound(connection):
            raise RefusedError(f"{peer} did not agree to strict key exchange", code="weak_ssh")
        quirks.drop_empty_ignores(connection)
        is_bulk = kind is not LinkKind.CONTROL  # which proves by pings of its own that the peer is alive
        if is_bulk:
            connection.set_keepalive(policy.BULK_KEEPALIVE_S, policy.BULK_KEEPALIVES_MAX)
        _, session = await connection.create_session(
            lambda: _Session(peer, kind, self._heard),
            subsystem=policy.SUBSYSTEM,
            encoding=None,
            window=policy.BULK_WINDOW_BYTES if is_bulk else policy.CONTROL_WINDOW_BYTES,
            max_pktsize=quirks.packet_bytes(),
        )
        assert isinstance(session, _Session)
        assert session.link is not None
        session.link.write(policy.PREAMBLE_MAGIC + KIND_BYTES[kind] + bytes(3))
        return session.link

    def _explain(
        self, error: Exception, peer: str, address: str, pinned: asyncssh.SSHKey, client: _Client
    ) -> DrsyncError:
        if client.presented is not None:
            return RefusedError(
                f"{peer} at {address} has host key {keys.fingerprint(client.presented)}, "
                f"its pinned key is {keys.fingerprint(pinned)}",
                code="wrong_host_key",
                remedy="Somebody else answers there, or the key was changed: ask before you pin the new one.",
            )
        if isinstance(error, asyncssh.PermissionDenied):
            return RefusedError(
                f"{peer} at {address} does not accept {self._me} "
                f"with key {keys.fingerprint(self._client_key)}",
                code="key_not_accepted",
                remedy=f"Pin this key for {self._me} in the configuration of {peer}.",
            )
        if isinstance(
            error, asyncssh.KeyExchangeFailed | asyncssh.HostKeyNotVerifiable | asyncssh.ChannelOpenError
        ):
            return RefusedError(f"{peer} at {address} does not speak with us: {error}", code="not_drsync")
        if isinstance(error, TimeoutError):
            return TransientError(f"{peer} at {address} did not answer in {policy.HANDSHAKE_S:g} s")
        return TransientError(f"{peer} at {address} is not reached: {error}")
