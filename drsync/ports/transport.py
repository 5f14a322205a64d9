"""Byte streams between centers: authenticated, ordered, half-close is close.

A `Link` carries frames of `drsync.wire.frames`; what they mean is the engine's business. There are
three links per pair and direction: *control*, *bulk* (the log) and *files* (trees), each a connection of its
own, so that bulk data never delays a heartbeat and seeding a tree never delays a write.
"""

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Protocol


class LinkKind(StrEnum):
    """What a link is for; stated when it is opened."""

    CONTROL = "control"
    BULK = "bulk"
    FILES = "files"


class LinkHandler(Protocol):
    """Receives what happens on a link; called from the event loop, must not block."""

    def data_received(self, data: bytes | memoryview) -> None:
        """Some bytes, in order, which never change; none: more are coming, on a line that takes long."""
        ...

    def pause_writing(self) -> None:
        """The peer or the network is slower than we are: stop calling `Link.write`."""
        ...

    def resume_writing(self) -> None:
        """`Link.write` is welcome again."""
        ...

    def connection_lost(self, reason: str) -> None:
        """The link is gone; nothing more will be called."""
        ...


class Link(Protocol):
    """An open link."""

    @property
    def peer(self) -> str:
        """Authenticated name of the other side (from its pinned key, not from what it says)."""
        ...

    @property
    def kind(self) -> LinkKind:
        """Control or bulk."""
        ...

    def set_handler(self, handler: LinkHandler) -> None:
        """From now on this handler is called; bytes received earlier are delivered to it first."""
        ...

    def write(self, data: bytes) -> None:
        """Send bytes; never blocks. Ignored once the link is lost."""
        ...

    def soon(self, callback: Callable[[], None]) -> None:
        """Call it once everything that arrived together is delivered: in this turn of the loop or the next.

        From `LinkHandler.data_received`.
        """
        ...

    def close(self, reason: str) -> None:
        """Close it; `connection_lost` follows. Idempotent."""
        ...


Accept = Callable[[Link], None]
"""Called for every link a peer opened to us."""


class Transport(Protocol):
    """Opens links to named peers and accepts theirs."""

    async def connect(self, peer: str, kind: LinkKind) -> Link:
        """Open a link, within the transport's own deadline.

        Raises:
            TransientError: not reached, refused, timed out.
            RefusedError: the peer's key is not the pinned one, or it does not accept ours.
        """
        ...

    async def listen(self, accept: Accept) -> str:
        """Accept links; returns the address listened on as ``host:port``."""
        ...

    async def close(self) -> None:
        """Close the listener and every link."""
        ...


Call = Callable[[str, dict[str, object]], Awaitable[dict[str, object]]]
"""An answered request on a control link: method, body → body."""
