"""Both centers of the city are gone: the remote one opens only when a person accepts what is lost."""

import json
from pathlib import Path

import pytest

from drsync.adapters.nbd.client import NbdClient
from drsync.lab.importing import connected
from drsync.lab.layout import DISK, GROUP, PRODUCTION, REMOTE, SAME_CITY
from drsync.lab.status import group_of
from tests.integration.proxy import Wire
from tests.integration.site import is_connected, is_served, site

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

BLOCK = 4096
REPLICATED, LOST = 30, 20


async def write_blocks(client: NbdClient, first: int, count: int) -> None:
    for number in range(first, first + count):
        await client.write(number * BLOCK, number.to_bytes(8, "big") * (BLOCK // 8))


async def test_the_remote_center_opens_only_when_the_loss_is_accepted(home: Path) -> None:
    async with site(home, wired=True, seconds=100.0) as place:
        await place.protect()
        async with connected(await place.uri(DISK)) as client:
            await write_blocks(client, 1, REPLICATED)
            written = (await place.group()).doc("centers").doc(PRODUCTION).whole("position")
            await place.until(
                "the remote center has what was written",
                lambda s: group_of(s).doc("centers").doc(REMOTE).whole("position") >= written,
            )
            place.switch(Wire.DROP, REMOTE, [PRODUCTION, SAME_CITY])
            await write_blocks(client, 1 + REPLICATED, LOST)
        await place.kill(PRODUCTION, SAME_CITY)
        before = await place.charter()

        refused = await place.cli("failover", GROUP, "--to", REMOTE)
        assert refused.code == 3, refused
        assert "writes may be lost" in refused.err, refused.err
        assert "remedy: " in refused.err, refused.err
        after = await place.charter()
        for key in ("owner", "epoch", "history", "intent"):
            assert after.raw(key) == before.raw(key), f"{key} changed"

        place.switch(Wire.PASS, REMOTE)
        forced = await place.cli("failover", GROUP, "--to", REMOTE, "--accept-loss", "--yes", "--json")
        accepted = forced.well()
        loss = accepted.doc.doc("loss")
        assert loss.text("loss") == "forced", accepted.out
        assert loss.text("target") == REMOTE
        await place.until("the remote center serves", lambda s: is_served(s, REMOTE))
        async with connected(await place.uri(DISK)) as client:
            await client.write(0, b"\xaa" * BLOCK, fua=True)
            assert await client.read(REPLICATED * BLOCK, 8) == REPLICATED.to_bytes(8, "big")
            assert await client.read((REPLICATED + LOST) * BLOCK, 8) == bytes(8), "this was given up"
        stated = json.loads((await place.cli("charter", "show", GROUP, "--json")).well().out)
        assert "forced" in json.dumps(stated)

        place.start(PRODUCTION, SAME_CITY)
        await place.until(
            "both city centers follow",
            lambda s: (
                is_connected(s)
                and is_served(s, REMOTE)
                and all(
                    group_of(s).doc("centers").doc(name).text("state") == "replica"
                    and group_of(s).doc("centers").doc(name).number("rpo_actual_s", 99) < 2.0
                    for name in (PRODUCTION, SAME_CITY)
                )
            ),
            45.0,
        )
        for name in (PRODUCTION, SAME_CITY):
            forks = [path for path in place.layout.state(name).rglob("fork-*") if path.stat().st_size]
            assert forks, f"what {name} alone had acknowledged is kept"
        await place.require_equal_content(PRODUCTION, SAME_CITY)


async def test_what_would_be_lost_is_said_before_anything_changes(home: Path) -> None:
    async with site(home) as place:
        await place.protect()
        await place.kill(PRODUCTION, SAME_CITY)
        before = await place.charter()
        tried = await place.cli("failover", GROUP, "--to", REMOTE, "--accept-loss", "--dry-run", "--json")
        assert tried.doc.doc("loss").text("target") == REMOTE, tried.out
        assert (await place.charter()).raw("version") == before.raw("version")

        plain = (await place.cli("failover", GROUP, "--to", REMOTE, "--accept-loss", "--yes")).well()
        assert "lost" in (plain.err + plain.out).lower(), plain
        await place.until("the remote center serves", lambda s: is_served(s, REMOTE))
