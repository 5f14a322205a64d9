"""Links without a network, for tests of whatever talks over them: they can be cut, held and broken.

Bytes are delivered in a later turn of the loop, in order, never from within `write`. Like SSH, a link that
holds more than a window of undelivered bytes asks its writer to pause.
"""

import asyncio
from collections.abc import Callable

from drsync.model.errors import RefusedError, TransientError
from drsync.ports.transport import Accept, LinkHandler, LinkKind

WINDOW_BYTES = 2 << 20  # because the SSH transport has that much


class MemoryLink:
    """One end of a link; see the port.

    Attributes:
        sent: everything written here, in pieces as written.
        is_cut: what is written here is silently dropped, as by a firewall.
        is_held: what is written here waits, as before a peer that does not read.
    """

    def __init__(self, peer: str, kind: LinkKind) -> None:
        self.sent: list[bytes] = []
        self.is_cut = False
        self.is_held = False
        self.closed: str | None = None
        self._peer = peer
        self._kind = kind
        self._other: MemoryLink | None = None
        self._handler: LinkHandler | None = None
        self._inbox: list[bytes] = []
        self._inbox_bytes = 0
        self._is_paused = False
        self._is_scheduled = False
        self._is_told = False

    @property
    def peer(self) -> str:
        """See the port."""
        return self._peer

    @property
    def kind(self) -> LinkKind:
        """See the port."""
        return self._kind

    def join(self, other: "MemoryLink") -> None:
        """What is written here arrives there."""
        self._other = other

    def set_handler(self, handler: LinkHandler) -> None:
        """See the port."""
        self._handler = handler
        self.schedule()

    def write(self, data: bytes) -> None:
        """See the port."""
        if self.closed is not None:
            return
        self.sent.append(data)
        if self.is_cut or self._other is None:
            return
        if self._other.arrive(data) > WINDOW_BYTES and not self._is_paused:
            self._is_paused = True
            if self._handler is not None:
                self._handler.pause_writing()

    def soon(self, callback: Callable[[], None]) -> None:
        """See the port."""
        asyncio.get_running_loop().call_soon(callback)

    def close(self, reason: str) -> None:
        """See the port. The other end learns of it, unless the link is cut."""
        if self.closed is not None:
            return
        self.closed = reason
        self.schedule()
        if self._other is not None and not self.is_cut:
            self._other.fail(f"{self._other.peer} closed the link")

    def fail(self, reason: str) -> None:
        """The connection breaks here, with what arrived before still to be delivered."""
        if self.closed is None:
            self.closed = reason
            self.schedule()

    def release(self) -> None:
        """Deliver what was held."""
        self.is_held = False
        if self._other is not None:
            self._other.schedule()

    # --- for the other end

    def arrive(self, data: bytes) -> int:
        """Deliver `data` soon; how many bytes wait."""
        self._inbox.append(data)
        self._inbox_bytes += len(data)
        self.schedule()
        return self._inbox_bytes

    def schedule(self) -> None:
        """Deliver in the next turn of the loop."""
        if not self._is_scheduled and self._handler is not None:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        self._is_scheduled = False
        handler, other = self._handler, self._other
        assert handler is not None
        if other is None or not other.is_held:
            inbox, self._inbox, self._inbox_bytes = self._inbox, [], 0
            for data in inbox:
                handler.data_received(data)
            if other is not None:
                other.drained()
        if self.closed is not None and not self._is_told and not self._inbox:
            self._is_told = True
            handler.connection_lost(self.closed)

    def drained(self) -> None:
        """What was written here has been delivered."""
        if self._is_paused and self.closed is None:
            self._is_paused = False
            if self._handler is not None:
                self._handler.resume_writing()


def memory_pair(left: str, right: str, kind: LinkKind = LinkKind.CONTROL) -> tuple[MemoryLink, MemoryLink]:
    """Both ends of a link: the first is held by `left`, its `peer` is `right`."""
    ours, theirs = MemoryLink(right, kind), MemoryLink(left, kind)
    ours.join(theirs)
    theirs.join(ours)
    return ours, theirs


class MemoryNetwork:
    """Who listens, and who reaches whom.

    Attributes:
        links: every link ever opened, by (dialer, listener), oldest first.
        unreachable: pairs of names that cannot open links now, in that direction.
        refused: pairs whose keys do not match.
    """

    def __init__(self) -> None:
        self.links: dict[tuple[str, str], list[tuple[MemoryLink, MemoryLink]]] = {}
        self.unreachable: set[tuple[str, str]] = set()
        self.refused: set[tuple[str, str]] = set()
        self._listeners: dict[str, Accept] = {}

    def transport(self, me: str) -> "MemoryTransport":
        """The transport of one center."""
        return MemoryTransport(self, me)

    def cut(self, left: str, right: str) -> None:
        """Drop everything between the two from now on, both ways, and let nobody connect."""
        self.unreachable |= {(left, right), (right, left)}
        for ends in self.ends(left, right):
            ends.is_cut = True

    def heal(self, left: str, right: str) -> None:
        """New links can be opened again; old ones stay as broken as they are."""
        self.unreachable -= {(left, right), (right, left)}

    def ends(self, left: str, right: str) -> list[MemoryLink]:
        """Both ends of every link between the two."""
        pairs = [*self.links.get((left, right), []), *self.links.get((right, left), [])]
        return [end for pair in pairs for end in pair]

    def listen(self, me: str, accept: Accept) -> None:
        """Links to `me` are accepted."""
        self._listeners[me] = accept

    def leave(self, me: str, reason: str) -> None:
        """`me` is gone: its listener and all its links."""
        self._listeners.pop(me, None)
        for pair, opened in self.links.items():
            if me in pair:
                for ours, theirs in opened:
                    (ours if pair[0] == me else theirs).close(reason)

    def open(self, me: str, peer: str, kind: LinkKind) -> MemoryLink:
        """A new link. Raises as `Transport.connect`."""
        if (me, peer) in self.refused:
            raise RefusedError(f"{peer} does not accept {me}", code="key_not_accepted")
        accept = self._listeners.get(peer)
        if accept is None or (me, peer) in self.unreachable:
            raise TransientError(f"{peer} is not reached")
        ours, theirs = memory_pair(me, peer, kind)
        self.links.setdefault((me, peer), []).append((ours, theirs))
        accept(theirs)
        return ours


class MemoryTransport:
    """One center's transport; see the port."""

    def __init__(self, network: MemoryNetwork, me: str) -> None:
        self._network = network
        self._me = me

    async def connect(self, peer: str, kind: LinkKind) -> MemoryLink:
        """See the port."""
        await asyncio.sleep(0)
        return self._network.open(self._me, peer, kind)

    async def listen(self, accept: Accept) -> str:
        """See the port."""
        self._network.listen(self._me, accept)
        return f"{self._me}:1"

    async def close(self) -> None:
        """See the port."""
        self._network.leave(self._me, "closed")
