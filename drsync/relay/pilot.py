"""The relay's own connection to an owner: by it the relay knows whom it follows, and when that is over."""

import asyncio
from collections.abc import Iterator

from drsync.adapters.nbd.approach import Opened, Wanted
from drsync.adapters.nbd.protocol import transmission_flags
from drsync.adapters.nbd.uplink import Uplink
from drsync.core.relay import Export
from drsync.model import served
from drsync.model.errors import DrsyncError, TransientError
from drsync.relay.options import RelayOptions
from drsync.relay.places import Place

CONNECT_S = 2.0  # because a local socket opens in milliseconds, and the next place may be better


class Pilot:
    """The relay's own connection to the owner: it carries nothing, and ends when the owner's term does.

    Being idle it ends soon when the line is dead; one with requests under way would wait for minutes.
    """

    reply_need = 1

    def __init__(self, uplink: Uplink, place: Place) -> None:
        self.place = place
        self.gone = asyncio.Event()
        self.reason = ""
        self._uplink = uplink

    def begin(self) -> None:
        """Notice from now on when it ends."""
        self._uplink.begin(self)

    def replies(self, data: memoryview, at: int, end: int) -> int:
        """See Replies. Nothing was asked."""
        del data, at, end
        raise TransientError("the owner sent something that is no reply", code="nbd_lost")

    def disconnected(self, reason: str) -> None:
        """See Replies."""
        self.end(reason)

    def end(self, reason: str) -> None:
        """Cut it, or take note that it is gone."""
        self.reason = self.reason or reason
        self._uplink.cut()
        self.gone.set()


async def open_at(place: Place, options: RelayOptions) -> tuple[Uplink, Export]:
    """Open the volume at a place. Raises DrsyncError: it is not served there."""
    uplink, opened = await Uplink.dial(place.uri, Wanted(options.volume), CONNECT_S)
    try:
        return uplink, export_of(opened, options, place)
    except DrsyncError:
        uplink.cut()
        raise


Opening = tuple[Uplink, Export] | DrsyncError
"""What became of an attempt."""


class Search:
    """Attempts to open the volume at several places at once, one at a time at each.

    Args:
        tasks: where they run.
        found: set when one has opened it.
    """

    def __init__(self, options: RelayOptions, tasks: asyncio.TaskGroup, found: asyncio.Event) -> None:
        self._options = options
        self._tasks = tasks
        self._found = found
        self._running: dict[Place, asyncio.Task[Opening]] = {}

    def look(self, places: list[Place]) -> None:
        """Try these, where no attempt is under way."""
        for place in places:
            if place not in self._running:
                self._running[place] = self._tasks.create_task(self._attempt(place))

    def take(self) -> Iterator[tuple[Place, Opening]]:
        """What has ended since, in the order in which it was begun. Who takes an uplink has to cut it."""
        for place in [place for place, attempt in self._running.items() if attempt.done()]:
            yield place, self._running.pop(place).result()

    def end(self) -> None:
        """Give up what is under way, and close what nobody took."""
        for attempt in self._running.values():
            if not attempt.done():
                attempt.cancel()
            elif not attempt.cancelled() and not isinstance(found := attempt.result(), DrsyncError):
                found[0].cut()
        self._running.clear()

    async def _attempt(self, place: Place) -> Opening:
        try:
            opening = await open_at(place, self._options)
        except DrsyncError as error:
            return error
        self._found.set()
        return opening


def export_of(opened: Opened, options: RelayOptions, place: Place) -> Export:
    """What an opened export says of itself. Raises TransientError: it is not what we look for."""
    said = served.parse(options.volume, options.group, opened.description)
    if said is None:
        what = f"{place.uri} is not {options.name} at an owner that can be followed"
        raise TransientError(f"{what}; it says {opened.description[:100]!a}", code="nbd_no_epoch")
    missing = transmission_flags(is_read_only=opened.is_read_only) & ~opened.flags
    if missing:
        what = f"the owner at {place.uri} cannot do what clients were promised (flags {missing:#x})"
        raise TransientError(
            what, code="nbd_flags", remedy="Bring drsync there to the version of this relay."
        )
    return Export(said, opened.size, opened.is_read_only)
