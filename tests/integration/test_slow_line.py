"""A line to the remote center that carries less than is written, with real processes and real SSH."""

import asyncio
import random
from pathlib import Path

import pytest

from drsync.adapters.api_client.doc import Doc
from drsync.adapters.nbd.client import NbdClient
from drsync.lab.layout import DISK, PRODUCTION, REMOTE
from drsync.lab.status import group_of
from tests.integration.site import MIB, SETTLE_S, Site, site

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]

LINE = 2e6  # bytes/s
LOAD = 5e6
LOAD_S = 8.0
LOOK_S = 0.1
TARGET_S = 8.0  # without compression the last write would wait for 12 s
PIECE = 128 << 10


def text(size: int) -> bytes:
    """Words in no order: shrinks to about a third, as logs and tables do."""
    dice = random.Random(7)
    words = [bytes(dice.choices(b"abcdefghijklmnopqrstuvwxyz", k=dice.randint(3, 9))) for _ in range(300)]
    return b" ".join(dice.choices(words, k=size // 5))[:size]


class Watch:
    """Remembers the worst that the status showed."""

    def __init__(self) -> None:
        self.lag_s = 0.0
        self.level = 0.0
        self.ratio = 0.0

    async def run(self, place: Site) -> None:
        while True:
            remote = (await place.group()).doc("centers").doc(REMOTE)
            self.lag_s = max(self.lag_s, remote.number("lag_seconds", 0.0))
            self.level = max(self.level, remote.doc("compression").number("level", 0.0))
            self.ratio = max(self.ratio, remote.doc("compression").number("ratio", 1.0))
            await asyncio.sleep(LOOK_S)


async def load(uri: str) -> int:
    """Write at a steady rate; bytes written."""
    content, loop = text(16 * MIB), asyncio.get_running_loop()
    client = await NbdClient.connect(uri, connect_seconds=5.0, request_seconds=20.0)
    try:
        began, written = loop.time(), 0
        while loop.time() - began < LOAD_S:
            at = written % (len(content) - PIECE)
            await client.write(written % (client.size - PIECE) // 4096 * 4096, content[at : at + PIECE])
            written += PIECE
            await asyncio.sleep(max(0.0, began + written / LOAD - loop.time()))
    finally:
        client.abort()
    return written


async def test_text_that_the_line_could_not_carry_in_time_arrives_in_time(home: Path) -> None:
    async with site(home, wired=True, seconds=80.0) as place:
        await place.protect(disk_bytes=32 * MIB, max_pace="0s")
        place.wires[PRODUCTION, REMOTE].rate = LINE
        watch = Watch()
        watching = asyncio.create_task(watch.run(place))
        written = await load(await place.uri(DISK))
        watching.cancel()
        await asyncio.wait([watching])
        needs_s = written / LINE
        assert needs_s - LOAD_S > TARGET_S, (
            "as it is, the last write would have waited longer than the target"
        )
        assert watch.lag_s < TARGET_S, (watch.lag_s, watch.level, watch.ratio)
        assert watch.level > 0
        assert watch.ratio > 1.5

        def has_all(status: Doc) -> bool:
            return not group_of(status).doc("centers").doc(REMOTE).whole("lag_records")

        await place.until("everything has arrived", has_all, SETTLE_S)
        place.wires[PRODUCTION, REMOTE].rate = 0.0
        await place.require_equal_content(REMOTE)
