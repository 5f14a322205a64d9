"""How a link between two processes looks to one of them: heard, late or lost.

Only the times of heartbeats live here. Everything is in seconds; how long something was not heard is an
argument. A link says nothing about the process behind it: who is slow is not dead (`core.detection`).
"""

from enum import StrEnum

HEARTBEAT_MAX_S = 1.0  # because status, RPO and leases are told with it
HEARTBEATS_PER_LEASE = 5  # because two may be lost without the lease lapsing
LATE_HEARTBEATS = 3.0  # because one may be lost and another be under way


class LinkState(StrEnum):
    """What one side can say of the other."""

    HEARD = "heard"
    LATE = "late"
    LOST = "lost"


def heartbeat_s(lease_s: float) -> float:
    """Seconds between the heartbeats of an owner with such a lease."""
    return min(HEARTBEAT_MAX_S, lease_s / HEARTBEATS_PER_LEASE)


def late_after_s(lease_s: float) -> float:
    """From when on a silence is no accident of timing any more."""
    return LATE_HEARTBEATS * heartbeat_s(lease_s)


def judge(silent_s: float, late_s: float, detect_s: float) -> LinkState:
    """The link, by how long nothing was heard on it.

    Lost wins: where `detect_s` is below `late_s`, a link is never late.
    """
    if silent_s >= detect_s:
        return LinkState.LOST
    return LinkState.LATE if silent_s >= late_s else LinkState.HEARD
