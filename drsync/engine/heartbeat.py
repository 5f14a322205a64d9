"""Heartbeat records: when the owner writes one, and which one a copy could show if it were opened now.

The owner marks its log once a second. Whoever finds the mark in a copy knows that all that was written
before it is there as well: that is proof, where a counter of acknowledgments is only a claim.
"""

from bisect import bisect_right
from collections import deque

from drsync.model.objectives import NO_BEAT, Beat

BEAT_S = 1.0  # because the proof of an RPO is as coarse as this, and targets are given in seconds
BEATS_MAX = 4096  # because an hour of a silent peer fits; older ones are thinned out, never the newest
SERVED_MAX = 16  # because a coordinator that was away should learn of the breaks that it missed
STALL_S = 1.0  # because a write that waits longer than this is an outage to whoever waits


class Pulse:
    """The owner's side: labels that no corrected clock bends, and since when it serves without a break.

    Labels start with the wall clock at the opening, or with the newest label in the log if that is later,
    and go on with the steady clock.
    """

    def __init__(self, now: float, wall_us: int, newest_us: int, second_s: float = BEAT_S) -> None:
        """A term begins at `now`; `newest_us` is the label of the newest heartbeat in its log, or 0.

        The second one is due after `second_s`, and those after it in step with that.
        """
        self._began = now
        self._began_us = max(wall_us, newest_us)
        self._due = now
        self._second_s = second_s
        self._number = 0
        self._seen = now
        self._serving_since: float | None = None
        self._served: deque[tuple[float, float]] = deque(maxlen=SERVED_MAX)

    def label(self, now: float) -> int:
        """The present instant as a label."""
        return self._began_us + int((now - self._began) * 1e6)

    @property
    def due(self) -> float:
        """When the next heartbeat is due."""
        return self._due

    def next_number(self, now: float) -> int:
        """Which heartbeat is due, counted from 1; 0 while none is."""
        if now < self._due:
            return 0
        is_late = now - self._due >= BEAT_S
        self._due = (now if is_late else self._due) + (BEAT_S if self._number else self._second_s)
        self._number += 1
        return self._number

    def watch(self, now: float, *, is_serving: bool) -> None:
        """Asked every tick whether writes are taken and answered."""
        if not is_serving:
            if self._serving_since is not None:
                self._served.append((self._serving_since, self._seen))
            self._serving_since = None
        elif self._serving_since is None:
            self._serving_since = now
        self._seen = now

    def served(self, now: float) -> list[tuple[float, float]]:
        """The latest stretches of service that are over, oldest first: from and to, in seconds ago."""
        return [(now - start, now - end) for start, end in self._served]

    def serving_s(self, now: float) -> float | None:
        """For how long writes have been taken without a break; None while they are not."""
        return None if self._serving_since is None else max(0.0, now - self._serving_since)


class BeatBook:
    """The heartbeats of a copy, by record."""

    def __init__(self, known: Beat) -> None:
        """`known` was found before the process started; `NO_BEAT` when none was."""
        self._beats = [known] if known.seq else []

    def note(self, beat: Beat) -> None:
        """One was appended."""
        if self._beats and beat.seq <= self._beats[-1].seq:
            return
        self._beats.append(beat)
        if len(self._beats) > BEATS_MAX:
            del self._beats[1 : BEATS_MAX // 2 : 2]

    def found(self, position: int) -> Beat:
        """The newest one that lies at or below `position`; `NO_BEAT` when there is none."""
        at = bisect_right(self._beats, position, key=lambda beat: beat.seq)
        return self._beats[at - 1] if at else NO_BEAT

    def cut(self, after_seq: int) -> None:
        """The log beyond was removed."""
        del self._beats[bisect_right(self._beats, after_seq, key=lambda beat: beat.seq) :]

    @property
    def newest(self) -> Beat:
        """The newest one in the log, committed or not."""
        return self._beats[-1] if self._beats else NO_BEAT
