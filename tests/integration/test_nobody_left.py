"""Disaster upon disaster: who took over after a loss loses its disk, and only those left behind are there."""

import shutil
from pathlib import Path

import pytest

from drsync.adapters.nbd.client import NbdClient
from drsync.lab.importing import connected
from drsync.lab.layout import DISK, GROUP, PRODUCTION, REMOTE, SAME_CITY
from drsync.lab.status import group_of
from tests.integration.proxy import Wire
from tests.integration.site import is_connected, is_level, is_served, site

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

BLOCK = 4096
KNOWN_TO_ALL, KNOWN_TO_THE_CITY = 30, 20


def filled(number: int) -> bytes:
    return number.to_bytes(8, "big") * (BLOCK // 8)


async def write_blocks(client: NbdClient, first: int, count: int) -> None:
    for number in range(first, first + count):
        await client.write(number * BLOCK, filled(number))


async def test_the_city_opens_again_and_what_it_alone_knew_can_be_read(home: Path) -> None:
    async with site(home, wired=True, seconds=110.0) as place:
        await place.protect()
        async with connected(await place.uri(DISK)) as client:
            await write_blocks(client, 1, KNOWN_TO_ALL)
            written = (await place.group()).doc("centers").doc(PRODUCTION).whole("position")
            await place.until(
                "the remote center has what was written",
                lambda s: group_of(s).doc("centers").doc(REMOTE).whole("position") >= written,
            )
            place.switch(Wire.DROP, REMOTE, [PRODUCTION, SAME_CITY])
            await write_blocks(client, 1 + KNOWN_TO_ALL, KNOWN_TO_THE_CITY)
        await place.kill(PRODUCTION, SAME_CITY)
        place.switch(Wire.PASS, REMOTE)
        (await place.cli("failover", GROUP, "--to", REMOTE, "--accept-loss", "--yes")).well()
        await place.until("the remote center serves", lambda s: is_served(s, REMOTE))
        await place.kill(REMOTE)
        shutil.rmtree(place.layout.state(REMOTE))
        place.start(PRODUCTION, SAME_CITY)
        await place.until("the city is back", lambda s: is_connected(s, PRODUCTION, SAME_CITY))

        (await place.cli("failover", GROUP, "--to", PRODUCTION, "--accept-loss", "--yes")).well()
        await place.until("production serves", lambda s: is_served(s, PRODUCTION))
        async with connected(await place.uri(DISK)) as client:
            assert await client.read(KNOWN_TO_ALL * BLOCK, BLOCK) == filled(KNOWN_TO_ALL)
            await client.write(0, filled(1), fua=True)

        forks = (await place.cli("fork", "list", GROUP, "--json")).well().doc.doc("centers")
        (kept,) = forks.doc(PRODUCTION).docs("forks")
        opened = await place.cli("fork", "open", GROUP, kept.text("name"), "--at", PRODUCTION, "--json")
        async with connected(opened.well().doc.doc("volumes").text(DISK)) as client:
            last = KNOWN_TO_ALL + KNOWN_TO_THE_CITY
            assert await client.read(last * BLOCK, BLOCK) == filled(last), "what the city knew is not gone"

        place.start(REMOTE)
        await place.until("all follow, the empty disk as well", lambda s: is_level(s, PRODUCTION))
        await place.require_equal_content(SAME_CITY, REMOTE)
