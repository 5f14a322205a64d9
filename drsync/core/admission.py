"""Admission: which writes are taken, held or refused, and what is done as a peer falls behind.

Two decisions and nothing else. The gate is asked once for each batch of writes (F.5): it names every reason,
and the strictest of them rules. The chain (F.18) climbs one rung at a time as the lag of a peer nears its
target, and comes down at once when it is small: steps that come and go help nobody.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final

from drsync.core.pacing import HARDER_SHARE, PACE_SHARE, RELEASE_SHARE, SOFT_SHARE
from drsync.model.copy import CopyState
from drsync.model.epoch import Epoch

# --- the gate


class Gate(IntEnum):
    """What becomes of a batch of writes; the strictest reason rules."""

    TAKE = 0
    HOLD = 1  # it waits: the reason passes, or the epoch ends and the client connects again
    REFUSE = 2  # it is answered with an error: waiting would not help
    CLOSE = 3  # whoever wrote here has to look for the owner


class Why(StrEnum):
    """Why a batch is not simply taken."""

    NOT_OWNER = "not the owner"
    STALE_EPOCH = "a higher epoch was promised"
    OUT_OF_RANGE = "outside of the volume"
    TOO_LARGE = "larger than a request may be"
    READ_ONLY = "a view that takes no writes"
    FROZEN = "frozen"
    NO_LEASE = "the lease has lapsed"
    NO_SPACE = "no space for a record"
    STALLED = "the journal is full, by policy"
    TOO_MANY = "too much is in flight"


GATES: Final[dict[Why, Gate]] = {
    Why.NOT_OWNER: Gate.CLOSE,
    Why.STALE_EPOCH: Gate.CLOSE,
    Why.OUT_OF_RANGE: Gate.REFUSE,
    Why.TOO_LARGE: Gate.REFUSE,
    Why.READ_ONLY: Gate.REFUSE,
    Why.FROZEN: Gate.HOLD,
    Why.NO_LEASE: Gate.HOLD,
    Why.NO_SPACE: Gate.HOLD,
    Why.STALLED: Gate.HOLD,
    Why.TOO_MANY: Gate.HOLD,
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A batch of writes of one client.

    Attributes:
        first, end: all its bytes lie between these bytes of the volume.
        largest: bytes of its largest request.
        size: bytes of all of them.
    """

    first: int
    end: int
    largest: int
    size: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How the copy stands as it is asked.

    Attributes:
        state: OWNER takes writes, FROZEN holds them.
        epoch: in which it was opened.
        promised: what it has promised to others; higher than its epoch: somebody seals it.
        lease_s: seconds left of the lease, by the owner's clock; 0 or less: lapsed.
        volume_bytes: size of the volume.
        request_bytes_max: the largest request.
        room_bytes: what may still be in flight for this client.
        is_read_only: a view.
        no_space: the disk takes no record.
        is_stalled: the journal's quota is full and the policy is to wait (`retention.Stall`).
    """

    state: CopyState
    epoch: Epoch
    promised: Epoch
    lease_s: float
    volume_bytes: int
    request_bytes_max: int
    room_bytes: int
    is_read_only: bool = False
    no_space: bool = False
    is_stalled: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of the batch, and all reasons, strictest first."""

    gate: Gate = Gate.TAKE
    reasons: tuple[Why, ...] = ()


TAKEN: Final = Verdict()


def admit(asked: Asked, seen: Standing) -> Verdict:
    """Whether a batch of writes may get records. Each reason stands for itself; none hides another."""
    serves = seen.state in {CopyState.OWNER, CopyState.FROZEN}
    found = {
        Why.NOT_OWNER: not serves,
        Why.STALE_EPOCH: serves and seen.promised != seen.epoch,
        Why.OUT_OF_RANGE: asked.first < 0 or asked.end > seen.volume_bytes,
        Why.TOO_LARGE: asked.largest > seen.request_bytes_max,
        Why.READ_ONLY: seen.is_read_only,
        Why.FROZEN: seen.state is CopyState.FROZEN,
        Why.NO_LEASE: serves and seen.lease_s <= 0.0,
        Why.NO_SPACE: seen.no_space,
        Why.STALLED: seen.is_stalled,
        Why.TOO_MANY: asked.size > seen.room_bytes,
    }
    reasons = sorted((why for why, holds in found.items() if holds), key=lambda why: -GATES[why])
    return Verdict(GATES[reasons[0]], tuple(reasons)) if reasons else TAKEN


# --- the chain


class Lag(IntEnum):
    """The lag of a peer beside its target."""

    OK = 0
    SOFT = 1
    WARN = 2
    BREACH = 3


class Rung(IntEnum):
    """What is done for a peer, each with all before it."""

    STREAM = 0
    HARDER = 1  # larger batches, stronger compression
    QUIET = 2  # resync and scrub wait
    PACE = 3  # answers come a little later
    DELTA = 4  # what changed since its cursor is sent once, and applied when all of it is there
    BREACH = 5  # on_breach


class OnBreach(StrEnum):
    """What the policy says when the target is missed all the same."""

    ALERT = "alert"
    STALL = "stall"


CLIMB: Final[dict[Lag, Rung]] = {
    Lag.OK: Rung.STREAM,
    Lag.SOFT: Rung.QUIET,
    Lag.WARN: Rung.PACE,
    Lag.BREACH: Rung.BREACH,
}
"""The highest rung that each lag is worth."""

WARN_SHARE: Final = PACE_SHARE
assert RELEASE_SHARE < SOFT_SHARE <= HARDER_SHARE < WARN_SHARE < 1.0


def lag_of(share: float) -> Lag:
    """`share`: the lag as a share of its target."""
    if share > 1.0:
        return Lag.BREACH
    if share >= WARN_SHARE:
        return Lag.WARN
    return Lag.SOFT if share >= SOFT_SHARE else Lag.OK


def climb(rung: Rung, share: float, *, is_fed: bool) -> Rung:
    """The next rung: up by one while the lag is worth it, down to the stream below a tenth of the target.

    Nothing is slowed for a peer that takes nothing: it is told of, and catches up by what it lacks.
    """
    if share < RELEASE_SHARE:
        return Rung.STREAM
    lag = lag_of(share)
    if not is_fed:
        return Rung.BREACH if lag is Lag.BREACH else Rung.STREAM
    return max(rung, min(CLIMB[lag], Rung(min(rung + 1, Rung.BREACH))))


@dataclass(frozen=True, slots=True)
class Measures:
    """What holds for the whole group, by the rungs of all its peers.

    Attributes:
        compresses, paces, stalls, alerts: see `Rung` and `OnBreach`.
        runs_background: resync and scrub may use the line.
        deltas: peers that get delta sets, in order.
    """

    compresses: bool = False
    runs_background: bool = True
    paces: bool = False
    stalls: bool = False
    alerts: bool = False
    deltas: tuple[str, ...] = ()


def measures(rungs: Sequence[tuple[str, Rung, bool]], on_breach: OnBreach) -> Measures:
    """What the rungs of all peers ask for together: (center, rung, whether it takes records).

    Only a peer that takes records is a reason to slow or to stall: a dead one never stops writes (P36).
    """
    fed = [rung for _, rung, is_fed in rungs if is_fed]
    highest = max(fed, default=Rung.STREAM)
    return Measures(
        compresses=highest >= Rung.HARDER,
        runs_background=highest < Rung.QUIET,
        paces=highest >= Rung.PACE,
        stalls=on_breach is OnBreach.STALL and highest is Rung.BREACH,
        alerts=any(rung is Rung.BREACH for _, rung, _ in rungs),
        deltas=tuple(sorted(center for center, rung, is_fed in rungs if is_fed and rung >= Rung.DELTA)),
    )
