"""The same 8 MiB are written over and over, faster than the line to the remote center: real processes."""

import asyncio
import os
from pathlib import Path

import pytest

from drsync.adapters.api_client.doc import Doc
from drsync.adapters.api_client.failures import DONE
from drsync.adapters.nbd.client import NbdClient
from drsync.lab.importing import connected
from drsync.lab.layout import DISK, GROUP, PRODUCTION, REMOTE
from drsync.lab.status import group_of
from tests.integration.site import MIB, SETTLE_S, Site, group_document, is_level, site

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]

LINE = 2.5e6  # bytes/s
LOAD = 10e6
PIECE = 128 << 10
PIECES = 8 * MIB // PIECE
NOISE = os.urandom(4 * MIB)  # shrinks by nothing, and is another piece each time


class Load:
    """Numbers its pieces, so that whoever reads them can tell whether they are of one moment."""

    def __init__(self) -> None:
        self.number = 0
        self.is_over = False

    async def run(self, uri: str) -> None:
        loop = asyncio.get_running_loop()
        client = await NbdClient.connect(uri, connect_seconds=5.0, request_seconds=20.0)
        try:
            began = loop.time()
            while not self.is_over:
                self.number += 1
                at = self.number * (PIECE + 8) % (len(NOISE) - PIECE)
                content = self.number.to_bytes(8, "big") + NOISE[at : at + PIECE - 8]
                await client.write(self.number % PIECES * PIECE, content)
                await asyncio.sleep(max(0.0, began + self.number * PIECE / LOAD - loop.time()))
        finally:
            client.abort()


async def require_one_moment(place: Site) -> int:
    """What the remote center opens now is a state that the volume once had; the number of its last write."""
    opened = await place.cli("open", GROUP, "--at", REMOTE, "--json")
    while (
        opened.code != DONE and "resync" in opened.err + opened.out
    ):  # within a switch, which takes a moment
        opened = await place.cli("open", GROUP, "--at", REMOTE, "--json")
    opening = opened.well().doc
    async with connected(opening.doc("volumes").text(DISK)) as client:
        raw = [await client.read(index * PIECE, 8) for index in range(PIECES)]
    numbers = sorted(int.from_bytes(one, "big") for one in raw)
    assert numbers == list(range(numbers[-1] - PIECES + 1, numbers[-1] + 1))
    await place.cli("close", opening.text("id"), "--json")  # or the switch has closed it already
    return numbers[-1]


def remote(status: Doc) -> Doc:
    return group_of(status).doc("centers").doc(REMOTE)


async def test_what_is_written_again_and_again_is_sent_once(home: Path) -> None:
    async with site(home, wired=True, seconds=80.0) as place:
        document = group_document(16 * MIB, 4 * MIB, max_pace="0s")
        await place.post("/v1/groups", document | {"objectives": {"rpo": "3s", "rto": "60s"}})
        await place.until("the group open and level", lambda status: is_level(status, PRODUCTION))
        load = Load()
        writing = asyncio.create_task(load.run(await place.uri(DISK)))
        while load.number < PIECES:
            await asyncio.sleep(0.05)
        await place.until(
            "the first pieces have arrived", lambda status: remote(status).number("rpo_actual_s") < 2
        )
        line = place.wires[PRODUCTION, REMOTE]
        line.rate, before, began = LINE, line.carried, load.number
        await place.until("a set on its way", lambda status: "delta set" in remote(status).text("plan"))
        seen = await require_one_moment(place)
        await place.until(
            "a set has arrived", lambda status: remote(status).doc("resynced").whole("sessions") > 0
        )
        load.is_over = True
        await writing
        await place.until("everything has arrived", lambda s: not remote(s).whole("lag_records"), SETTLE_S)
        written, carried = (load.number - began) * PIECE, line.carried - before
        assert carried < 0.8 * written, (carried, written)
        await place.until("it streams", lambda status: remote(status).text("plan").startswith("stream"))
        line.rate = 0.0
        assert await require_one_moment(place) > seen
        await place.require_equal_content(REMOTE)
