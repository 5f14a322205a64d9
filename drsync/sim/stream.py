"""One stream over the simulated network: two ends, and the pieces that are on their way between them."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Protocol

from drsync.ports.transport import LinkHandler, LinkKind
from drsync.sim.line import Line
from drsync.sim.process import Process
from drsync.sim.timeline import Timeline

QUEUE_HIGH = 256 << 10  # bytes on their way, because a socket's buffers hold about that
QUEUE_LOW = 64 << 10
PACKET = 32 << 10  # bytes that arrive together at most, because SSH cuts what is written into such
RETRANSMIT_S = 0.2  # because TCP waits at least that long for a lost segment
RETRANSMIT_MAX_S = 3.0  # because its waits double; a line that is mended is found again within them


class Carrier(Protocol):
    """What a stream needs of the network. `bytes` counts what was given to it."""

    timeline: Timeline
    dice: Random
    bytes: int

    def line(self, source: str, target: str) -> Line:
        """The line from one place to another."""
        ...

    def trip(self, source: str, target: str) -> float:
        """Seconds from place to place now."""
        ...

    def is_host_up(self, place: str, /) -> bool:
        """Whether a machine has power."""
        ...

    def forget(self, link: "SimLink") -> None:
        """It is closed."""
        ...

    def stick(self, link: "SimLink", *, is_stuck: bool) -> None:
        """Whether this end has something to send again when its line is mended."""
        ...


class Fate(StrEnum):
    """Where a piece of a stream is."""

    UNDER_WAY = "under way"
    LOST = "lost"  # it is sent again when the line is mended
    THERE = "there"  # at the other machine, perhaps before what was sent earlier


@dataclass(slots=True, eq=False)
class _Piece:
    """What was written at once.

    Attributes:
        data: b"" says goodbye.
        leaves: when it is off the machine that sent it.
    """

    data: bytes
    leaves: float = 0.0
    fate: Fate = Fate.LOST


class SimLink:
    """One end of a stream: `ports.transport.Link`.

    Attributes:
        other: the other end.
        is_forgotten: a firewall on the way knows the stream no more, and drops what belongs to it.
    """

    def __init__(self, network: Carrier, process: Process, me: str, peer: str, kind: LinkKind) -> None:
        self.me = me
        self.number = network.timeline.number()
        self.other: SimLink | None = None
        self.is_forgotten = False
        self._peer, self._kind = peer, kind
        self._network = network
        self._process = process
        self._handler: LinkHandler | None = None
        self._early: list[bytes] = []
        self._lost = ""  # why, when it was lost before there was a handler
        self._is_closed = False  # for us: nothing is written or delivered any more
        self._pieces: deque[_Piece] = deque()  # not handed over yet, in the order of the stream
        self._is_dark = False  # our machine has lost power: nothing leaves it any more
        self._queued = 0
        self._is_paused = False
        self._free_at = 0.0
        self._last_arrival = 0.0
        process.at_end.append(self._process_ended)

    @property
    def peer(self) -> str:
        """See Link."""
        return self._peer

    @property
    def kind(self) -> LinkKind:
        """See Link."""
        return self._kind

    @property
    def queued(self) -> int:
        """Bytes that were written here and that the other process has not taken."""
        return self._queued

    @property
    def handler(self) -> LinkHandler | None:
        """Who is told what arrives."""
        return self._handler

    # --- the process's side

    def set_handler(self, handler: LinkHandler) -> None:
        """See Link."""
        self._handler = handler
        early, self._early = self._early, []
        for data in early:
            handler.data_received(data)
        if self._lost:
            self._process.run_soon(handler.connection_lost, self._lost)

    def write(self, data: bytes) -> None:
        """See Link."""
        if self._is_closed or not data or not self._process.is_alive:
            return
        self._queued += len(data)
        self._network.bytes += len(data)
        for at in range(0, len(data), PACKET):
            self._send(bytes(data[at : at + PACKET]))
        if self._queued > QUEUE_HIGH and not self._is_paused and self._handler is not None:
            self._is_paused = True
            self._handler.pause_writing()

    def soon(self, callback: Callable[[], None]) -> None:
        """See the port."""
        asyncio.get_running_loop().call_soon(callback)

    def close(self, reason: str) -> None:
        """See Link."""
        if self._is_closed or not self._process.is_alive:
            return
        self._end(reason)
        self._send(b"")

    # --- the network's side

    def _send(self, data: bytes) -> None:
        """On its way; an empty one says goodbye."""
        piece = _Piece(data)
        self._pieces.append(piece)
        self._set_off(piece)

    def _set_off(self, piece: _Piece) -> None:
        network = self._network
        line, timeline = network.line(self.me, self._peer), network.timeline
        if line.is_cut or self.is_forgotten:
            self._lose(piece)
            return
        start = max(timeline.now, self._free_at)
        rate = line.rate_now
        if rate:
            self._free_at = start = start + len(piece.data) / rate
        arrival = max(self._last_arrival, start + network.trip(self.me, self._peer))
        self._last_arrival = arrival
        piece.leaves, piece.fate = start, Fate.UNDER_WAY
        timeline.at(arrival, lambda: self._arrive(piece))

    def _lose(self, piece: _Piece) -> None:
        piece.fate = Fate.LOST
        self._network.stick(self, is_stuck=True)

    def _arrive(self, piece: _Piece) -> None:
        """At the other end's machine; handed over when all that was sent before it is there, too."""
        if piece.fate is not Fate.UNDER_WAY:
            return  # it never left a machine that lost power
        if self._network.line(self.me, self._peer).is_cut or self.is_forgotten:
            self._lose(piece)
            return
        piece.fate = Fate.THERE
        pieces = self._pieces
        while pieces and pieces[0].fate is Fate.THERE:
            self._hand_over(pieces.popleft().data)

    def _hand_over(self, data: bytes) -> None:
        other = self.other
        assert other is not None
        if not data:
            other.broken("closed by the other side")
        elif not other.take(data):
            self._taken(len(data))
            self._answer_of_nobody()

    def _taken(self, size: int) -> None:
        """The other process has read so much: there is room for more."""
        self._queued -= size
        if self._is_paused and self._queued < QUEUE_LOW and self._handler is not None:
            self._is_paused = False
            if not self._is_closed:
                self._process.run_soon(self._handler.resume_writing)

    def _answer_of_nobody(self) -> None:
        """A machine that is up refuses data of a stream it does not know; one that is down says nothing."""
        if self._network.is_host_up(self._peer):
            network = self._network
            if not network.line(self._peer, self.me).is_cut:
                network.timeline.after(
                    network.trip(self._peer, self.me), lambda: self.broken("connection reset by peer")
                )

    def take(self, data: bytes) -> bool:
        """Data has come to this end's machine; whether anybody knows the stream."""
        if self._is_closed or not self._process.is_alive:
            return False
        self._process.run_soon(self._deliver, data)
        return True

    def _deliver(self, data: bytes) -> None:
        if self.other is not None:
            self.other._taken(len(data))  # noqa: SLF001  # the other end of the same stream
        if self._is_closed:
            return
        if self._handler is None:
            self._early.append(data)
        else:
            self._handler.data_received(data)

    def try_again_later(self) -> None:
        """The line was mended: what was lost is sent again after a while."""
        network = self._network
        delay = network.dice.uniform(RETRANSMIT_S, RETRANSMIT_MAX_S)
        network.timeline.after(delay, self._send_again)

    def _send_again(self) -> None:
        self._network.stick(self, is_stuck=False)
        if self._is_dark:
            return
        for piece in list(self._pieces):
            if piece.fate is Fate.LOST:
                self._set_off(piece)

    def broken(self, reason: str) -> None:
        """The stream has ended for this side, which is told."""
        if not self._is_closed and self._process.is_alive:
            self._end(reason)

    def _end(self, reason: str) -> None:
        self._is_closed = True
        self._network.forget(self)
        if self._handler is not None:
            self._process.run_soon(self._handler.connection_lost, reason)
        else:
            self._lost = reason

    def _process_ended(self) -> None:
        """The kernel closes what a dead process left; a machine without power closes nothing."""
        is_up = self._network.is_host_up(self.me)
        if not is_up:
            self._go_dark()
        if self._is_closed:
            return
        self._is_closed = True
        self._network.forget(self)
        if is_up:
            self._send(b"")

    def _go_dark(self) -> None:
        """What is in the buffers of the machine is gone; what is on the line arrives."""
        self._is_dark = True
        now = self._network.timeline.now
        for piece in self._pieces:
            if piece.fate is Fate.UNDER_WAY and piece.leaves > now:
                piece.fate = Fate.LOST
