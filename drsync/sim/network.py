"""The simulated network: lines between places, and streams over them as TCP would carry them.

A stream loses, duplicates and reorders nothing inside itself; what the network does to it shows as delay, as
a break that only one side notices, or as silence. Streams of the same pair overtake each other freely.
"""

import random
from typing import TYPE_CHECKING

from drsync.ports.transport import Accept, LinkKind
from drsync.sim.line import Line
from drsync.sim.process import Process
from drsync.sim.stream import RETRANSMIT_S, SimLink
from drsync.sim.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECT_TIMEOUT_S = 10.0  # because the real transport has this deadline


class Network:
    """All lines and streams of a world.

    Attributes:
        lines: (from, to) -> line; made on first use.
        bytes: carried so far.
        connect_timeout_s: after which a place that does not answer is given up.
    """

    def __init__(self, timeline: Timeline, dice: random.Random) -> None:
        self.timeline = timeline
        self.dice = dice
        self.lines: dict[tuple[str, str], Line] = {}
        self.bytes = 0
        self.connect_timeout_s = CONNECT_TIMEOUT_S
        self._listeners: dict[str, tuple[Process, Accept]] = {}
        self._streams: dict[int, SimLink] = {}
        self._stuck: dict[int, SimLink] = {}  # ends that have something to send again, closed ones too
        self.is_host_up: Callable[[str], bool] = lambda _place: True

    def line(self, source: str, target: str) -> Line:
        """The line from one place to another."""
        found = self.lines.get((source, target))
        if found is None:
            found = self.lines[source, target] = Line()
        return found

    # --- what breaks

    def cut(self, source: str, target: str) -> None:
        """Nothing passes in this direction any more; what was sent waits for the line to be mended."""
        self.line(source, target).is_cut = True

    def mend(self, source: str, target: str) -> None:
        """It passes again, as soon as the senders try again."""
        line = self.line(source, target)
        if line.is_cut:
            line.is_cut = False
            for link in list(self._stuck.values()):
                if (link.me, link.peer) == (source, target):
                    link.try_again_later()

    def mend_all(self) -> None:
        """Every line passes again and loses nothing."""
        for source, target in sorted(self.lines):
            self.lines[source, target].mend()
            self.mend(source, target)

    def reset(self, one: str, other: str) -> None:
        """Every stream between two places breaks, and both sides are told."""
        for link in list(self._streams.values()):
            if (link.me, link.peer) == (one, other):
                link.broken("connection reset")
                if link.other is not None:
                    link.other.broken("connection reset")

    def forget_streams(self, one: str, other: str, kind: LinkKind) -> None:
        """Whatever stands between two places forgets streams of a kind: nothing passes, nobody is told."""
        for link in self._streams.values():
            if {link.me, link.peer} == {one, other} and link.kind is kind:
                link.is_forgotten = True

    # --- streams

    def listen(self, place: str, process: Process, accept: Accept) -> None:
        """Accept streams at a place, for as long as the process lives."""
        self._listeners[place] = (process, accept)
        process.at_end.append(lambda: self._unlisten(place, process))

    def _unlisten(self, place: str, process: Process) -> None:
        if place in self._listeners and self._listeners[place][0] is process:
            del self._listeners[place]

    def open_links(self) -> list[SimLink]:
        """Every end of a stream that its process has not closed and was not told to be closed."""
        return list(self._streams.values())

    def listener(self, place: str) -> tuple[Process, Accept] | None:
        """Who accepts streams there."""
        return self._listeners.get(place)

    def passes(self, one: str, other: str) -> bool:
        """Whether both directions pass."""
        return not (self.line(one, other).is_cut or self.line(other, one).is_cut)

    def trip(self, source: str, target: str, size: int = 0) -> float:
        """Seconds that some bytes need from place to place now."""
        line, dice = self.line(source, target), self.dice
        delay = line.latency + line.jitter * dice.random()
        loss, rate = line.loss_now, line.rate_now
        if loss and dice.random() < loss:
            delay += RETRANSMIT_S * 2 ** dice.randrange(3)
        return delay + (size / rate if rate else 0.0)

    def pair(
        self, one: Process, me: str, other: Process, peer: str, kind: LinkKind
    ) -> tuple[SimLink, SimLink]:
        """Two ends of a new stream."""
        near = SimLink(self, one, me, peer, kind)
        far = SimLink(self, other, peer, me, kind)
        near.other, far.other = far, near
        self._streams[near.number] = near
        self._streams[far.number] = far
        return near, far

    def forget(self, link: SimLink) -> None:
        """It is closed."""
        self._streams.pop(link.number, None)

    def stick(self, link: SimLink, *, is_stuck: bool) -> None:
        """Whether this end has something to send again when its line is mended."""
        if is_stuck:
            self._stuck[link.number] = link
        else:
            self._stuck.pop(link.number, None)
