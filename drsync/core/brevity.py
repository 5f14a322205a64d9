"""Whether a blocking call may be made from the event loop: only while such calls are quicker than a thread.

Durations are arguments; nothing here looks at a clock.
"""

from typing import Final

BRIEF_S: Final = 0.00015
"""Because a call in a thread delays the loop by as much: 40 us of processor when nothing else happens, and
150 to 400 us in an agent at work, where thread and loop take turns (measured with syncs of no duration)."""
LONG_S: Final = 0.02
"""Because a disk that took so long may next time take a hundred times as long, with the loop waiting; and a
processor that others want, too, comes back sooner."""
KNOWN_CALLS: Final = 64  # because fewer tell little of a disk, and busy groups make so many in a second
BRIEF_CALLS: Final = 48
"""So many of the last `KNOWN_CALLS`: not all, because on a busy machine some tell of the machine and not of
the disk; and not their mean, which a few of those would spoil."""
SHUNNED_CALLS_MAX: Final = 1 << 14
"""In threads after a long call, doubled each time up to this, because a disk that hesitates does so again."""

_KNOWN: Final = (1 << KNOWN_CALLS) - 1


class Brevity:
    """How long calls of one kind lately took."""

    __slots__ = ("_brief", "_shunned", "_shunned_next")

    def __init__(self) -> None:
        self._brief = 0  # of each of the last calls one bit, set where it was brief
        self._shunned = 0
        self._shunned_next = KNOWN_CALLS

    @property
    def is_brief(self) -> bool:
        """Whether the next call may be made where everything else waits for it."""
        return not self._shunned and self._brief.bit_count() >= BRIEF_CALLS

    def took(self, seconds: float) -> None:
        """A call was made, here or in a thread."""
        self._brief = (self._brief << 1 | (seconds < BRIEF_S)) & _KNOWN
        if seconds >= LONG_S:
            self._shunned = self._shunned_next
            self._shunned_next = min(2 * self._shunned_next, SHUNNED_CALLS_MAX)
        elif self._shunned:
            self._shunned -= 1
