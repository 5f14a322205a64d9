"""The ladder: what is done as an asynchronous peer falls behind, up to writes that wait (F.18).

Larger batches come first, then the strongest compression, then other resyncs wait; write pacing asks the
application, a delta set sends what changed once instead of each change, and `on_breach` is what the policy
says when the target is missed all the same. What counts is the lag that is coming: what a peer lacks now, by
the rate at which it takes it; the age of the oldest record tells of it when it is too late.
Only decisions here; the owner's clock decides. Peers that writes wait for have no lag and are never judged.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

from drsync.model.group import OnBreach
from drsync.model.objectives import Standing

RELEASE_SHARE: Final = 0.1  # of the target, because steps that come and go help nobody
LARGER_SHARE: Final = 0.25  # because larger batches cost only memory
SOFT_SHARE: Final = 0.5  # because half of it is what is left to react
HARDER_SHARE: Final = 0.5  # because the strongest compression costs a processor
QUIET_SHARE: Final = 0.65  # because others wait for their turn meanwhile
PACE_SHARE: Final = 0.8  # because the application pays for it
DELTA_SHARE: Final = 1.0  # because a set has no points between its ends
NOISE_S: Final = 0.6  # because replicas make records durable each 250 ms and are asked each 50 ms
DRAIN_MIN: Final = 64e3  # bytes/s, because who takes nothing is not helped by waiting
PACE_MODEST, PACE_FIRM, PACE_HARD = (
    0.9,
    0.8,
    0.6,
)  # of what the peer takes, because the rest works off the lag
SET_GAIN_MIN: Final = 2.0  # because a session costs round trips, and a set has no points in between
PAUSE_LOW_S, PAUSE_HIGH_S = (
    10.0,
    320.0,
)  # because who falls behind time and again would only go back and forth
RETURNS_MAX: Final = 16  # counted no further, because the pause grows no further
assert RELEASE_SHARE < LARGER_SHARE < SOFT_SHARE <= HARDER_SHARE < QUIET_SHARE < PACE_SHARE < DELTA_SHARE


class Rung(IntEnum):
    """What is done for a peer, each with all before it; but nobody is paced for one that gets sets."""

    STREAM = 0
    LARGER = 1
    HARDER = 2
    QUIET = 3  # sessions with other peers do not begin
    PACE = 4
    DELTA = 5  # what changed since its cursor is sent once, and applied when all of it is there
    BREACH = 6  # on_breach


WORDS: Final = {
    Rung.STREAM: "",
    Rung.LARGER: "larger batches",
    Rung.HARDER: "larger batches, strongest compression",
    Rung.QUIET: "larger batches, strongest compression, other resyncs wait",
    Rung.PACE: "larger batches, strongest compression, other resyncs wait, write pacing",
    Rung.DELTA: "it gets delta sets: what changed is sent once",
    Rung.BREACH: "the target is missed",
}


@dataclass(frozen=True, slots=True)
class Behind:
    """One asynchronous peer at one moment.

    Attributes:
        seconds: age of the oldest record it has not confirmed; None when that is older than this term.
        is_fed: it is connected and takes records, or blocks of a delta set.
        lacks: bytes it has not confirmed.
        drain: bytes of batches it takes per second while its line holds us back; 0 while it does not.
        set_bytes: of the granules that changed since its cursor; None: nobody has counted.
        now: instant, seconds of the owner's clock.
    """

    seconds: float | None
    is_fed: bool
    lacks: int = 0
    drain: float = 0.0
    set_bytes: int | None = None
    now: float = 0.0

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
        rung: what is done for it.
        share: the lag that is coming, as a share of the target; 0 when it is not known.
        rate: bytes of batches per second that the owner may answer for its sake; 0 without a bound.
        gets_sets: delta sets instead of the stream, where they pay.
        is_worthy: it was within its target since it attached, so that missing it may stop writes.
        not_before: no delta sets before this instant.
        returns: how often in a row it came back from delta sets.
    """

    state: Standing = Standing.OK
    rung: Rung = Rung.STREAM
    share: float = 0.0
    rate: float = 0.0
    gets_sets: bool = False
    is_worthy: bool = False
    not_before: float = 0.0
    returns: int = 0


def state_of(seconds: float | None, target_s: float) -> Standing:
    """OK up to half of the target, SOFT up to it, OVER above; UNKNOWN without a figure."""
    if seconds is None:
        return Standing.UNKNOWN
    if seconds > target_s:
        return Standing.OVER
    return Standing.SOFT if seconds > target_s * SOFT_SHARE and seconds > 0 else Standing.OK


def judge(last: Verdict, behind: Behind, target_s: float) -> Verdict:
    """The next verdict: rungs are climbed one by one as lag grows, and given up together when it is small."""
    state = state_of(behind.seconds, target_s)
    if behind.seconds is None:
        rung = Rung.HARDER if behind.is_fed else Rung.STREAM
        return replace(last, state=state, rung=rung, share=0.0, rate=0.0, gets_sets=False, is_worthy=False)
    coming_s = behind.coming_s
    share = coming_s / target_s if target_s > 0 else float(coming_s > 0)
    if coming_s <= NOISE_S or share < RELEASE_SHARE:
        return _level(last, behind, state, share)
    if not behind.is_fed:  # nothing we do makes it come back
        return replace(
            last, state=state, rung=Rung.STREAM, share=share, rate=0.0, gets_sets=False, is_worthy=False
        )
    gets_sets = last.gets_sets or _set_pays(last, behind, share)
    may_pace = behind.drain >= DRAIN_MIN and not gets_sets
    useless = {Rung.PACE: not may_pace, Rung.DELTA: not gets_sets}
    rung = _climb(last.rung, _reached(share, state, gets_sets=gets_sets), useless)
    rate = _rate(share, behind.drain) if rung >= Rung.PACE and may_pace else 0.0
    return replace(last, state=state, rung=rung, share=share, rate=rate, gets_sets=gets_sets)


def _level(last: Verdict, behind: Behind, state: Standing, share: float) -> Verdict:
    """The lag is small: it streams, and if it got sets it gets no more for a while."""
    not_before, returns = last.not_before, last.returns
    if last.gets_sets:
        returns = 0 if behind.now - not_before > PAUSE_HIGH_S else returns
        not_before = behind.now + min(PAUSE_LOW_S * 2**returns, PAUSE_HIGH_S)
        returns = min(returns + 1, RETURNS_MAX)
    return Verdict(state, share=share, is_worthy=behind.is_fed, not_before=not_before, returns=returns)


def _climb(last: Rung, top: Rung, useless: Mapping[Rung, bool]) -> Rung:
    """One rung up, past those that are of no use now, or where it is; never to one that is of no use."""
    useful = [rung for rung in Rung if not useless.get(rung, False)]
    return next((rung for rung in useful if last < rung <= top), max(rung for rung in useful if rung <= last))


def _reached(share: float, state: Standing, *, gets_sets: bool) -> Rung:
    if state is Standing.OVER:
        return Rung.BREACH
    if gets_sets:
        return Rung.DELTA
    if share >= PACE_SHARE:
        return Rung.PACE
    if share >= QUIET_SHARE:
        return Rung.QUIET
    if share >= HARDER_SHARE:
        return Rung.HARDER
    return Rung.LARGER if share >= LARGER_SHARE else Rung.STREAM


def _rate(share: float, drain: float) -> float:
    if share >= 1.0:
        return drain * PACE_HARD
    return drain * (PACE_FIRM if share >= PACE_SHARE else PACE_MODEST)


# --- delta sets


def is_to_be_counted(verdict: Verdict, now: float) -> bool:
    """Whether it is worth finding out how large a delta set would be, which reads indexes of the journal."""
    return verdict.gets_sets or (verdict.share >= DELTA_SHARE and now >= verdict.not_before)


def pays(set_bytes: int, lacks: int) -> bool:
    """Whether a set is clearly less than the journal that it stands for."""
    return set_bytes * SET_GAIN_MIN <= lacks


def may_get_sets(center: str, ack_set: Collection[str]) -> bool:
    """Only a peer that no write waits for: a set is nothing until all of it is there."""
    return center not in ack_set


def _set_pays(last: Verdict, behind: Behind, share: float) -> bool:
    is_worth_it = behind.set_bytes is not None and pays(behind.set_bytes, behind.lacks)
    return share >= DELTA_SHARE and behind.drain > 0 and behind.now >= last.not_before and is_worth_it


# --- all peers together


@dataclass(frozen=True, slots=True)
class Measures:
    """What holds for the whole group, by the verdicts of all its peers.

    Attributes:
        rate: bytes of batches per second that may be answered; 0 without a bound.
        troubled: peers whose way is kept free: sessions with others do not begin.
        stalls: peers for which new writes wait, by policy.
        missed: peers for which the target is missed, whatever the reason.
    """

    rate: float = 0.0
    troubled: tuple[str, ...] = ()
    stalls: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()


def measures(verdicts: Mapping[str, Verdict], on_breach: OnBreach) -> Measures:
    """What the verdicts of all peers ask for together.

    Only a peer that takes records, and had once what it should have, is a reason to stall: neither a dead one
    nor one that comes back stops writes (P36).
    """
    told = sorted(verdicts.items())
    return Measures(
        rate=slowest([verdict for _, verdict in told]),
        troubled=tuple(center for center, verdict in told if verdict.rung >= Rung.QUIET),
        stalls=tuple(center for center, verdict in told if stalls(verdict, on_breach)),
        missed=tuple(center for center, verdict in told if verdict.state is Standing.OVER),
    )


def stalls(verdict: Verdict, on_breach: OnBreach) -> bool:
    """Whether new writes wait for this peer."""
    return on_breach is OnBreach.STALL and verdict.rung is Rung.BREACH and verdict.is_worthy


def slowest(verdicts: Sequence[Verdict]) -> float:
    """The rate that all of them ask for together: the lowest; 0 when nobody asks."""
    return min((verdict.rate for verdict in verdicts if verdict.rate), default=0.0)
