"""What happened in a world, in order: the last of it in words, all of it as a fingerprint."""

from collections import deque
from typing import TYPE_CHECKING
from zlib import crc32

from drsync.sim.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Callable

LINES_KEPT = 400  # because whoever reads a failing seed wants the minute before, and not the hour


class Trace:
    """Lines with their time.

    Attributes:
        fingerprint: of everything since the beginning: equal runs have equal ones.
        lines: the last of them, or all if `keeps_all`.
        heard: told of each, with who, what and why.
    """

    def __init__(self, timeline: Timeline, *, keeps_all: bool = False) -> None:
        self.fingerprint = 0
        self.lines: deque[str] = deque(maxlen=None if keeps_all else LINES_KEPT)
        self.heard: list[Callable[[str, str, str], None]] = []
        self._timeline = timeline

    def say(self, who: str, what: str, why: str = "") -> None:
        """Something happened."""
        line = f"{self._timeline.now:9.3f}  {who:<12} {what}" + (f": {why}" if why else "")
        self.fingerprint = crc32(line.encode(errors="backslashreplace"), self.fingerprint)
        self.lines.append(line)
        for tell in self.heard:
            tell(who, what, why)

    def last(self, count: int) -> list[str]:
        """The newest lines, oldest first."""
        return list(self.lines)[-count:]
