"""Holding an RPO target: how far each asynchronous peer is from it, what is done about it, in which order.

Larger batches come first, then the strongest compression, and write pacing last: answers are given a little
later, so that whoever waits for them writes a little less. What counts is the lag that is coming: what a peer
lacks now, by the rate at which it takes it; the age of the oldest record tells of it when it is too late.
Only decisions here; the owner's clock decides.
Peers that writes wait for have no lag and are never a reason to pace.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from drsync.model.objectives import Standing

SOFT_SHARE: Final = 0.5  # of the target, because half of it is what is left to react
RELEASE_SHARE: Final = 0.1  # because steps that come and go help nobody
LARGER_SHARE: Final = 0.25  # because larger batches cost only memory
HARDER_SHARE: Final = 0.5  # because the strongest compression costs a processor
PACE_SHARE: Final = 0.8  # because the application pays for it
NOISE_S: Final = 0.6  # because replicas make records durable each 250 ms and are asked each 50 ms
DRAIN_MIN: Final = 64e3  # bytes/s, because who takes nothing is not helped by waiting
PACE_MODEST, PACE_FIRM, PACE_HARD = (
    0.9,
    0.8,
    0.6,
)  # of what the peer takes, because the rest works off the lag
BURST_S: Final = 0.005  # because writes come in groups, and a group is no excess


class Step(IntEnum):
    """What is done, each including those before."""

    STREAM = 0
    LARGER = 1
    HARDER = 2
    PACE = 3


WORDS: Final = {
    Step.STREAM: "",
    Step.LARGER: "larger batches",
    Step.HARDER: "larger batches, strongest compression",
    Step.PACE: "larger batches, strongest compression, write pacing",
}


@dataclass(frozen=True, slots=True)
class Behind:
    """One asynchronous peer at one moment.

    Attributes:
        seconds: age of the oldest record it has not confirmed; None when that is older than this term.
        is_fed: it is connected and takes records.
        lacks: bytes it has not confirmed.
        drain: bytes of batches it takes per second while its line holds us back; 0 while it does not.
    """

    seconds: float | None
    is_fed: bool
    lacks: int = 0
    drain: float = 0.0

    @property
    def coming_s(self) -> float:
        """The age that the newest record will have when it is confirmed, or that of the oldest."""
        taking_s = self.lacks / self.drain if self.drain >= DRAIN_MIN else 0.0
        return max(self.seconds or 0.0, taking_s)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What holds for one peer.

    Attributes:
        state: against the target.
        step: what is done for it.
        share: the lag that is coming, as a share of the target; 0 when it is not known.
        rate: bytes of batches per second that the owner may answer for its sake; 0 without a bound.
    """

    state: Standing = Standing.OK
    step: Step = Step.STREAM
    share: float = 0.0
    rate: float = 0.0


def state_of(seconds: float | None, target_s: float) -> Standing:
    """OK up to half of the target, SOFT up to it, OVER above; UNKNOWN without a figure."""
    if seconds is None:
        return Standing.UNKNOWN
    if seconds > target_s:
        return Standing.OVER
    return Standing.SOFT if seconds > target_s * SOFT_SHARE and seconds > 0 else Standing.OK


def judge(last: Verdict, behind: Behind, target_s: float) -> Verdict:
    """The next verdict: steps are taken one by one as lag grows, and given up together when it is small."""
    state = state_of(behind.seconds, target_s)
    if behind.seconds is None:
        return Verdict(state, Step.HARDER if behind.is_fed else Step.STREAM, 0.0, 0.0)
    coming_s = behind.coming_s
    share = coming_s / target_s if target_s > 0 else float(coming_s > 0)
    if coming_s <= NOISE_S or share < RELEASE_SHARE:
        return Verdict(state, Step.STREAM, share, 0.0)
    if not behind.is_fed:
        return Verdict(state, Step.STREAM, share, 0.0)  # nothing we do makes it come back
    step = max(last.step, min(_reached(share), Step(min(last.step + 1, Step.PACE))))
    if step is Step.PACE and behind.drain < DRAIN_MIN:
        step = Step.HARDER
    return Verdict(state, step, share, _rate(share, behind.drain) if step is Step.PACE else 0.0)


def _reached(share: float) -> Step:
    if share >= PACE_SHARE:
        return Step.PACE
    if share >= HARDER_SHARE:
        return Step.HARDER
    return Step.LARGER if share >= LARGER_SHARE else Step.STREAM


def _rate(share: float, drain: float) -> float:
    if share >= 1.0:
        return drain * PACE_HARD
    return drain * (PACE_FIRM if share >= PACE_SHARE else PACE_MODEST)


def slowest(verdicts: Sequence[Verdict]) -> float:
    """The rate that all of them ask for together: the lowest; 0 when nobody asks."""
    return min((verdict.rate for verdict in verdicts if verdict.rate), default=0.0)


class Pacer:
    """A token bucket that never owes more than `max_s`: no answer is later than that because of it.

    Attributes:
        rate: bytes per second; 0 holds nothing back.
        max_s: the most that is added to an answer.
    """

    __slots__ = ("_free_at", "max_s", "rate")

    def __init__(self, max_s: float) -> None:
        self.rate = 0.0
        self.max_s = max_s
        self._free_at = 0.0

    def delay(self, now: float, size: int) -> float:
        """Seconds to wait before `size` bytes are answered; never earlier than the answer before."""
        if not self.rate:
            return 0.0
        free_at = max(self._free_at, now - BURST_S) + size / self.rate
        self._free_at = min(free_at, now + self.max_s)
        return max(0.0, self._free_at - now)
