"""What carries bytes from one simulated place to another, in one direction."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Line:
    """One direction between two places.

    Attributes:
        latency, jitter: seconds; the delay is latency + uniform(0, jitter).
        rate: bytes a second; 0 is unlimited.
        loss: share of writes that have to be sent again.
        is_cut: nothing passes, and nobody is told.
        slowed, losing: rates and shares of faults, beside its own; the worst is in force.
    """

    latency: float = 0.001
    jitter: float = 0.001
    rate: float = 0.0
    loss: float = 0.0
    is_cut: bool = False
    slowed: list[float] = field(default_factory=list)
    losing: list[float] = field(default_factory=list)

    @property
    def rate_now(self) -> float:
        """Bytes a second now; 0 is unlimited."""
        if not self.slowed:
            return self.rate
        return min([*self.slowed, self.rate] if self.rate else self.slowed)

    @property
    def loss_now(self) -> float:
        """Share of writes that have to be sent again now."""
        return max([self.loss, *self.losing]) if self.losing else self.loss

    def mend(self) -> None:
        """No fault slows it down, and it loses nothing."""
        self.loss = 0.0
        self.slowed, self.losing = [], []
