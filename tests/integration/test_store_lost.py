"""The coordinator's store is deleted and the owner is killed: a person goes on without the store."""

import shutil
from pathlib import Path

import pytest

from drsync.lab.layout import COORDINATOR, GROUP, PRODUCTION, SAME_CITY
from drsync.lab.status import group_of
from tests.integration.site import is_connected, is_level, is_served, site

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

WRITES = 50
STORY_S = 100.0
REFUSED = 3


async def test_the_group_comes_back_without_its_store_and_the_old_one_is_refused(home: Path) -> None:
    async with site(home, seconds=STORY_S) as place:
        await place.protect()
        state = place.layout.state(COORDINATOR)
        async with place.writing() as writer:
            await place.until("some writes", lambda _status: writer.acknowledged >= WRITES)
            await place.kill(COORDINATOR, PRODUCTION)
            shutil.move(state, home / "old")
            state.mkdir(mode=0o700)
            place.start(COORDINATOR)
            await place.until("the others back", lambda status: is_connected(status, SAME_CITY, "remote"))
            why = (await place.cli("why", GROUP)).well()
            assert "does not know demo" in why.out
            assert "--without-store" in why.out

            refused = await place.cli("failover", GROUP, "--to", SAME_CITY, "--without-store")
            assert refused.code == REFUSED, refused
            arguments = ("--without-store", "--accept-loss", "--reason", "the store is gone", "--json")
            ended = (await place.cli("failover", GROUP, "--to", SAME_CITY, *arguments)).well()
            assert ended.doc.doc("loss").whole("records_at_least", -1) == 0
            await place.until("served again", lambda status: is_served(status, SAME_CITY))
            assert (await place.group()).text("epoch_text").startswith("1.1.")
            before = writer.acknowledged
            await place.until("writes go on", lambda _status: writer.acknowledged > before)
            place.start(PRODUCTION)
            await place.until("all level", lambda status: is_level(status, SAME_CITY))
        await place.require_ledger(writer)

        await place.kill(COORDINATOR)
        shutil.move(state, home / "new")
        shutil.move(home / "old", state)
        place.start(COORDINATOR)
        status = await place.until(
            "the old store refused", lambda found: "old copy" in group_of(found).text("waiting")
        )
        assert group_of(status).text("owner") == PRODUCTION, "so it believes"
        why = (await place.cli("why", GROUP)).well()
        assert "old copy" in why.out
        assert "put back the newest copy of the store" in why.out
