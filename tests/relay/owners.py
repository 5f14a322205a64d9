"""Owners that a relay can follow, without journals: a log in memory that survives them, and NBD servers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from drsync.adapters.memory.volume import MemoryDevice
from drsync.adapters.nbd.address import make_uri
from drsync.adapters.nbd.client import NbdClient
from drsync.adapters.nbd.server import Server
from drsync.adapters.system.clock import SystemRandom
from drsync.core.relay import AfterLoss
from drsync.model import epoch as epochs
from drsync.model import served
from drsync.model.epoch import NEVER, Epoch
from drsync.model.served import Served
from drsync.ports.volume import BlockDevice
from drsync.relay.daemon import run
from drsync.relay.options import RelayOptions
from drsync.relay.places import Place
from drsync.relay.telling import Event, Said

SIZE = 1 << 20
VOLUME = "data"
GROUP = "orders"
WAIT_S = 20.0

__all__ = ["AfterLoss", "Event", "MemoryDevice", "NbdClient", "SystemRandom", "epochs"]


class Owner:
    """A center that serves the volume in some epoch."""

    def __init__(self, folder: Path, name: str, device: BlockDevice) -> None:
        self.name = name
        self.path = folder / f"{name}.sock"
        self.device = device
        self.group = GROUP
        self.said = Served(NEVER)
        self.server: Server | None = None

    @property
    def place(self) -> Place:
        return Place(self.name, make_uri(VOLUME, self.path))

    async def open(self, epoch: int, lost_in: int = 0) -> None:
        """Serve; the socket of the last term is gone."""
        self.said = Served(Epoch(epoch), Epoch(lost_in))
        self.server = Server(self, self.path)
        await self.server.start()

    async def end(self) -> None:
        """The term has ended: connections are dropped, nothing more is answered."""
        server, self.server = self.server, None
        if server is not None:
            await server.stop(answers=False)

    def names(self) -> list[str]:
        return [VOLUME]

    def describe(self, name: str) -> str:
        return served.describe(name, self.group, self.said)

    def find(self, name: str) -> BlockDevice | None:
        return self.device if name == VOLUME and self.server is not None else None


class Attached:
    """A relay that runs, and what it said."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "relay.sock"
        self.said: list[Said] = []
        self._moved = asyncio.Condition()

    @property
    def uri(self) -> str:
        return make_uri(VOLUME, self.socket)

    def tell(self, said: Said) -> None:
        self.said.append(said)

    def count(self, event: Event) -> int:
        return sum(said.event is event for said in self.said)

    async def until(self, event: Event, count: int = 1) -> Said:
        """The `count`-th time that `event` was said."""
        async with asyncio.timeout(WAIT_S):
            while self.count(event) < count:
                await asyncio.sleep(0.005)
        return [said for said in self.said if said.event is event][count - 1]


@asynccontextmanager
async def attached(
    folder: Path,
    *owners: Owner,
    timeout_s: float = 60.0,
    after_loss: AfterLoss = AfterLoss.FAIL,
    coordinator: str = "",
    is_listed: bool = True,
    listen: tuple[str, int] | None = None,
) -> AsyncIterator[Attached]:
    """A relay that serves; by default it knows all owners and no coordinator."""
    relay = Attached(folder)
    options = RelayOptions(
        group=GROUP,
        volume=VOLUME,
        socket=relay.socket,
        listen=listen,
        timeout_s=timeout_s,
        after_loss=after_loss,
        places=tuple(owner.place for owner in owners) if is_listed else (),
        coordinator=coordinator or f"unix:{folder}/none.sock",
        token_file=None,
    )
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(run(options, stop, relay.tell))
        try:
            waiting = tasks.create_task(relay.until(Event.SERVING))
            await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            yield relay
        finally:
            stop.set()
