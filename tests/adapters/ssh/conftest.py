import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from drsync.adapters.ssh import PeerKeys, SshTransport, generate_keypair
from drsync.ports.transport import Link, LinkKind

WAIT_S = 10.0


@dataclass
class Recorder:
    """A LinkHandler that remembers."""

    received: bytearray = field(default_factory=bytearray)
    is_paused: bool = False
    pauses: int = 0
    lost: str | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def data_received(self, data: bytes | memoryview) -> None:
        self.received += data
        self.changed.set()

    def pause_writing(self) -> None:
        self.is_paused = True
        self.pauses += 1
        self.changed.set()

    def resume_writing(self) -> None:
        self.is_paused = False
        self.changed.set()

    def connection_lost(self, reason: str) -> None:
        assert self.lost is None
        self.lost = reason
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


@dataclass
class Pair:
    """Two centers with pinned keys; the remote one listens."""

    directory: Path
    production: SshTransport
    remote: SshTransport
    port: int
    accepted: asyncio.Queue[Link]

    async def links(self, kind: LinkKind = LinkKind.CONTROL) -> tuple[Link, Link]:
        dialed = await self.production.connect("remote", kind)
        async with asyncio.timeout(WAIT_S):
            return dialed, await self.accepted.get()


@dataclass
class Keys:
    directory: Path
    public: dict[str, str] = field(default_factory=dict)

    def make(self, name: str) -> Path:
        path = self.directory / name
        if name not in self.public:
            self.public[name] = generate_keypair(path)
        return path


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    made = Keys(tmp_path)
    for name in ("production-host", "production-client", "remote-host", "remote-client", "stranger"):
        made.make(name)
    return made


def transport(keys: Keys, me: str, peers: dict[str, PeerKeys], *, client: str = "") -> SshTransport:
    return SshTransport(
        me=me,
        host_key=keys.directory / (f"{me}-host" if (keys.directory / f"{me}-host").exists() else "stranger"),
        client_key=keys.directory / (client or f"{me}-client"),
        listen=("127.0.0.1", 0),
        peers=peers,
    )


@pytest_asyncio.fixture
async def pair(keys: Keys) -> AsyncIterator[Pair]:
    accepted: asyncio.Queue[Link] = asyncio.Queue()
    remote = transport(keys, "remote", {"production": PeerKeys(None, "", keys.public["production-client"])})
    address = await remote.listen(accepted.put_nowait)
    port = int(address.rsplit(":", 1)[1])
    production = transport(
        keys, "production", {"remote": PeerKeys(("127.0.0.1", port), keys.public["remote-host"])}
    )
    yield Pair(keys.directory, production, remote, port, accepted)
    await production.close()
    await remote.close()
