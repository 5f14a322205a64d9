"""A group whose policy is automatic loses its owner, and nobody is there to ask."""

import asyncio
import signal
import time
from pathlib import Path

import pytest

from drsync.lab.layout import COORDINATOR, GROUP, PRODUCTION, SAME_CITY
from drsync.lab.status import group_of
from drsync.lab.writer import LedgerWriter
from tests.integration.proxy import Wire
from tests.integration.site import LEASE_S, Site, is_level, is_served, site

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

WRITES_BEFORE = 50
OUTAGE_MAX_S = (
    LEASE_S + 3.0
)  # because the lease is waited for, and a busy machine takes a while to seal and open
WATCHED_S = 3 * LEASE_S  # because whoever acts too early would have acted by then


async def events(place: Site, kind: str) -> list[str]:
    async with place.cluster.api() as api:
        found = (await api.get("/v1/events", {"group": GROUP, "limit": 1000})).docs("events")
    return [event.text("text") for event in found if event.text("kind") == kind]


async def until_written(place: Site, writer: LedgerWriter, count: int) -> None:
    async with asyncio.timeout(20):
        while writer.acknowledged < count:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_the_same_city_center_serves_without_being_asked(home: Path, how: str) -> None:
    """Killed and not started again; or stopped, so that every connection stands and says nothing (P02)."""
    async with site(home, seconds=90.0) as place:
        await place.protect(failover="automatic", detect="1s", sync_timeout="5s")
        async with place.writing() as writer:
            await until_written(place, writer, WRITES_BEFORE)
            began = time.monotonic()
            if how == "killed":
                await place.kill(PRODUCTION)
            else:
                place.cluster.signal(PRODUCTION, signal.SIGSTOP)
            await place.until("served by the same-city center", lambda s: is_served(s, SAME_CITY))
            outage_s = time.monotonic() - began
            await until_written(place, writer, writer.acknowledged + WRITES_BEFORE)
            if how == "killed":
                place.start(PRODUCTION)
            else:
                place.cluster.signal(PRODUCTION, signal.SIGCONT)
            await place.until("production back as a replica", lambda s: is_level(s, SAME_CITY))
        await place.require_ledger(writer)
        (decided,) = await events(place, "failover_decided")
        assert "production was not heard for" in decided
        assert "nor by" in decided
        assert outage_s < OUTAGE_MAX_S, f"{how}: not served for {outage_s:.2f} s"


async def test_an_owner_that_only_the_coordinator_has_lost_goes_on(home: Path) -> None:
    """One-armed: production cannot reach the coordinator. Its mate confirms, and nobody deposes it."""
    async with site(home, wired=True, seconds=90.0) as place:
        await place.protect(failover="automatic", detect="1s", sync_timeout="5s")
        before = (await place.charter()).whole("epoch")
        async with place.writing() as writer:
            await until_written(place, writer, WRITES_BEFORE)
            place.switch(Wire.DROP, PRODUCTION, [COORDINATOR])
            await place.until(
                "suspected", lambda s: group_of(s).doc("detection").text("state") == "suspected"
            )
            await asyncio.sleep(WATCHED_S)  # the length of time itself is what is tested here
            reached = writer.acknowledged
            await until_written(place, writer, reached + WRITES_BEFORE)
            place.switch(Wire.PASS, PRODUCTION, [COORDINATOR])
            await place.until("well again", lambda s: is_level(s, PRODUCTION))
        await place.require_ledger(writer)
        assert (await place.charter()).whole("epoch") == before
        assert not await events(place, "failover_decided")
