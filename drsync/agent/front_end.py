"""How volumes are served and reached: over NBD in production, by calls in the simulated world."""

from pathlib import Path
from typing import Protocol

from drsync.adapters.nbd.client import NbdClient
from drsync.adapters.nbd.server import Server
from drsync.ports.attention import Heard, unheard
from drsync.ports.volume import Exports


class BlockServer(Protocol):
    """Serves exports at one socket."""

    async def start(self) -> None:
        """Listen. Raises DrsyncError or OSError: not possible here and now."""
        ...

    async def stop(self, *, answers: bool) -> None:
        """Drop every client and listen no more; with `answers` the last replies are sent first."""
        ...


class BlockClient(Protocol):
    """Uses one export, as an application would. Every method may raise DrsyncError."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    async def read(self, offset: int, length: int) -> bytes:
        """Read a range."""
        ...

    async def write(self, offset: int, data: bytes) -> None:
        """Write a range."""
        ...

    async def close(self) -> None:
        """Leave."""
        ...


class FrontEnd(Protocol):
    """A block front end of one agent."""

    def path(self, name: str) -> Path:
        """The socket of that name, whether or not it is there."""
        ...

    def server(self, name: str, exports: Exports) -> BlockServer:
        """A server at that socket, not started."""
        ...

    async def connect(self, uri: str) -> BlockClient:
        """Open an export that is served. Raises DrsyncError."""
        ...


class NbdFrontEnd:
    """Sockets under ``<run dir>/nbd/``; `heard` is told of what comes from their clients."""

    def __init__(self, run_dir: Path, heard: Heard = unheard) -> None:
        """Makes the directory."""
        self._heard = heard
        self._directory = run_dir / "nbd"
        self._directory.mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        """See FrontEnd."""
        return self._directory / f"{name}.sock"

    def server(self, name: str, exports: Exports) -> BlockServer:
        """See FrontEnd."""
        return Server(exports, self.path(name), heard=self._heard)

    async def connect(self, uri: str) -> BlockClient:
        """See FrontEnd."""
        return await NbdClient.connect(uri)
