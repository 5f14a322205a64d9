"""The rest of a term: while nothing is on its way, its ticks come when something is due (decision 0033)."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from drsync.engine.attach import Attachment
from drsync.engine.enforcement import Enforcer
from drsync.engine.lag import Lag
from drsync.engine.owner import OwnerEngine
from drsync.model.group import GroupSpec, Mode
from drsync.ports.clock import Clock
from drsync.wire.stream import ToldCursor

TICK_S: Final = 0.05
"""Because commit hints ride on it when nothing is written, and 50 ms add little to a drain."""
REST_S: Final = 1.0
"""Because a mark is due each second anyway, and what nobody thought of is then late by no more."""
LEASE_S: Final = 5 * TICK_S
"""Because when a lapsed lease ended the service is to be known to a tick, also where the loop is late."""
NEWS_RECORDS: Final = 64
"""Because that many records are marks, or writes that nobody minds being sent twice."""


class Rest:
    """A sleep that `stir` shortens to one tick.

    Attributes:
        is_deep: a sleep of more than a tick is going on; who changes something calls `stir` first.
    """

    def __init__(self, clock: Clock, woken: Callable[[float], None]) -> None:
        """`woken` is told the instant at which a deep rest is stirred, before what stirs it happens."""
        self.is_deep = False
        self._clock = clock
        self._woken = woken
        self._over: asyncio.Future[None] | None = None

    async def until(self, instant: float) -> None:
        """Return at `instant`, or one tick after the first `stir`."""
        clock, now = self._clock, self._clock.now()
        if instant <= now + TICK_S:
            await clock.sleep_until(now + TICK_S)
            return
        loop = asyncio.get_running_loop()
        self.is_deep, self._over = True, loop.create_future()
        timer = loop.call_later(instant - now, self._end)
        try:
            await self._over
        finally:
            timer.cancel()
            is_stirred, self.is_deep = not self.is_deep, False
        # The loop's clock stands still during suspend, and may be a little ahead.
        await clock.sleep_until(clock.now() + TICK_S if is_stirred else instant)

    def stir(self) -> None:
        """Something is about to change that the ticks look after."""
        if self.is_deep:
            self.is_deep = False
            self._woken(self._clock.now())
            self._end()

    def _end(self) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_result(None)


@dataclass(frozen=True, slots=True)
class Watched:
    """What a term's ticks look after.

    Attributes:
        engine: the hot path.
        enforcer: what is done for asynchronous peers.
        attachments: peers that follow, or did.
        me: our center.
        lag: how far a peer is behind.
    """

    engine: OwnerEngine
    enforcer: Enforcer
    attachments: Mapping[str, Attachment]
    me: str
    lag: Callable[[str], Lag]

    @property
    def lease_due(self) -> float:
        """When the lease comes near to its end."""
        return self.engine.lease_until - LEASE_S

    def is_calm(self, group: GroupSpec, now: float) -> bool:
        """Whether a tick has nothing to do before something is due or stirs.

        Asked at the end of a tick. Whoever is on the way to something, lacks something, or comes near to the
        end of something is ticked for as ever.
        """
        engine = self.engine
        if engine.is_gated or not engine.is_leased or self.lease_due <= now + TICK_S:
            return False
        return engine.is_level and self.enforcer.is_calm and self._are_peers_level(group)

    def _are_peers_level(self, group: GroupSpec) -> bool:
        log = self.engine.log
        near = () if group.policy.mode is Mode.ASYNC else group.mates(self.me)
        for center in (member.name for member in group.members if member.name != self.me):
            attachment, counts = self.attachments.get(center), center in log.ack_set
            if attachment is None or attachment.is_lost:
                # What is away and lacks nothing may stay away; who lacks something becomes late by the clock.
                if counts or self.lag(center).seconds != 0.0:
                    return False
            elif (center in near and not counts) or not attachment.is_level(log.appended, log.commit):
                return False
        return True


def is_news(before: Mapping[str, ToldCursor], now: Mapping[str, ToldCursor]) -> bool:
    """Whether members hold more than a few records beyond what was said of them, or are others."""
    return before.keys() != now.keys() or any(
        (word.incarnation, word.is_fresh) != (was.incarnation, was.is_fresh)
        or not 0 <= word.seq - was.seq <= NEWS_RECORDS
        for word, was in ((word, before[center]) for center, word in now.items())
    )
