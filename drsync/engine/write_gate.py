"""The owner's gate: whether writes are taken now, and those that wait until they are (`core.admission`).

Asked again only when something changes that it depends on. What waits is copied and unanswered, so that a
client has no more of it than it may have in flight; it goes with the epoch, and with the client's connection:
who connects anew asks for all of it again.
"""

from collections import deque
from dataclasses import dataclass, replace
from typing import Final

from drsync.core import admission
from drsync.core.admission import TAKEN, Gate, Standing, Verdict, Why
from drsync.ports.volume import Completion, MayLeave

FACTS: Final = Standing()
LOOKED_THROUGH_MIN: Final = 64
"""Groups of requests that wait before one is looked for that nobody waits for, because looking costs time."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A write, or a range of zeros (`data` is None), that waits."""

    volume: int
    offset: int
    length: int
    data: bytes | None
    cookie: bytes
    fua: bool


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a client asked for at once, and when."""

    completion: Completion
    asked: tuple[Asked, ...]
    since: float


class WriteGate:
    """The gate of one epoch.

    Attributes:
        standing: what the verdict follows from.
        verdict: what becomes of writes.
        new: what waits of the batch of requests that is just handed over.
    """

    def __init__(self) -> None:
        self.standing: Standing = FACTS
        self.verdict: Verdict = TAKEN
        self.new: list[Asked] = []
        self._waiting: deque[Waiting] = deque()
        self._look_at = LOOKED_THROUGH_MIN
        self._told = ""

    @property
    def is_open(self) -> bool:
        """Whether writes are taken."""
        return self.verdict.gate is Gate.TAKE

    def judge(self, **facts: object) -> None:
        """Some facts of the standing have changed."""
        self.standing = replace(self.standing, **facts)  # type: ignore[arg-type]  # facts by their names
        self.verdict = admission.admit(self.standing)
        if self.verdict.gate is Gate.LEAVE:
            self.new.clear()
            self._waiting.clear()

    def turn_away(
        self, volume: int, offset: int, data: memoryview | None, length: int, cookie: bytes, *, fua: bool
    ) -> None:
        """The gate is shut: keep a request for later, or let it go with the connection."""
        if self.verdict.gate is Gate.HOLD:
            kept = None if data is None else bytes(data)
            self.new.append(Asked(volume, offset, length, kept, cookie, fua))

    def keep(self, completion: Completion, now: float) -> None:
        """The batch of requests that waits is complete."""
        asked, self.new = tuple(self.new), []
        self._waiting.append(Waiting(completion, asked, now))
        if len(self._waiting) >= self._look_at:
            self._waiting = self._wanted()
            self._look_at = max(2 * len(self._waiting), LOOKED_THROUGH_MIN)

    def _wanted(self) -> deque[Waiting]:
        """What waits, but for what was asked on connections that are gone."""
        return deque(one for one in self._waiting if not _is_gone(one.completion))

    def take_all(self) -> deque[Waiting]:
        """All that waits, oldest first; nothing does afterwards."""
        waiting, self._waiting = self._wanted(), deque()
        return waiting

    def waiting_s(self, now: float) -> float:
        """For how long the oldest has waited; 0 when nothing does."""
        return now - self._waiting[0].since if self._waiting else 0.0

    def news(self) -> tuple[str, str] | None:
        """An event and its reason, once when writes begin to wait and once when they are taken again."""
        before, words = self._told, self.words
        if words == before or self.verdict.gate is Gate.LEAVE:
            return None
        self._told = words
        return ("writes_wait", words) if words else ("writes_taken", f"no longer: {before}")

    @property
    def words(self) -> str:
        """Why writes wait, for people; empty when they do not, or when the epoch is about to end anyway."""
        if self.verdict.gate is not Gate.HOLD:
            return ""
        words = [str(why) for why in self.verdict.reasons]
        if Why.TARGET_MISSED in self.verdict.reasons:
            words[self.verdict.reasons.index(Why.TARGET_MISSED)] += f" ({', '.join(self.standing.stalls)})"
        return "; ".join(words)


def _is_gone(completion: Completion) -> bool:
    return isinstance(completion, MayLeave) and completion.is_gone
