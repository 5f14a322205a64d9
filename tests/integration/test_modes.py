"""Groups with other promises than the usual one serve, replicate and fail over as well."""

from pathlib import Path

import pytest

from drsync.lab.layout import GROUP, PRODUCTION, REMOTE, SAME_CITY
from tests.integration.site import is_level, is_served, site

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]
SOME = 50


async def test_with_fsync_durability_no_acknowledged_write_is_lost_with_the_owner(home: Path) -> None:
    async with site(home, seconds=80.0) as place:
        await place.protect(durability="fsync")
        async with place.writing() as writer:
            await place.until("the application writes", lambda _status: writer.acknowledged > SOME)
            await place.kill(PRODUCTION)
            (await place.cli("failover", GROUP, "--to", SAME_CITY)).well()
            await place.until("served", lambda s: is_served(s, SAME_CITY))
            await place.require_ledger(writer)


async def test_an_asynchronous_group_waits_for_nobody_and_arrives_everywhere(home: Path) -> None:
    async with site(home, seconds=80.0) as place:
        await place.protect(mode="async")
        assert (await place.group()).texts("in_sync") == [PRODUCTION]
        async with place.writing() as writer:
            await place.until("the application writes", lambda _status: writer.acknowledged > SOME)
            await place.kill(SAME_CITY)
            before = writer.acknowledged
            await place.until("writes go on without it", lambda _status: writer.acknowledged > before + SOME)
            place.start(SAME_CITY)
            await place.until("level again", lambda s: is_level(s, PRODUCTION, is_async=True))
            await place.require_ledger(writer)
        await place.require_equal_content(SAME_CITY, REMOTE)
