"""The block front end of a simulated agent: what would be NBD sockets are doors that applications find here.

There is no connection: an application calls the device inside the agent's process, as a connection would.
"""

import asyncio
from pathlib import Path
from typing import Protocol

from drsync.adapters.nbd.address import parse_uri
from drsync.agent.exports import GroupExports
from drsync.model.errors import PermanentError, TransientError
from drsync.ports.volume import COMPLETE_OK, BlockDevice, Exports

RUN_DIR = Path("/run/drsync/nbd")


class Customers(Protocol):
    """The applications, who use what is served."""

    def served(self, group: str, volume: str, device: BlockDevice) -> None:
        """A volume of an owned group can be used from now on."""
        ...

    def dropped(self, group: str) -> None:
        """Connections to the volumes of a group are dropped without an answer."""
        ...


class SimFrontEnd:
    """`agent.front_end.FrontEnd` of one process.

    Attributes:
        doors: socket name -> what is served there now.
    """

    def __init__(self, customers: Customers) -> None:
        self.doors: dict[str, Exports] = {}
        self.customers = customers

    def path(self, name: str) -> Path:
        """See FrontEnd."""
        return RUN_DIR / f"{name}.sock"

    def server(self, name: str, exports: Exports) -> "SimServer":
        """See FrontEnd."""
        return SimServer(self, name, exports)

    async def connect(self, uri: str) -> "SimBlockClient":
        """See FrontEnd."""
        address = parse_uri(uri)
        exports = self.doors.get(address.socket.stem) if address.socket is not None else None
        device = exports.find(address.name) if exports is not None else None
        if device is None:
            raise TransientError(f"nothing is served at {uri}")
        return SimBlockClient(device)


class SimServer:
    """`agent.front_end.BlockServer`: a group's volumes are told to applications, those of a view are not."""

    def __init__(self, front: SimFrontEnd, name: str, exports: Exports) -> None:
        self._front, self._name, self._exports = front, name, exports

    async def start(self) -> None:
        """See BlockServer."""
        self._front.doors[self._name] = self._exports
        if isinstance(self._exports, GroupExports):
            for volume in self._exports.names():
                device = self._exports.find(volume)
                if device is not None:
                    self._front.customers.served(self._name, volume, device)

    async def stop(self, *, answers: bool) -> None:
        """See BlockServer."""
        del answers
        self._front.doors.pop(self._name, None)
        if isinstance(self._exports, GroupExports):
            self._front.customers.dropped(self._name)


class SimBlockClient:
    """`agent.front_end.BlockClient` and the `Completion` of what it asks."""

    def __init__(self, device: BlockDevice) -> None:
        self._device = device
        self._waiting: dict[bytes, asyncio.Future[int]] = {}
        self._numbers = 0

    @property
    def size(self) -> int:
        """See BlockClient."""
        return self._device.size

    async def read(self, offset: int, length: int) -> bytes:
        """See BlockClient."""
        target = bytearray(length)
        error = self._device.read_into(offset, memoryview(target))
        if error != COMPLETE_OK:
            raise PermanentError(f"errno {error} for a read at {offset}")
        return bytes(target)

    async def write(self, offset: int, data: bytes) -> None:
        """See BlockClient."""
        self._numbers += 1
        cookie = self._numbers.to_bytes(8, "big")
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting[cookie] = answer
        self._device.write(offset, memoryview(data), cookie, fua=False)
        self._device.submit(self)
        error = await answer
        if error != COMPLETE_OK:
            raise PermanentError(f"errno {error} for a write at {offset}")

    async def close(self) -> None:
        """See BlockClient."""
        self._waiting.clear()

    def complete(self, cookies: list[bytes], error: int) -> None:
        """See Completion."""
        for cookie in cookies:
            answer = self._waiting.pop(cookie, None)
            if answer is not None and not answer.done():
                answer.set_result(error)

    def resume(self) -> None:
        """See Completion: it reads what a view holds, and that never waits."""
