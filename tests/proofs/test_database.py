"""PostgreSQL on ext4 on a volume loses its owner under load. What clients saw committed is there or named."""

import asyncio
from pathlib import Path

import pytest

from drsync.lab.layout import GROUP, PRODUCTION, SAME_CITY
from tests.integration.proxy import Wire
from tests.integration.site import MIB, is_served, site
from tests.proofs import database
from tests.proofs.load import load_on, on_volume

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(150),
    pytest.mark.skipif(
        database.why_not() != "", reason=f"no database on a volume here: {database.why_not()}"
    ),
]

STORY_S = 130.0
DISK_BYTES = 256 * MIB
COMMITS = 400
RPO_TARGET_S = 15.0  # of the group that `site` makes
FREEZE_S = 6.0  # because a proof should not wait the usual minute for an owner to give its clients up
RESTART_S = 0.5  # because a status is no older than two heartbeats of a lease of 2 s


@pytest.mark.parametrize("how", ["killed", "swallowed"])
async def test_every_commit_is_at_the_same_city_center(home: Path, how: str) -> None:
    """SIGKILL of the owner, or a firewall that swallows everything it says: half-open connections."""
    async with site(home, wired=how == "swallowed", seconds=STORY_S) as place:
        await place.protect(DISK_BYTES, freeze_timeout=f"{FREEZE_S:g}s")
        async with on_volume(place, home / "old", is_new=True) as old, load_on(old) as load:
            await load.until(COMMITS)
            if how == "killed":
                await place.kill(PRODUCTION)
            else:
                place.switch(Wire.DROP, PRODUCTION)
            (await place.cli("failover", GROUP, "--to", SAME_CITY)).well()
            await place.until("served by the same-city center", lambda s: is_served(s, SAME_CITY))
            seen = len(load.book.entries)
            async with on_volume(place, home / "new", is_new=False) as new:
                rows = await asyncio.to_thread(load.book.found, new)
                lost = load.book.lost(rows)
                assert not lost, f"of {seen} acknowledged commits {len(lost)} are lost: {lost[:10]}"
                load.book.require_prefix(rows)
                counted = await asyncio.to_thread(load.bench_ended)
                ((history,),) = new.sql("SELECT count(*) FROM pgbench_history")
                assert int(history) >= counted > 0
                await asyncio.to_thread(new.require_sound)
                assert len(load.book.entries) == seen, "an owner that was replaced let a commit through"
