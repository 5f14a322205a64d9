"""The gate: which writes an owner takes, holds, or leaves to the next owner (F.5).

It names every reason, and the strictest of them rules. What a single request may be (its range, its size, a
view that takes no writes) is checked where requests are read, and answered there with the errors of NBD.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final


class Gate(IntEnum):
    """What becomes of writes; the strictest reason rules."""

    TAKE = 0
    HOLD = 1  # they are kept, unanswered, and appended in their order when the reason passes
    LEAVE = 2  # nothing more is taken here: the connection is dropped, and whoever wrote looks for the owner


class Why(StrEnum):
    """Why writes are not simply taken."""

    ENDED = "the epoch is over here"
    FROZEN = "frozen"
    JOURNAL_FULL = "the journal is full, and checkpoints on hold keep it so"
    TARGET_MISSED = "a peer is behind its target, and the policy is to wait"


GATES: Final[dict[Why, Gate]] = {
    Why.ENDED: Gate.LEAVE,
    Why.FROZEN: Gate.LEAVE,
    Why.JOURNAL_FULL: Gate.HOLD,
    Why.TARGET_MISSED: Gate.HOLD,
}


@dataclass(frozen=True, slots=True)
class Standing:
    """How the owner stands as it is asked.

    Attributes:
        is_ended: the epoch is over here: closed, or the lease was given back.
        is_frozen: for a switchover; never thaws.
        is_full: the journal's quota would be passed, and the policy is to wait (`retention.room`).
        stalls: peers for which writes wait (`core.ladder.Measures`).
    """

    is_ended: bool = False
    is_frozen: bool = False
    is_full: bool = False
    stalls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of writes, and all reasons, strictest first."""

    gate: Gate = Gate.TAKE
    reasons: tuple[Why, ...] = ()


TAKEN: Final = Verdict()


def admit(seen: Standing) -> Verdict:
    """Whether writes may get records. Each reason stands for itself; none hides another."""
    found = {
        Why.ENDED: seen.is_ended,
        Why.FROZEN: seen.is_frozen,
        Why.JOURNAL_FULL: seen.is_full,
        Why.TARGET_MISSED: bool(seen.stalls),
    }
    reasons = sorted((why for why, holds in found.items() if holds), key=lambda why: -GATES[why])
    return Verdict(GATES[reasons[0]], tuple(reasons)) if reasons else TAKEN
