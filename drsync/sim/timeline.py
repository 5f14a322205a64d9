"""Virtual time: what happens when, in one thread and in one order.

Nothing here knows what happens. What happens at the same instant happens in the order asked for.
"""

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush

INSTANT_MAX = (
    200_000  # events at one instant, because a loop that never waits would hold up the world for ever
)

Action = Callable[[], None]


class Entry:
    """Something that will happen, unless it is cancelled."""

    __slots__ = ("action", "when")

    def __init__(self, when: float, action: Action | None) -> None:
        self.when = when
        self.action = action

    def cancel(self) -> None:
        """Let it not happen. Harmless when it has happened already."""
        self.action = None


class StandstillError(Exception):
    """Time does not pass any more: something goes on for ever at one instant."""


class Timeline:
    """Seconds since the beginning of a world.

    Attributes:
        now: the present instant.
        events: things that have happened, cancelled ones not counted.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.events = 0
        self._soon: deque[Action] = deque()
        self._heap: list[tuple[float, int, Entry]] = []
        self._numbers = 0

    def soon(self, action: Action) -> None:
        """Have it happen at this instant, after everything that was asked for before."""
        self._soon.append(action)

    def at(self, when: float, action: Action) -> Entry:
        """Have it happen at `when`, or at this instant if that has passed."""
        entry = Entry(max(when, self.now), action)
        self._numbers += 1
        heappush(self._heap, (entry.when, self._numbers, entry))
        return entry

    def after(self, seconds: float, action: Action) -> Entry:
        """Have it happen in so many seconds."""
        return self.at(self.now + seconds, action)

    def number(self) -> int:
        """A number that nothing else in this world has."""
        self._numbers += 1
        return self._numbers

    def run(self, until: float, is_enough: Callable[[], bool] | None = None) -> bool:
        """Let time pass until an instant, or until `is_enough` after some event; whether it was enough.

        Raises:
            StandstillError: too much happens at one instant.
        """
        soon, heap = self._soon, self._heap
        patience = self.events + INSTANT_MAX
        while True:
            while soon:
                self.events += 1
                soon.popleft()()
                if self.events > patience:
                    raise StandstillError(f"{INSTANT_MAX} events at {self.now} s")
                if is_enough is not None and is_enough():
                    return True
            if not heap or heap[0][0] > until:
                self.now = max(self.now, until)
                return False
            if self.events > patience:
                raise StandstillError(f"{INSTANT_MAX} events at {self.now} s")
            when, _, entry = heappop(heap)
            action = entry.action
            if action is None:
                continue
            entry.action = None
            if when > self.now:
                self.now, patience = when, self.events + INSTANT_MAX
            self.events += 1
            action()
            if is_enough is not None and is_enough():
                return True
