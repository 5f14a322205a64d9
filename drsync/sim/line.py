"""What carries bytes from one simulated place to another, in one direction."""

from dataclasses import dataclass


@dataclass(slots=True)
class Line:
    """One direction between two places.

    Attributes:
        latency, jitter: seconds; the delay is latency + uniform(0, jitter).
        rate: bytes a second; 0 is unlimited.
        loss: share of writes that have to be sent again.
        is_cut: nothing passes, and nobody is told.
    """

    latency: float = 0.001
    jitter: float = 0.001
    rate: float = 0.0
    loss: float = 0.0
    is_cut: bool = False
