"""Foreseeing flushes: a database that flushes after each write or two will do so again.

A flush that was foreseen finds everybody's disk at work already, or done. A wrong guess costs a sync that
the background would have made a quarter of a second later; a flush is answered by the same rule either way.
"""

from typing import Final

RUN_MAX: Final = 4  # batches, because who writes more between two flushes is not waiting for each
FORGOTTEN: Final = 2  # runs in a row of the same kind, because one may be chance


class FlushHabit:
    """How many batches lately came between two flushes."""

    __slots__ = ("_batches", "_run", "_seen")

    def __init__(self) -> None:
        self._batches = 0
        self._run = 0
        self._seen = 0

    def wrote(self) -> bool:
        """A batch is appended; whether a flush is to be expected now."""
        self._batches += 1
        if self._batches > RUN_MAX:
            self._seen = 0
        return self._seen >= FORGOTTEN and self._batches >= self._run

    def flushed(self) -> None:
        """A flush came. One after no batch says nothing."""
        if not self._batches:
            return
        if self._batches <= RUN_MAX:
            self._seen = min(self._seen + 1, FORGOTTEN)
            self._run = self._batches
        self._batches = 0
