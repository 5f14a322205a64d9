"""Whose resync comes next: the agent has few slots, and many groups may want one at once (P75)."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from drsync.model.group import Priority

SLOTS: Final = 2  # because more of them share one disk and one line, and each ends later for it
ORDER: Final = (Priority.HIGH, Priority.NORMAL, Priority.LOW)
QUIET_MAX_S: Final = 300.0  # because who is never brought level is worse off than who is late for once
BREACHED: Final = 1.0  # of the RPO target: from here on it is missed


@dataclass(frozen=True, slots=True)
class Applicant:
    """A session that waits for a slot.

    Attributes:
        key: group and center; breaks ties, so that equals come in one order.
        pressure: lag as a share of what it may be; 0 without a target.
        size: granules to be sent, as far as is known.
        priority: of its group, by policy.
    """

    key: str
    pressure: float
    size: int
    priority: Priority = Priority.NORMAL


def following(waiting: Iterable[Applicant], running: int, slots: int = SLOTS) -> Applicant | None:
    """Who begins now: by priority, then the worst breach of a target, then the smallest; None: nobody may."""
    if running >= slots:
        return None
    return min(waiting, key=_rank, default=None)


def may_begin(one: Applicant, troubled: Collection[str], waited_s: float) -> bool:
    """Whether a session may begin while the lag of others is near its target: lines are theirs for a while.

    The way back of who is in trouble itself is never closed.
    """
    return not troubled or one.key in troubled or waited_s >= QUIET_MAX_S


def _rank(one: Applicant) -> tuple[int, float, int, str]:
    breach = one.pressure if one.pressure >= BREACHED else 0.0
    return ORDER.index(one.priority), -breach, one.size, one.key
