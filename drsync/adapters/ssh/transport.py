"""`drsync.ports.transport.Transport` over SSH. Wiring of the dialing and the listening side; no protocol."""

from collections.abc import Mapping
from pathlib import Path

import asyncssh
import structlog

from drsync.adapters.ssh import keys, policy, quirks
from drsync.adapters.ssh.dialing import Dialer
from drsync.adapters.ssh.link import SshLink
from drsync.adapters.ssh.listening import Door, Visitor
from drsync.adapters.ssh.peers import PeerBook, PeerKeys
from drsync.model.errors import RefusedError, TransientError
from drsync.ports.attention import Heard, unheard
from drsync.ports.transport import Accept, LinkKind

log = structlog.get_logger()


class SshTransport:
    """One connection per link: control and bulk never share one.

    Raises:
        PermanentError: a key file is missing or no key.
        RefusedError: others may read a private key.
        UsageError: a pin is wrong.
    """

    def __init__(
        self,
        *,
        me: str,
        host_key: Path,
        client_key: Path,
        listen: tuple[str, int],
        peers: Mapping[str, PeerKeys],
        heard: Heard = unheard,
    ) -> None:
        """`me` is the name our client key is pinned under at the peers; `listen` port 0 picks a free one.

        `heard` is told of what comes on bulk links.
        """
        self._me = me
        self._host_key = keys.load(host_key)
        self._listen = listen
        self._book = PeerBook(peers)
        self._dialer = Dialer(me, keys.load(client_key), self._book, heard)
        self._heard = heard
        self._acceptor: asyncssh.SSHAcceptor | None = None
        self._door: Door | None = None
        self._dialed: set[asyncssh.SSHClientConnection] = set()

    async def connect(self, peer: str, kind: LinkKind) -> SshLink:
        """See the port."""
        self._dialed = {connection for connection in self._dialed if not connection.is_closed()}
        try:
            connection, link = await self._dialer.dial(peer, kind)
        except RefusedError as error:
            log.warning("peer_refused", center=self._me, peer=peer, code=error.code, reason=str(error))
            raise
        self._dialed.add(connection)
        return link

    async def listen(self, accept: Accept) -> str:
        """See the port. Raises TransientError when the address cannot be used."""
        assert self._acceptor is None, "one listener per transport"
        host, port = self._listen
        door = Door(self._book, accept, self._refused, self._heard)
        try:
            self._acceptor = await asyncssh.listen(
                host,
                port,
                server_factory=lambda: Visitor(door),
                server_host_keys=[self._host_key],
                send_server_host_keys=False,
                public_key_auth=True,
                allow_pty=False,
                allow_scp=False,
                line_editor=False,
                rdns_lookup=False,
                encoding=None,
                # The kind is not known yet when the window is stated: a control link may have the larger one.
                window=policy.BULK_WINDOW_BYTES,
                max_pktsize=quirks.packet_bytes(),
                **policy.BOTH_WAYS,
            )
        except OSError as error:
            raise TransientError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
        self._door = door
        return f"{host}:{self._acceptor.get_port()}"

    async def close(self) -> None:
        """See the port."""
        acceptor, self._acceptor = self._acceptor, None
        connections: list[asyncssh.SSHClientConnection | asyncssh.SSHServerConnection] = [*self._dialed]
        if self._door is not None:
            connections += self._door.connections
        if acceptor is not None:
            acceptor.close()
        for connection in connections:
            connection.abort()
        for connection in connections:
            await connection.wait_closed()
        if acceptor is not None:
            await acceptor.wait_closed()
        self._dialed.clear()

    def _refused(self, name: str, reason: str) -> None:
        log.warning("peer_refused", center=self._me, peer=name, reason=reason)
