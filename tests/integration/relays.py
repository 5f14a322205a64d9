"""`drsync attach` as a process beside a site."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from drsync.adapters.api_client.doc import Doc
from drsync.adapters.nbd.address import make_uri
from drsync.lab.layout import GROUP
from tests.integration.site import Site

START_S = 20.0
STOP_S = 10.0


class RelayProcess:
    """One relay, and what it has said so far."""

    def __init__(self, process: asyncio.subprocess.Process, volume: str, socket: Path) -> None:
        self.process = process
        self.uri = make_uri(volume, socket)
        self.socket = socket
        self.said: list[Doc] = []
        self.rest = b""

    def events(self, kind: str) -> list[Doc]:
        """What it said of this kind."""
        return [said for said in self.said if said.text("event") == kind]

    async def until(self, kind: str, count: int = 1, seconds: float = START_S) -> Doc:
        """The `count`-th event of a kind."""
        async with asyncio.timeout(seconds):
            while len(self.events(kind)) < count:
                assert self.process.stdout is not None
                line = await self.process.stdout.readline()
                assert line, f"the relay has ended: {self.said}"
                self.said.append(Doc(json.loads(line)))
        return self.events(kind)[count - 1]

    async def stop(self) -> int:
        """SIGTERM; its exit code."""
        self.process.terminate()
        async with asyncio.timeout(STOP_S):
            out, _ = await self.process.communicate()
        self.said += [Doc(json.loads(line)) for line in out.splitlines()]
        assert self.process.returncode is not None
        return self.process.returncode


@asynccontextmanager
async def relay(place: Site, volume: str, *options: str) -> AsyncIterator[RelayProcess]:
    """A relay of the site's group, from the moment it serves."""
    socket = place.layout.root / f"relay-{volume}.sock"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "drsync.cli.main", "attach", f"{GROUP}/{volume}"),
        *("--socket", str(socket), "--json", *options),
        env=os.environ | {"DRSYNC_COORDINATOR": f"unix:{place.layout.coordinator_socket}"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    started = RelayProcess(process, volume, socket)
    try:
        await started.until("serving")
        yield started
        assert await started.stop() == 0
        assert not socket.exists()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
