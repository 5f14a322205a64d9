"""When images are brought forward: in short steps while little is written, in longer ones while much is.

Whoever brings them forward takes turns with whoever answers writes, and each turn delays an answer. A longer
step is also a smaller one: what was written twice meanwhile goes into the images once, neighbours together.
Times and positions are arguments; nothing here looks at a clock.
"""

from collections.abc import Callable
from typing import Final

BUSY_RECORDS: Final = 64  # in a round, because marks alone are fewer, and so few writes delay nobody
LATE_S: Final = 4.0  # because a start has to read so much more at most, and layers of 4 s fit into memory
AHEAD_BYTES_MAX: Final = 128 << 20  # because an entry for each 4 KiB of it costs 5 MB of memory
AHEAD_SHARE: Final = 8  # of the journal's quota, because it is waited for where there is little room


class FoldPace:
    """Asked once a round."""

    __slots__ = ("_late_at", "_tip")

    def __init__(self) -> None:
        self._tip = 0
        self._late_at = 0.0

    def is_due(self, now: float, tip: int, ahead: Callable[[], int], quota: int) -> bool:
        """Whether this round brings them forward.

        Args:
            now: any clock, in seconds.
            tip: last record of the journal.
            ahead: bytes of journal that could go into the images; asked only when it matters.
            quota: bytes that the journal may hold.
        """
        is_busy = tip - self._tip >= BUSY_RECORDS
        self._tip = tip
        is_due = not is_busy or now >= self._late_at or ahead() >= min(AHEAD_BYTES_MAX, quota // AHEAD_SHARE)
        if is_due:
            self._late_at = now + LATE_S
        return is_due
