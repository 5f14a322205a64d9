"""The real clock and dice. The only place that asks the operating system for time or chance."""

import asyncio
import random
import secrets
import time
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
LATE_S = 0.0015
"""Because uvloop counts whole milliseconds and may end a sleep early: what remains would be turns of the
loop, one after the other, until the instant has come."""
EARLY_S = 0.005  # because timers may end a millisecond early, and one round is not to be two
SHORT_S = 0.001  # because uvloop takes half of that for no time, and would be asked turn after turn
LONG_S = 0.01  # because who sleeps for less than this minds a millisecond or two


class SystemClock:
    """`drsync.ports.clock.Clock` by CLOCK_BOOTTIME."""

    def now(self) -> float:
        """See the port."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall_us(self) -> int:
        """See the port."""
        return time.time_ns() // 1000

    async def sleep_until(self, instant: float) -> None:
        """See the port. The loop's clock stands still during suspend, so the rest is computed anew.

        Up to 2.5 ms late.
        """
        rest = instant - self.now()
        while rest > 0:
            await asyncio.sleep(rest + LATE_S if rest >= LONG_S else max(rest, SHORT_S))
            rest = instant - self.now()

    def until_round(self, period_s: float, slack_s: float = 0.0) -> float:
        """See the port: until the next multiple of the period, so that loops of one period wake in one turn.

        To wake an idle process costs more than what most of them do then.
        """
        now, step_s = self.now(), period_s + slack_s
        return ((now + EARLY_S) // step_s + 1) * step_s - now


class SystemRandom:
    """`drsync.ports.clock.Random` by the kernel's generator."""

    def __init__(self) -> None:
        self._dice = random.SystemRandom()

    def hex128(self) -> str:
        """See the port."""
        return secrets.token_hex(16)

    def uniform(self, low: float, high: float) -> float:
        """See the port."""
        return low + (high - low) * self._dice.random()


def boot_id() -> str:
    """The kernel's random id of this boot, 32 hex digits; another one means that the host restarted.

    A snapshot that is restored keeps it, so it does not notice that (F.A 7).
    """
    return BOOT_ID.read_text(encoding="ascii").strip().replace("-", "")
