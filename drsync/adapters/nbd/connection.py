"""One accepted socket: the handshake, then transmission, with back-pressure in both directions."""

import asyncio
import errno
import logging
import socket
from typing import Protocol, cast

from typing_extensions import override

from drsync.adapters.nbd.inbox import Inbox
from drsync.adapters.nbd.negotiation import GREETING_BYTES, Chosen, Negotiation
from drsync.model.errors import MalformedError
from drsync.ports.attention import Heard
from drsync.ports.volume import Catalog

_log = logging.getLogger(__name__)

HANDSHAKE_INBOX_BYTES = 4096  # because a handshake is short, and 256 of them may be pending

UNSENT_BYTES_HIGH = 1 << 20  # because a reader that is this far behind does not need more requests executed
UNSENT_BYTES_LOW = 256 << 10  # because the socket must not run dry before requests are executed again

SOCKET_SEND_BYTES = 2 << 20
"""What the kernel may hold of replies on a UNIX socket, because one of 1 MiB then goes at once, and the next
is read while the client takes it; with the default of 208 KiB both wait for each other five times. It is less
where `net.core.wmem_max` says so. TCP finds its own size as long as it is given none."""


class Conversation(Protocol):
    """Who executes the requests of a connection; `Transmission` does it with a device."""

    @property
    def need(self) -> int:
        """Bytes of the next request, as far as known."""
        ...

    @property
    def is_blocked(self) -> bool:
        """No further request is begun for now: too much is unanswered or unsent."""
        ...

    @property
    def is_at_disk(self) -> bool:
        """Requests wait for a disk, or have just done so."""
        ...

    @property
    def is_over(self) -> bool:
        """What still arrives is of no interest."""
        ...

    def consume(self, data: memoryview, at: int, end: int) -> int:
        """Take the complete requests in ``data[at:end]``; returns where the rest starts."""
        ...

    def deliver(self) -> None:
        """Called soon after `Outlet.wake`."""
        ...

    def choke(self) -> None:
        """The client does not take its replies."""
        ...

    def unchoke(self) -> None:
        """It does again."""
        ...

    def shut(self, error: int) -> None:
        """Answer everything outstanding with `error` and execute nothing more."""
        ...

    def abandon(self) -> None:
        """The connection is gone, or continued by another one: execute nothing more."""
        ...


class House(Protocol):
    """What a connection needs of its server."""

    @property
    def exports(self) -> Catalog:
        """What is served."""
        ...

    @property
    def handshake_seconds(self) -> float:
        """How long a handshake may take."""
        ...

    @property
    def heard(self) -> Heard:
        """Told of what clients ask for, where no disk is waited for."""
        ...

    def admit(self, connection: "Connection") -> bool:
        """A new socket; False when there are too many that have not chosen an export."""
        ...

    def may_open(self, name: str) -> bool:
        """Whether one more connection to this export is welcome."""
        ...

    def opened(self, connection: "Connection", chosen: Chosen) -> Conversation:
        """The connection has chosen its export; who executes its requests."""
        ...

    def left(self, connection: "Connection", chosen: Chosen | None) -> None:
        """The connection is gone."""
        ...


class Connection(asyncio.BufferedProtocol):
    """The protocol object that asyncio or uvloop calls; `Transmission`'s outlet."""

    def __init__(self, house: House, loop: asyncio.AbstractEventLoop) -> None:
        self._house = house
        self._loop = loop
        self._heard = house.heard
        self._inbox = Inbox(HANDSHAKE_INBOX_BYTES)
        self._negotiation = Negotiation(house.exports, house.may_open)
        self._transport: asyncio.Transport | None = None
        self._transmission: Conversation | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._chosen: Chosen | None = None
        self._is_reading_paused = False
        self._is_writing_paused = False
        self._is_proceeding = False

    # --- called by the event loop

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, or refuse when too many sockets are waiting."""
        stream = cast("asyncio.Transport", transport)  # uvloop's do not inherit from it
        self._transport = stream
        if not self._house.admit(self):
            self.drop("too many connections that have not chosen an export")
            return
        end = stream.get_extra_info("socket")
        if end is not None and end.family == socket.AF_UNIX:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_SEND_BYTES)
        stream.set_write_buffer_limits(high=UNSENT_BYTES_HIGH, low=UNSENT_BYTES_LOW)
        self._deadline = self._loop.call_later(self._house.handshake_seconds, self._handshake_is_late)
        stream.write(GREETING_BYTES)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed; `exc` says whether that was an accident."""
        del exc
        self._stop_deadline()
        if self._transmission is not None:
            self._transmission.abandon()
        self._house.left(self, self._chosen)

    @override
    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to receive."""
        del sizehint
        return self._inbox.room()

    @override
    def buffer_updated(self, nbytes: int) -> None:
        """Some bytes arrived in the buffer."""
        self._inbox.end += nbytes
        transmission = self._transmission
        if transmission is None:
            self._negotiate()
            return
        self._proceed(transmission)
        if not transmission.is_at_disk:  # which answers sooner when it has the processor to itself
            self._heard(nbytes)

    @override
    def pause_writing(self) -> None:
        """The client does not take its replies."""
        self._is_writing_paused = True
        if self._transmission is not None:
            self._transmission.choke()
            self._regulate(self._transmission)

    @override
    def resume_writing(self) -> None:
        """The client does again."""
        self._is_writing_paused = False
        if self._transmission is not None:
            self._transmission.unchoke()
            self._proceed(self._transmission)

    # --- called by the server

    def shut(self) -> None:
        """Answer what is outstanding with ESHUTDOWN where the client still listens, then close."""
        if self._transmission is not None:
            self._transmission.shut(errno.ESHUTDOWN)
        if self._transport is not None:
            if self._is_writing_paused:
                self._transport.abort()
            else:
                self._transport.close()

    def abort(self) -> None:
        """Close without sending anything more."""
        if self._transport is not None:
            self._transport.abort()

    def retire(self) -> None:
        """Another connection continues this one's session: execute nothing more, also of what has arrived."""
        if self._transmission is not None:
            self._transmission.abandon()
        self.abort()

    # --- called by the transmission

    def send(self, data: bytes | memoryview) -> None:
        """Send replies."""
        if self._transport is not None:
            self._transport.write(data)

    def wake(self) -> None:
        """Replies are waiting: hand them to the socket, which sends all of this turn of the loop in one go.

        Requests that waited for that are begun in the next turn: the device is in the midst of an answer.
        """
        if self._is_reading_paused or self._is_proceeding or self._transmission is None:
            self._loop.call_soon(self._deliver)
        else:
            self._transmission.deliver()

    def finish(self) -> None:
        """All is answered after DISC."""
        if self._transport is not None:
            self._transport.close()

    def drop(self, reason: str) -> None:
        """The client broke the protocol."""
        name = self._chosen.name if self._chosen is not None else None
        _log.info("nbd connection dropped: %s (export %s)", reason, name)
        self.abort()

    # --- inside

    def _deliver(self) -> None:
        transmission = self._transmission
        if transmission is not None:
            transmission.deliver()
            if self._is_reading_paused:
                self._proceed(transmission)

    def _proceed(self, transmission: Conversation) -> None:
        inbox = self._inbox
        if transmission.is_over:
            inbox.clear()
        else:
            self._is_proceeding = True
            try:
                inbox.start = transmission.consume(inbox.view, inbox.start, inbox.end)
            except BaseException:  # a bug in the device: nobody may wait for an answer that will not come
                self.abort()
                raise
            finally:
                self._is_proceeding = False
            inbox.settle(transmission.need)
        self._regulate(transmission)

    def _regulate(self, transmission: Conversation) -> None:
        """Read from the socket only while requests may be executed."""
        should_pause = transmission.is_blocked and not transmission.is_over
        if should_pause != self._is_reading_paused and self._transport is not None and not self._is_closing:
            self._is_reading_paused = should_pause
            if should_pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    @property
    def _is_closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def _negotiate(self) -> None:
        inbox, negotiation = self._inbox, self._negotiation
        try:
            replies = negotiation.receive(inbox.view[inbox.start : inbox.end])
        except MalformedError as error:
            self.drop(str(error))
            return
        inbox.clear()
        if replies:
            self.send(replies)
        if negotiation.has_left:
            self.finish()
        elif negotiation.chosen is not None:
            self._begin(negotiation.chosen)

    def _begin(self, chosen: Chosen) -> None:
        self._stop_deadline()
        self._chosen = chosen
        self._transmission = transmission = self._house.opened(self, chosen)
        self._inbox = Inbox()
        if self._is_writing_paused:
            transmission.choke()
        self._inbox.put(self._negotiation.rest)
        self._proceed(transmission)

    def _handshake_is_late(self) -> None:
        self.drop("the handshake took too long")

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
