"""PostgreSQL on ext4 on a volume loses its owner under load. What clients saw committed is there or named."""

import asyncio
import json
import time
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from drsync.adapters.api_client.doc import Doc
from drsync.adapters.segments.inspection import describe
from drsync.lab.layout import DISK, GROUP, PRODUCTION, REMOTE, SAME_CITY
from drsync.lab.status import group_of
from tests.integration.proxy import Wire
from tests.integration.relays import relay
from tests.integration.site import MIB, is_level, is_served, site
from tests.proofs import database
from tests.proofs.book import Book
from tests.proofs.load import load_on, on_volume
from tests.proofs.terminal import Terminal

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(150),
    pytest.mark.skipif(
        database.why_not() != "", reason=f"no database on a volume here: {database.why_not()}"
    ),
]

STORY_S = 130.0
DISK_BYTES = 256 * MIB
COMMITS = 300
RPO_TARGET_S = 15.0  # of the group that `site` makes
FREEZE_S = 6.0  # because a proof should not wait the usual minute for an owner to give its clients up
ROUNDS = 3  # of two deaths each, less one
LAG_S = 2.0  # that the remote center shall be behind when the city is lost


@pytest.mark.parametrize("how", ["killed", "unplugged"])
async def test_every_commit_is_at_the_same_city_center(home: Path, how: str) -> None:
    """SIGKILL of the owner, or its host's cable is pulled: half-open connections, and nobody is told."""
    async with site(home, hosts=how == "unplugged", seconds=STORY_S) as place:
        await place.protect(DISK_BYTES, freeze_timeout=f"{FREEZE_S:g}s")
        async with on_volume(place, home / "old", is_new=True, ends_well=False) as old, load_on(old) as load:
            await load.until(COMMITS)
            if how == "killed":
                await place.kill(PRODUCTION)
            else:
                assert place.hosts is not None
                place.hosts.network.plug(PRODUCTION, is_in=False)
            (await place.cli("failover", GROUP, "--to", SAME_CITY)).well()
            await place.until("served by the same-city center", lambda s: is_served(s, SAME_CITY))
            seen = len(load.book.entries)
            async with on_volume(place, home / "new", is_new=False, ends_well=True) as new:
                rows = await asyncio.to_thread(load.book.found, new)
                lost = load.book.lost(rows)
                assert not lost, f"of {seen} acknowledged commits {len(lost)} are lost: {lost[:10]}"
                load.book.require_prefix(rows)
                counted = await asyncio.to_thread(load.bench_ended)
                ((history,),) = new.sql("SELECT count(*) FROM pgbench_history")
                assert int(history) >= counted > 0
                await asyncio.to_thread(new.require_sound)
                assert len(load.book.entries) == seen, "an owner that was replaced let a commit through"


async def test_a_server_on_a_relay_is_not_even_restarted(home: Path) -> None:
    """The same death under `drsync attach`: requests wait for the new owner, and no client sees an error."""
    async with site(home, seconds=STORY_S) as place:
        await place.protect(DISK_BYTES)
        async with (
            relay(place, DISK) as through,
            on_volume(place, home / "db", is_new=True, ends_well=True, uri=through.uri) as server,
        ):
            async with load_on(server) as load:
                await load.until(COMMITS)
                await place.kill(PRODUCTION)
                (await place.cli("failover", GROUP, "--to", SAME_CITY)).well()
                await place.until("served by the same-city center", lambda s: is_served(s, SAME_CITY))
                await load.go_on(COMMITS)
                assert load.bench.poll() is None, "pgbench goes on, too"
            rows = await asyncio.to_thread(load.book.found, server)
            assert not load.book.lost(rows)
            load.book.require_prefix(rows)
            await asyncio.to_thread(server.require_sound)


async def test_the_remote_center_has_a_prefix_and_its_loss_was_stated(home: Path) -> None:
    """The line to the remote center is dead for seconds, then the city is lost."""
    async with site(home, wired=True, seconds=STORY_S) as place:
        await place.protect(DISK_BYTES)
        async with on_volume(place, home / "old", is_new=True, ends_well=False) as old, load_on(old) as load:
            await load.until(COMMITS)
            place.switch(Wire.DROP, REMOTE, [PRODUCTION, SAME_CITY])
            await place.until("its lag is shown", lambda s: rpo_shown(s) >= LAG_S)
            shown_at = time.monotonic()
            shown_s = rpo_shown(await place.get("/v1/status"))
            await place.kill(PRODUCTION, SAME_CITY)
            died_at = time.monotonic()
        book = load.book
        before = await place.charter()

        refused = await place.cli("failover", GROUP, "--to", REMOTE)
        assert refused.code == 3, refused
        tried = await place.cli("failover", GROUP, "--to", REMOTE, "--accept-loss", "--dry-run", "--json")
        stated = tried.well().doc.doc("loss")
        async with Terminal(place, "failover", GROUP, "--to", REMOTE, "--accept-loss") as person:
            said = await person.until("give up what is named above? [y/N]")
            assert f"opening at remote at record {stated.whole('position')}" in said
            assert f"at least {stated.whole('records_at_least'):,} records" in said
            assert (await place.charter()).raw("version") == before.raw("version"), (
                "nothing before the answer"
            )
            assert await person.answer("y") == 0
        await place.until("the remote center serves", lambda s: is_served(s, REMOTE))

        async with on_volume(place, home / "new", is_new=False, ends_well=True) as new:
            rows = await asyncio.to_thread(book.found, new)
            book.require_prefix(rows)
            lost = book.lost(rows)
            assert lost, "nothing was lost: this proves nothing"
            loss_s = died_at - min(entry.acknowledged for entry in lost)
            assert loss_s <= shown_s + (died_at - shown_at), (
                f"{loss_s:.2f} s are lost, {shown_s} s were shown"
            )
            assert loss_s <= RPO_TARGET_S
            await asyncio.to_thread(new.require_sound)

        (journal,) = place.layout.state(PRODUCTION).glob("groups/*/journal")
        written = await asyncio.to_thread(describe, journal)
        beyond = written.tip.seq - stated.whole("position")
        assert beyond >= stated.whole("records_at_least") > 0, "the statement names no more than is lost"
        history = json.loads((await place.cli("charter", "show", GROUP, "--json")).well().out)
        assert "forced" in json.dumps(history)


@pytest.mark.proofs
@pytest.mark.timeout(900)
async def test_one_owner_dies_after_the_other(home: Path) -> None:
    """The long form: the same database moves with every death, and the book is never closed."""
    owners = [PRODUCTION, SAME_CITY] * ROUNDS
    book = Book()
    async with site(home, seconds=850.0) as place:
        await place.protect(2 * DISK_BYTES)
        for number, (owner, mate) in enumerate(pairwise(owners)):
            async with on_volume(place, home / f"at-{number}", is_new=not number, ends_well=False) as server:
                async with load_on(server, book) as load:
                    await load.go_on(10 * COMMITS)
                    await place.kill(owner)
                (await place.cli("failover", GROUP, "--to", mate)).well()
                await place.until(f"served by {mate}", partial(is_served, owner=mate))
            async with on_volume(place, home / f"found-{number}", is_new=False, ends_well=True) as found:
                rows = await asyncio.to_thread(book.found, found)
                assert not book.lost(rows)
                book.require_prefix(rows)
                await asyncio.to_thread(found.require_sound)
            place.start(owner)
            await place.until(f"{owner} follows", partial(is_level, owner=mate))
        await place.require_equal_content(PRODUCTION, REMOTE)


def rpo_shown(status: Doc) -> float:
    """The age of what the remote center could open, as the status says it."""
    return group_of(status).doc("centers").doc(REMOTE).number("rpo_proved_s", -1.0)
