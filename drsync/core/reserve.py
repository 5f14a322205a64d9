"""How many files of dropped journal segments are kept, to be written over by the next ones.

As many as are begun between two times that segments are dropped: then what is written goes into pages and
blocks that are there already. When less is written they go. Counts and sizes are arguments; nothing here
looks at a clock or a file.
"""

from typing import Final

SPARES_MIN: Final = 2  # because one is taken while the next is made
SPARES_TIGHT: Final = 1  # because an append must not find the disk full at each new segment
SPARES_MAX: Final = 32
"""Because images are brought forward every 4 s at least (`core.fold_pace`), and 2 GiB in that time is more
than a link brings."""
QUIET_ROUNDS_MAX: Final = 8  # because whoever drops nothing for 4 s writes little


class Reserve:
    """Of one journal. A round is a look at what may be dropped, each half second or two."""

    __slots__ = ("_begun", "_limit", "_quiet_rounds", "_wanted")

    def __init__(self) -> None:
        self._limit = SPARES_MIN
        self._begun = 0
        self._wanted = 0
        self._quiet_rounds = 0

    @property
    def most(self) -> int:
        """Files to keep at most, from `SPARES_TIGHT` to `SPARES_MAX`."""
        return min(max(self._wanted, SPARES_MIN), self._limit)

    def begun(self) -> None:
        """A segment was begun."""
        self._begun += 1

    def dropped(self, count: int) -> None:
        """So many segments are dropped: until the next time as many may be begun as since the last one."""
        if count:
            self._wanted = max(self._begun, self._wanted // 2)
            self._begun = self._quiet_rounds = 0

    def round_ended(self, files_max: int) -> None:
        """A round.

        Args:
            files_max: so many may be kept at most for want of space; 0: as few as possible.
        """
        self._limit = min(max(files_max, SPARES_MIN), SPARES_MAX) if files_max else SPARES_TIGHT
        self._quiet_rounds += 1
        if self._quiet_rounds >= QUIET_ROUNDS_MAX:
            self._wanted = self._begun
