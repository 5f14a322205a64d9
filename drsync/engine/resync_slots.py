"""The slots that all groups of an agent share for resync sessions. Who is next: `core.resync_order`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from drsync.core.resync_order import SLOTS, Applicant, following
from drsync.ports.clock import Clock, Random

JITTER_S = 1.0  # because all peers of a center that comes back want a slot in the same moment


class ResyncSlots:
    """At most `slots` sessions at once, of whatever group.

    Attributes:
        running: keys of those that have a slot.
    """

    def __init__(self, slots: int = SLOTS) -> None:
        self.running: list[str] = []
        self._slots = slots
        self._waiting: dict[str, tuple[Applicant, asyncio.Event]] = {}

    @property
    def waiting(self) -> list[str]:
        """Keys of those that wait, in order."""
        return sorted(self._waiting)

    @asynccontextmanager
    async def slot(self, applicant: Applicant, clock: Clock, dice: Random) -> AsyncIterator[None]:
        """A slot for as long as the context lasts; it begins a random moment after it was asked for."""
        await clock.sleep_until(clock.now() + dice.uniform(0.0, JITTER_S))
        called = asyncio.Event()
        self._waiting[applicant.key] = (applicant, called)
        self._call()
        try:
            await called.wait()
            yield
        finally:
            self._waiting.pop(applicant.key, None)
            if applicant.key in self.running:
                self.running.remove(applicant.key)
            self._call()

    def _call(self) -> None:
        while True:
            chosen = following((one for one, _ in self._waiting.values()), len(self.running), self._slots)
            if chosen is None:
                return
            _, called = self._waiting.pop(chosen.key)
            self.running.append(chosen.key)
            called.set()
