"""PostgreSQL agrees to a checkpoint under load: its file system needs no recovery there, and it little."""

import asyncio
from pathlib import Path

import pytest

from drsync.lab.layout import DISK, GROUP, PRODUCTION, REMOTE
from tests.integration import disks
from tests.integration.site import MIB, POLL_S, SETTLE_S, Site, site
from tests.proofs import database
from tests.proofs.book import TABLE, Book, Writers

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(150),
    pytest.mark.skipif(
        database.why_not() != "", reason=f"no database on a volume here: {database.why_not()}"
    ),
]
DISK_BYTES = 128 * MIB
CLIENTS = 2
COMMITS = 50


async def test_a_database_starts_from_a_point_that_it_agreed_to(home: Path) -> None:
    folder = home / "db"

    def configure(place: Site) -> None:
        reached = f"host={folder / 'pg'} user={database.ADMIN} dbname={database.NAME}"
        more = f'mounts = true\nfreeze = ["{folder / "tree"}"]\npostgresql = {{ orders = "{reached}" }}'
        place.edit(PRODUCTION, "mounts = true", more)

    async with site(home, seconds=130, configure=configure) as place:
        before = [{"postgresql": "orders"}, {"fsfreeze": str(folder / "tree")}]
        await place.protect(DISK_BYTES, consistency={"before": before, "max_freeze": "10s"})
        with disks.block_device(folder, await place.uri(DISK)) as device:
            await asyncio.to_thread(device.make_file_system)
            with database.database(folder / "pg", device.tree) as server:
                await asyncio.to_thread(begin, server)
                writers = Writers(server, CLIENTS, Book())
                try:
                    async with asyncio.timeout(SETTLE_S):
                        while len(writers.book.entries) < COMMITS:
                            await asyncio.sleep(POLL_S)
                    seen = len(writers.book.entries)
                    asked = ("checkpoint", GROUP, "--app-consistent", "--name", "agreed", "--json")
                    made = (await place.cli(*asked)).well().doc
                finally:
                    await asyncio.to_thread(writers.end)
                assert made.flag("app"), made.text("why")
                assert "checkpoint starting: immediate force wait" in server.log.read_text()
                server.stop()

        async with asyncio.timeout(SETTLE_S):
            while not await holds(place, made.whole("seq")):
                await asyncio.sleep(POLL_S)
        opened = await place.post(
            f"/v1/groups/{GROUP}/openings", {"at": REMOTE, "point": "agreed", "quota_bytes": 64 * MIB}
        )
        assert opened.flag("is_app_consistent")
        uri = opened.doc("volumes").text(DISK)
        with disks.block_device(home / "past", uri) as past:
            said = await asyncio.to_thread(disks.run, "dumpe2fs", "-h", past.device)
            assert "needs_recovery" not in said
            await asyncio.to_thread(disks.run, "mount", "-t", "ext4", past.device, past.tree)
            with database.database(home / "past" / "pg", past.tree) as old:
                await asyncio.to_thread(old.start)
                rows = await asyncio.to_thread(writers.book.found, old)
                writers.book.require_prefix(rows)
                assert len(rows) >= seen, "what was committed before it was asked is there"
                assert not old.complaints()


def begin(server: database.Database) -> None:
    server.make()
    server.start()
    server.sql(f"CREATE DATABASE {database.NAME}", database.ADMIN)
    server.sql(TABLE)


async def holds(place: Site, seq: int) -> bool:
    held = (await place.get(f"/v1/groups/{GROUP}/points")).doc("centers").doc(REMOTE)
    return any(one.whole("seq") == seq and one.flag("app") for one in held.docs("points"))
