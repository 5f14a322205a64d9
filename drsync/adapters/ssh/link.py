"""A link over one SSH channel: `drsync.ports.transport.Link` on asyncssh's callbacks."""

import asyncio
from collections.abc import Callable

from drsync.adapters.ssh import policy, quirks
from drsync.adapters.ssh.express import Channel, Express, Plain
from drsync.ports.attention import Heard, unheard
from drsync.ports.transport import LinkHandler, LinkKind


class SshLink:
    """See the port. What arrives before there is a handler is kept, and the channel stops reading."""

    def __init__(self, peer: str, kind: LinkKind, channel: Channel, heard: Heard = unheard) -> None:
        self._peer = peer
        self._kind = kind
        self._channel = channel
        self._heard = heard if kind is LinkKind.BULK else unheard  # because nobody waits for the others
        self._handler: LinkHandler | None = None
        self._early: list[bytes | memoryview] = []
        self._is_paused = False
        self._is_lost = False
        self._reason = ""
        self._soon: list[Callable[[], None]] = []
        self._has_received = False  # since the last read of the socket began
        self._express: Express | Plain = (
            Express(channel.get_connection(), channel, self.received, self._read_ended)
            if quirks.is_version_known()
            else Plain(channel)
        )

    @property
    def peer(self) -> str:
        """See the port."""
        return self._peer

    @property
    def kind(self) -> LinkKind:
        """See the port."""
        return self._kind

    def set_handler(self, handler: LinkHandler) -> None:
        """See the port."""
        self._handler = handler
        early, self._early = self._early, []
        for data in early:
            handler.data_received(data)
        if self._is_lost:
            handler.connection_lost(self._reason)
            return
        if self._is_paused:
            handler.pause_writing()
        self._channel.resume_reading()

    def write(self, data: bytes) -> None:
        """See the port."""
        if not self._is_lost:
            self._express.write(data)

    def soon(self, callback: Callable[[], None]) -> None:
        """See the port."""
        if self._express.is_reading:
            self._soon.append(callback)
        else:
            asyncio.get_running_loop().call_soon(callback)

    def close(self, reason: str) -> None:
        """See the port. What was written is sent first, for at most `CLOSE_GRACE_S`."""
        if self._is_lost or self._reason:
            return
        self._reason = reason or "closed"
        self._channel.resume_reading()  # a channel that does not read would not notice the end either
        self._channel.close()
        connection = self._channel.get_connection()
        asyncio.get_running_loop().call_later(policy.CLOSE_GRACE_S, connection.abort)

    def _read_ended(self) -> None:
        if self._has_received:
            self._has_received = False
        elif self._handler is not None and self._express.is_partial and self._kind is not LinkKind.CONTROL:
            self._handler.data_received(b"")  # on a slow line nothing else may come for long
        while self._soon:
            callbacks, self._soon = self._soon, []
            for callback in callbacks:
                try:
                    callback()
                except Exception as error:  # noqa: BLE001  # as though the loop had called it
                    words = {"message": f"after a read from {self._peer}", "exception": error}
                    asyncio.get_running_loop().call_exception_handler(words)

    # --- for the session

    def received(self, data: bytes | memoryview) -> None:
        """The channel has data."""
        self._has_received = True
        self._heard(len(data))
        if self._handler is not None:
            self._handler.data_received(data)
            return
        self._early.append(data)
        self._channel.pause_reading()

    def paused(self, *, is_paused: bool) -> None:
        """The channel's buffer is full, or has drained."""
        self._is_paused = is_paused
        if self._handler is not None:
            if is_paused:
                self._handler.pause_writing()
            else:
                self._handler.resume_writing()

    def lost(self, error: Exception | None) -> None:
        """The channel is gone."""
        if self._is_lost:
            return
        self._is_lost = True
        self._reason = self._reason or (str(error) if error is not None else f"{self._peer} closed the link")
        if self._handler is not None:
            self._handler.connection_lost(self._reason)
