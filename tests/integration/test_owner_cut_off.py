"""The old owner lives but nobody hears it. Once the new owner has opened, it answers nothing with success."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from drsync.adapters.nbd.client import NbdClient
from drsync.lab.importing import connected
from drsync.lab.layout import DISK, GROUP, PRODUCTION, REMOTE, SAME_CITY
from drsync.model.errors import DrsyncError
from tests.integration.proxy import Wire
from tests.integration.site import Site, is_level, is_served, site

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

BLOCK = 4096
WRITES_BEFORE = 20
STUBBORN_S = 3.0  # because that is longer than the lease


class Stubborn:
    """A client that never learns of a move: it asks one socket for ever, each block once."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.acknowledged: dict[int, float] = {}
        self.answered_reads: list[float] = []
        self.tries = 0

    async def run(self) -> None:
        while True:
            try:
                client = await NbdClient.connect(self.uri, connect_seconds=1.0, request_seconds=1.0)
                try:
                    await self._ask(client)
                finally:
                    client.abort()
            except DrsyncError:
                await asyncio.sleep(0.05)

    async def _ask(self, client: NbdClient) -> None:
        while True:
            number = self.tries = self.tries + 1
            await client.write(number * BLOCK, block(number))
            self.acknowledged[number] = time.monotonic()
            await client.read(number * BLOCK, BLOCK)
            self.answered_reads.append(time.monotonic())
            await asyncio.sleep(0.01)

    def successes_since(self, instant: float) -> int:
        answers = [*self.acknowledged.values(), *self.answered_reads]
        return sum(at >= instant for at in answers)


def block(number: int) -> bytes:
    return number.to_bytes(8, "big") * (BLOCK // 8)


@asynccontextmanager
async def asking(uri: str) -> AsyncIterator[Stubborn]:
    client = Stubborn(uri)
    task = asyncio.create_task(client.run())
    try:
        yield client
    finally:
        task.cancel()
        await asyncio.wait([task])


def cut(place: Site, how: str) -> None:
    match how:
        case "swallowed":
            place.switch(Wire.DROP, PRODUCTION)
        case "delayed":
            place.switch(Wire.HOLD, PRODUCTION)
        case _:
            place.cluster.signal(PRODUCTION, signal.SIGSTOP)


def heal(place: Site, how: str) -> None:
    if how == "paused":
        place.cluster.signal(PRODUCTION, signal.SIGCONT)
    else:
        place.switch(Wire.PASS, PRODUCTION)


@pytest.mark.parametrize("how", ["swallowed", "delayed", "paused"])
async def test_an_owner_that_nobody_hears_acknowledges_nothing_more(home: Path, how: str) -> None:
    async with site(home, wired=True, seconds=90.0) as place:
        await place.protect()
        async with asking(await place.uri(DISK)) as old:
            async with asyncio.timeout(10):
                while len(old.acknowledged) < WRITES_BEFORE:
                    await asyncio.sleep(0.01)
            cut(place, how)
            (await place.cli("failover", GROUP, "--to", SAME_CITY)).well()
            status = await place.until("the new owner open", lambda s: is_served(s, SAME_CITY))
            assert status.doc("groups").doc(GROUP).text("owner") == SAME_CITY
            async with connected(await place.uri(DISK)) as new:
                await new.write(0, block(1 << 40))
                opened = time.monotonic()
                await asyncio.sleep(STUBBORN_S)  # the length of time itself is what is tested here
                assert old.successes_since(opened) == 0, "answered by an owner that was replaced"

                heal(place, how)
                await place.until("the old owner back as a replica", lambda s: is_level(s, SAME_CITY), 45.0)
                assert old.successes_since(opened) == 0, "answered by an owner that was replaced"
                lost = [n for n in old.acknowledged if await new.read(n * BLOCK, BLOCK) != block(n)]
                assert not lost, f"acknowledged by the old owner and lost: {lost}"
                assert await new.read(0, BLOCK) == block(1 << 40)
        await place.require_equal_content(PRODUCTION, REMOTE)
