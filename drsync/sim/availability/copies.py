"""The copies of the group: how many seconds of writes each holds, and what became of it."""

from collections.abc import Collection, Iterable

from drsync.sim.availability.faults import CENTERS, REMOTE, Effect
from drsync.sim.availability.rates import Rates
from drsync.sim.availability.rules import Word

NEAR = 1e-6  # because positions are sums of floating point numbers


class Copies:
    """Positions are seconds of writes since the beginning; `written` is the owner's.

    Attributes:
        written: end of the group's log.
        position: of each center.
        is_unclean: its host restarted uncleanly, and it has not caught up since.
        is_useless: lost or no longer of this history; it has to be filled again.
    """

    def __init__(self, rates: Rates) -> None:
        self._lag = rates.model.lag
        self._unsynced = rates.model.unsynced
        self._speed = rates.model.catch_up
        self._resync = rates.steps.resync.lasts
        self.written = 0.0
        self.position = [0.0] * len(CENTERS)
        self.is_unclean = [False] * len(CENTERS)
        self.is_useless = [False] * len(CENTERS)
        self._to_fill = [0.0] * len(CENTERS)

    def word(self, center: int) -> Word:
        """What the center says of its copy."""
        return Word(self.position[center], self.is_unclean[center], self.is_useless[center])

    def pass_time(
        self,
        seconds: float,
        owner: int,
        followers: Iterable[int],
        in_sync: Collection[int],
        *,
        is_serving: bool,
    ) -> None:
        """An open owner writes or not, and who hears it follows."""
        if is_serving:
            self.written += seconds
        self.position[owner] = self.written
        for center in followers:
            if self.is_useless[center]:
                self._to_fill[center] -= seconds
                if self._to_fill[center] <= NEAR:
                    self.is_useless[center] = False
                    self.position[center] = self._reachable(center, is_serving=is_serving)
            elif center in in_sync:
                self.position[center] = self.written
            else:
                top = self._reachable(center, is_serving=is_serving)
                come = self.position[center] + self._speed * seconds
                self.position[center] = max(self.position[center], min(top, come))
            if self.is_unclean[center] and self.is_current(center, is_serving=is_serving):
                self.is_unclean[center] = False

    def _reachable(self, center: int, *, is_serving: bool) -> float:
        """Where a connected copy stands: a remote one a little behind while the owner writes."""
        return self.written - self._lag if is_serving and center == REMOTE else self.written

    def is_current(self, center: int, *, is_serving: bool) -> bool:
        """Whether it has all that a connected copy can have."""
        top = self._reachable(center, is_serving=is_serving)
        return not self.is_useless[center] and self.position[center] >= top - NEAR

    def until_current(self, center: int, *, is_serving: bool) -> float:
        """Seconds until it is, if it stays connected."""
        if self.is_useless[center]:
            return max(self._to_fill[center], NEAR)
        gap = self._reachable(center, is_serving=is_serving) - self.position[center]
        return max(0.0, gap / (self._speed - 1.0 if is_serving else self._speed))

    def hit(self, effect: Effect, center: int) -> None:
        """A host or a disk goes."""
        if effect is Effect.DISK:
            self.is_useless[center] = True
            self._to_fill[center] = self._resync
        elif effect is Effect.HOST:
            self.is_unclean[center] = True
            self.position[center] = max(0.0, self.position[center] - self._unsynced)

    def open(self, owner: int, position: float, *, is_forced: bool) -> float:
        """The log goes on from `position` at `owner`. Returns the seconds of writes given up.

        What another copy has beyond it was never acknowledged, or is given up by name: then that copy is kept
        as a fork and filled again.
        """
        lost = max(0.0, self.written - position)
        self.written = position
        self.is_unclean[owner] = self.is_useless[owner] = False
        for center in CENTERS:
            if self.position[center] > position + NEAR and center != owner:
                if is_forced:
                    self.hit(Effect.DISK, center)
                self.position[center] = position
        self.position[owner] = position
        return lost

    def restore(self, owner: int, age: float) -> float:
        """A backup of that age is all there is."""
        lost = min(age, self.written)
        self.open(owner, self.written, is_forced=False)
        for center in CENTERS:
            if center != owner:
                self.hit(Effect.DISK, center)
        return lost
