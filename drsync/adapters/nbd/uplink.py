"""A connection to somebody else's export: the handshake, then requests out and replies in, as bytes.

It executes nothing and remembers nothing: whoever uses it keeps the requests. It does not reconnect either.
"""

import asyncio
import socket
from typing import Protocol, cast

from typing_extensions import override

from drsync.adapters.nbd.address import Address, parse_uri
from drsync.adapters.nbd.approach import Approach, Opened, Wanted
from drsync.adapters.nbd.inbox import Inbox
from drsync.model.errors import DrsyncError, TransientError
from drsync.ports.attention import Heard, unheard

SILENT_S = 12  # because a new owner is there by then, and no working line is silent for so long
HANDSHAKE_INBOX_BYTES = 4096  # because a handshake is short, and a connection that only watches gets no more


class Replies(Protocol):
    """Who takes the replies of a connection."""

    @property
    def reply_need(self) -> int:
        """Bytes of the next reply, as far as known."""
        ...

    def replies(self, data: memoryview, at: int, end: int) -> int:
        """Take the complete replies in ``data[at:end]``; returns where the rest starts.

        Raises:
            DrsyncError: the connection is of no use any more; `disconnected` follows.
        """
        ...

    def disconnected(self, reason: str) -> None:
        """The connection is gone, and nobody here asked for that. Called once."""
        ...


class Uplink(asyncio.BufferedProtocol):
    """The protocol object that asyncio or uvloop calls. Made by `dial`."""

    def __init__(self, wanted: Wanted, ready: "asyncio.Future[Opened]", heard: Heard = unheard) -> None:
        self._approach = Approach(wanted)
        self._ready = ready
        self._heard = heard
        self._inbox = Inbox(HANDSHAKE_INBOX_BYTES)
        self._transport: asyncio.Transport | None = None
        self._replies: Replies | None = None
        self._lost = ""

    @staticmethod
    async def dial(
        uri: str, wanted: Wanted, seconds: float, heard: Heard = unheard
    ) -> "tuple[Uplink, Opened]":
        """Open an export; `heard` is told of what comes from there.

        Raises:
            UsageError: not an NBD URI.
            TransientError: not reached within `seconds`, or the export is not served there now.
            MalformedError: it does not speak NBD as an owner does.
        """
        address = parse_uri(uri)
        loop = asyncio.get_running_loop()
        uplink = Uplink(wanted, loop.create_future(), heard)
        try:
            async with asyncio.timeout_at(loop.time() + seconds):
                await _connect(loop, address, uplink)
                return uplink, await uplink._ready
        except TimeoutError as error:
            uplink.cut()
            raise TransientError(f"no answer from {uri} in {seconds:g} s", code="nbd_timeout") from error
        except OSError as error:
            uplink.cut()
            raise TransientError(f"cannot reach {uri}: {error}", code="nbd_lost") from error
        except BaseException:
            uplink.cut()
            raise

    @property
    def is_lost(self) -> bool:
        """Nothing can be sent any more."""
        return bool(self._lost) or self._transport is None or self._transport.is_closing()

    def begin(self, replies: Replies) -> None:
        """From now on `replies` takes what comes; it may be told at once that the connection is gone."""
        self._replies = replies
        if self._lost:
            self._end(self._lost)

    def widen(self) -> None:
        """Make room for more than a handshake."""
        inbox = Inbox()
        inbox.put(bytes(self._inbox.view[self._inbox.start : self._inbox.end]))
        self._inbox = inbox

    def send(self, requests: list[bytes]) -> None:
        """Send requests; what is sent into a lost connection is lost with it."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.writelines(requests)

    def pause(self) -> None:
        """Take no replies for now."""
        if not self.is_lost and self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Take them again."""
        if not self.is_lost and self._transport is not None:
            self._transport.resume_reading()

    def cut(self) -> None:
        """End it now. Nothing more is sent, taken or told, not even what has arrived."""
        self._replies = None
        self._lost = self._lost or "cut"
        if self._transport is not None:
            self._transport.abort()

    # --- called by the event loop

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's do not inherit from it
        _notice_silence(self._transport.get_extra_info("socket"))
        if self._lost:
            self._transport.abort()  # given up while it was being made

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._end(f"connection lost: {exc}" if exc else "the owner closed the connection")

    @override
    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint
        return self._inbox.room()

    @override
    def buffer_updated(self, nbytes: int) -> None:
        self._heard(nbytes)
        self._inbox.end += nbytes
        if self._lost:
            return
        try:
            if not self._ready.done():
                self._approach_further()
            elif self._replies is not None:
                self._take(self._replies)
        except DrsyncError as error:
            self._fail(error)
        except BaseException:  # a bug: nobody may wait for replies that will not be taken
            self.cut()
            raise

    # --- inside

    def _approach_further(self) -> None:
        inbox, approach = self._inbox, self._approach
        answer = approach.receive(inbox.view[inbox.start : inbox.end])
        inbox.clear()
        if answer:
            self.send([answer])
        if approach.opened is not None:
            if approach.rest:
                raise TransientError("the server sends replies to nothing", code="nbd_lost")
            self._ready.set_result(approach.opened)

    def _take(self, replies: Replies) -> None:
        inbox = self._inbox
        inbox.start = replies.replies(inbox.view, inbox.start, inbox.end)
        inbox.settle(replies.reply_need)

    def _fail(self, error: DrsyncError) -> None:
        if not self._ready.done():
            self._ready.set_exception(error)
            self.cut()
        else:
            self._end(str(error))

    def _end(self, reason: str) -> None:
        """It is over: tell whoever waits, once."""
        self._lost = self._lost or reason
        if not self._ready.done():
            self._ready.set_exception(TransientError(reason, code="nbd_lost"))
        replies, self._replies = self._replies, None
        if self._transport is not None:
            self._transport.abort()
        if replies is not None:
            replies.disconnected(reason)


def _notice_silence(connection: socket.socket | None) -> None:
    """An idle TCP connection whose other end is gone without a word ends in about `SILENT_S`.

    One with data under way does not, and must not: an owner that takes nothing for a while is not gone.
    """
    if connection is None or connection.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, SILENT_S // 2)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, SILENT_S // 4)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2)


async def _connect(loop: asyncio.AbstractEventLoop, address: Address, uplink: Uplink) -> None:
    if address.socket is not None:
        await loop.create_unix_connection(lambda: uplink, str(address.socket))
    else:
        await loop.create_connection(lambda: uplink, address.host, address.port)
