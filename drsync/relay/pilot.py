"""The relay's own connection to an owner: by it the relay knows whom it follows, and when that is over."""

import asyncio

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
    """The relay's own connection to the owner: it carries nothing, and ends when the owner's term does."""

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
