"""Write pacing: answers are given a little later, so that whoever waits for them writes a little less.

How much is answered is decided by `core.ladder`; the owner's clock decides.
"""

from typing import Final

BURST_S: Final = 0.005  # because writes come in groups, and a group is no excess


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
