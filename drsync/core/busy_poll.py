"""Whether to wait awake for what comes next: only while it mostly comes at once.

To sleep and be woken costs tens of microseconds, twice for each write that somebody waits for; on a virtual
machine as much as the work itself. Who stays awake for a moment answers sooner, and wastes that moment
whenever nothing comes. Nothing here looks at a clock.
"""

from typing import Final

LONE_BYTES: Final = 16 << 10
"""Heard in one turn of the loop, because more means that others are in flight: they come soon anyway, and
better together."""
RESTS_MAX: Final = 256
"""Turns without a try, doubled with each that was in vain, because then a moment of 0.1 ms is wasted at most
once in 256 turns of whoever is not in a hurry."""


class BusyPoll:
    """What one kind of peer lately did after we had heard of it."""

    __slots__ = ("_rests", "_rests_next")

    def __init__(self) -> None:
        self._rests = 0
        self._rests_next = 1

    def is_due(self, heard: int) -> bool:
        """Whether to wait awake at the end of this turn. Asked once a turn that heard something.

        Args:
            heard: bytes in this turn.
        """
        if heard > LONE_BYTES:
            return False
        if self._rests:
            self._rests -= 1
            return False
        return True

    def ended(self, *, is_rewarded: bool) -> None:
        """We waited awake; whether something came before the moment was over."""
        if is_rewarded:
            self._rests_next = 1
        else:
            self._rests = self._rests_next
            self._rests_next = min(2 * self._rests_next, RESTS_MAX)
