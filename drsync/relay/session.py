"""One client of a relay: dials the owner for it, again and again, and ends its patience."""

import asyncio
import contextlib
import errno
from typing import Protocol

from drsync.adapters.nbd.approach import Opened, Wanted
from drsync.adapters.nbd.negotiation import Chosen
from drsync.adapters.nbd.passage import Passage
from drsync.adapters.nbd.transmission import Outlet
from drsync.adapters.nbd.uplink import Uplink
from drsync.core.relay import Patience
from drsync.model import served
from drsync.model.epoch import NEVER, Epoch
from drsync.model.errors import DrsyncError
from drsync.ports.attention import Heard
from drsync.relay.options import RelayOptions
from drsync.relay.pilot import CONNECT_S
from drsync.relay.places import Place

RETRY_S = 0.2  # because an owner that closed one connection and is still there has others to care for


class Home(Protocol):
    """What a session needs of its relay."""

    @property
    def options(self) -> RelayOptions:
        """What the relay was told."""
        ...

    @property
    def place(self) -> Place | None:
        """Where the owner is; None while requests wait."""
        ...

    @property
    def heard(self) -> Heard:
        """Told of what comes from owners."""
        ...

    def take(self, epoch: Epoch, size: int = 0) -> bool:
        """A connection to that place was opened in `epoch`, with that size: whether requests may go there."""
        ...

    def client_left(self, session: "Session") -> None:
        """The client is gone."""
        ...


class Session:
    """The client's side is `passage`.

    Args:
        claim: names the session to owners, so that a late connection of it does nothing more.
    """

    def __init__(
        self, home: Home, tasks: asyncio.TaskGroup, chosen: Chosen, outlet: Outlet, claim: bytes
    ) -> None:
        self._home = home
        self._tasks = tasks
        self._wanted = Wanted(
            home.options.volume,
            is_structured=chosen.is_structured,
            tells_allocation=chosen.tells_allocation,
            claim=claim,
        )
        self._dialing: asyncio.Task[None] | None = None
        self._oldest: tuple[bytes, float] | None = None
        self.passage = Passage(
            outlet,
            is_structured=chosen.is_structured,
            on_left=self._left,
            on_disconnected=self._disconnected,
        )
        self.connect()

    @property
    def waits_since(self) -> float | None:
        """Since when the oldest unanswered request was seen by `look`; None if there is none."""
        return self._oldest[1] if self._oldest is not None else None

    def connect(self, after_s: float = 0.0) -> None:
        """Dial the owner's place, until it is reached or there is none."""
        is_wanted = self.passage.is_open and not self.passage.has_uplink
        if is_wanted and self._dialing is None and self._home.place is not None:
            self._dialing = self._tasks.create_task(self._dial(after_s))

    def cut(self) -> None:
        """The owner is gone or deposed: nothing it may have answered is handed on. Requests are kept."""
        self._stop_dialing()
        self.passage.unbind()

    def refuse(self) -> int:
        """Answer all with EIO, until there is an owner again; how many."""
        self._stop_dialing()
        self._oldest = None
        return self.passage.refuse(errno.EIO)

    def look(self, now: float, alone_since: float | None, patience: Patience) -> bool:
        """Called a few times a second; whether requests have waited too long just now."""
        oldest = self.passage.held.oldest()
        if oldest is None:
            self._oldest = None
        elif self._oldest is None or self._oldest[0] is not oldest:
            self._oldest = (oldest, now)
        if self.passage.is_refusing or not self.passage.is_open:
            return False
        alone = None if self.passage.has_uplink else alone_since
        return patience.is_over(now, alone_since=alone, oldest_since=self.waits_since)

    async def _dial(self, after_s: float) -> None:
        passage = self.passage
        await asyncio.sleep(after_s)
        while passage.is_open and (place := self._home.place) is not None:
            with contextlib.suppress(DrsyncError):
                uplink, opened = await Uplink.dial(place.uri, self._wanted, CONNECT_S, self._home.heard)
                said = epoch_of(self._home.options, opened)
                if self._home.place is place and self._home.take(said, opened.size):
                    self._dialing = None
                    passage.bind(uplink)
                    return
                uplink.cut()
            await asyncio.sleep(RETRY_S)
        self._dialing = None

    def _disconnected(self, reason: str) -> None:
        """Not at once: an owner in trouble would be asked over and over, and one that is gone is gone."""
        del reason
        self.connect(RETRY_S)

    def _left(self) -> None:
        self._stop_dialing()
        self._home.client_left(self)

    def _stop_dialing(self) -> None:
        dialing, self._dialing = self._dialing, None
        if dialing is not None:
            dialing.cancel()


def epoch_of(options: RelayOptions, opened: Opened) -> Epoch:
    """The epoch that an opened export says; NEVER when it is not an owner's."""
    said = served.parse(options.volume, options.group, opened.description)
    return NEVER if said is None else said.epoch
