"""Whether a blocking call may be made from the event loop: only while such calls are quicker than a thread.

Durations are arguments; nothing here looks at a clock.
"""

from typing import Final

BRIEF_S: Final = 0.00005
"""Because handing a call to a thread and hearing of its end costs 30 to 70 us of processor time."""
COUNTED_S: Final = 0.001
"""More of one call does not count in the mean, because on a busy machine it tells of the machine."""
LONG_S: Final = 0.02
"""Because a disk that took so long may next time take a hundred times as long, with the loop waiting; and a
processor that others want, too, comes back sooner."""
KNOWN_CALLS: Final = 64  # because fewer tell little of a disk, and busy groups make so many in a second
SHUNNED_CALLS_MAX: Final = 1 << 14
"""In threads after a long call, doubled each time up to this, because a disk that hesitates does so again."""


class Brevity:
    """How long calls of one kind lately took.

    Attributes:
        mean_s: of the last `KNOWN_CALLS` or so.
    """

    __slots__ = ("_shunned", "_shunned_next", "mean_s")

    def __init__(self) -> None:
        self.mean_s = COUNTED_S
        self._shunned = KNOWN_CALLS
        self._shunned_next = KNOWN_CALLS

    @property
    def is_brief(self) -> bool:
        """Whether the next call may be made where everything else waits for it."""
        return not self._shunned and self.mean_s < BRIEF_S

    def took(self, seconds: float) -> None:
        """A call was made, here or in a thread."""
        self.mean_s += (min(seconds, COUNTED_S) - self.mean_s) / KNOWN_CALLS
        if seconds >= LONG_S:
            self._shunned = self._shunned_next
            self._shunned_next = min(2 * self._shunned_next, SHUNNED_CALLS_MAX)
        elif self._shunned:
            self._shunned -= 1
