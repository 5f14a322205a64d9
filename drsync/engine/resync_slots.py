"""The slots that all groups of an agent share for resync sessions. Who is next: `core.resync_order`."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from drsync.core.resync_order import SLOTS, Applicant, following, may_begin
from drsync.ports.clock import Clock, Random

JITTER_S = 1.0  # because all peers of a center that comes back want a slot in the same moment


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Who waits for a slot, what it is called by, and since when."""

    applicant: Applicant
    called: asyncio.Event
    since: float


class ResyncSlots:
    """At most `slots` sessions at once, of whatever group.

    Attributes:
        running: keys of those that have a slot.
        troubled: keys of those whose lag is near its target, or above: other sessions begin later.
    """

    def __init__(self, slots: int = SLOTS) -> None:
        self.running: list[str] = []
        self._slots = slots
        self.troubled: set[str] = set()
        self._waiting: dict[str, _Waiting] = {}

    @property
    def waiting(self) -> list[str]:
        """Keys of those that wait, in order."""
        return sorted(self._waiting)

    @asynccontextmanager
    async def slot(self, applicant: Applicant, clock: Clock, dice: Random) -> AsyncIterator[None]:
        """A slot for as long as the context lasts; it begins a random moment after it was asked for."""
        await clock.sleep_until(clock.now() + dice.uniform(0.0, JITTER_S))
        called = asyncio.Event()
        self._waiting[applicant.key] = _Waiting(applicant, called, clock.now())
        self._call(clock.now())
        try:
            await called.wait()
            yield
        finally:
            self._waiting.pop(applicant.key, None)
            if applicant.key in self.running:
                self.running.remove(applicant.key)
            self._call(clock.now())

    def told(self, group_id: str, troubled: Iterable[str], now: float) -> None:
        """Which centers of a group are in trouble at this moment; nobody once its term is over."""
        before = {key for key in self.troubled if key.partition("/")[0] == group_id}
        self.troubled -= before
        self.troubled.update(f"{group_id}/{center}" for center in troubled)
        if self._waiting:
            self._call(now)

    def _call(self, now: float) -> None:
        while True:
            may = (
                found.applicant
                for found in self._waiting.values()
                if may_begin(found.applicant, self.troubled, now - found.since)
            )
            chosen = following(may, len(self.running), self._slots)
            if chosen is None:
                return
            called = self._waiting.pop(chosen.key).called
            self.running.append(chosen.key)
            called.set()
