"""Figures beside their targets: the RPO that heartbeats prove, and the RTO that was measured before.

Pure. A figure that nobody can prove is unknown, and unknown counts as over: silence never looks good.
"""

from dataclasses import dataclass

from drsync.model.objectives import Beat, Standing

RESOLUTION_S = 2.5
"""Because a heartbeat is written each second, a center tells each second which one it found, and links take
a moment: what is newer than this cannot be told apart, so a shorter target is judged by this."""

SOFT = 0.5
"""Because at half of the target there is still time to do something."""


@dataclass(frozen=True, slots=True)
class Proof:
    """How old a copy is shown to be.

    Attributes:
        seconds: if only this copy were left, at most the writes of so many seconds would be lost; None:
            nobody can say.
        reason: why it is None.
    """

    seconds: float | None
    reason: str = ""


def prove(beat: Beat, belongs_through: int, owner_us: int, owner_age_s: float) -> Proof:
    """The age of the newest heartbeat in a copy, by its owner's clock.

    Never below the truth: what was written after that heartbeat may be there as well, but nothing shows it.
    Above it by at most one heartbeat interval plus the age of the two messages it is computed from.

    Args:
        beat: the newest one that is committed and durable in the copy.
        belongs_through: last record of the copy that belongs to the group's history.
        owner_us: the owner's present instant, as a heartbeat label, when it last reported; 0: it never did.
        owner_age_s: how long ago that was, by the observer's clock.
    """
    if not owner_us:
        return Proof(None, "no owner has reported since the coordinator started")
    if not beat.seq:
        return Proof(None, "no heartbeat record was found in its copy")
    if beat.seq > belongs_through:
        return Proof(None, "the newest heartbeat record in its copy is of a history that was given up")
    return Proof(max(0.0, (owner_us - beat.time_us) / 1e6) + max(0.0, owner_age_s))


def judge_rpo(seconds: float | None, target_s: float) -> Standing:
    """An age beside its target; both are never taken for finer than `RESOLUTION_S`."""
    if seconds is None:
        return Standing.UNKNOWN
    if seconds > max(target_s, RESOLUTION_S):
        return Standing.OVER
    return Standing.SOFT if seconds > max(SOFT * target_s, RESOLUTION_S) else Standing.OK


@dataclass(frozen=True, slots=True)
class Measured:
    """A recovery that was measured.

    Attributes:
        kind: ``drill`` or ``failover``.
        id: of the operation.
        center: where it opened.
        seconds: from asking for the copy to volumes that can be used; of a failover, all of it.
        at_us: when it ended; a label.
    """

    kind: str
    id: str
    center: str
    seconds: float
    at_us: int


@dataclass(frozen=True, slots=True)
class Prediction:
    """How long a failover would take, if it went as the last one that was measured."""

    seconds: float | None
    source: Measured | None
    standing: Standing


def predict_rto(measured: Measured | None, lease_s: float, target_s: float) -> Prediction:
    """The last measured recovery, as a forecast.

    A drill does not wait for the owner's lease, since the owner goes on; a failover from a silent owner has
    to. So the lease is added to what a drill took.
    """
    if measured is None:
        return Prediction(None, None, Standing.UNKNOWN)
    seconds = measured.seconds + (lease_s if measured.kind == "drill" else 0.0)
    standing = Standing.OK
    if seconds > target_s:
        standing = Standing.OVER
    elif seconds > SOFT * target_s:
        standing = Standing.SOFT
    return Prediction(seconds, measured, standing)
