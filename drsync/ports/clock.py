"""Time and chance, as values that are handed in."""

from typing import Protocol


class Clock(Protocol):
    """Two kinds of time that must never be compared with each other."""

    def now(self) -> float:
        """Seconds since boot, suspend included (CLOCK_BOOTTIME); never goes back. For leases and timeouts."""
        ...

    def wall_us(self) -> int:
        """Wall clock in microseconds since 1970, UTC. A label: for display and recovery points only."""
        ...

    async def sleep_until(self, instant: float) -> None:
        """Return at `instant` (of `now`) or soon after; at once when it has passed."""
        ...

    def until_round(self, period_s: float, slack_s: float = 0.0) -> float:
        """Seconds until a loop that does something every `period_s` does it again.

        More than 0, and at most both together (some milliseconds more where a timer ended early); less than
        the period where others of the process wake then, too.
        """
        ...


class Random(Protocol):
    """Dice."""

    def hex128(self) -> str:
        """A random 128-bit number as 32 hex digits."""
        ...

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high), for jitter."""
        ...
