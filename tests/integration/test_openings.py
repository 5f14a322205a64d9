"""Somebody deleted a table: a moment before is opened beside production, read, and closed; forks likewise."""

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from drsync.adapters.api_client.doc import Doc
from drsync.adapters.nbd.client import NbdClient
from drsync.lab.importing import connected
from drsync.lab.layout import DISK, GROUP, PRODUCTION, REMOTE, SAME_CITY
from drsync.lab.status import group_of
from drsync.model.errors import DrsyncError
from tests.integration import disks
from tests.integration.proxy import Wire
from tests.integration.site import Site, is_served, site

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

BLOCK = 4096
FIRST_BYTE_S = 10.0  # because a command starts an interpreter, and other tests run beside us
MIB = 1 << 20


def filled(number: int) -> bytes:
    return number.to_bytes(8, "big") * (BLOCK // 8)


async def number_at(uri: str, block: int) -> int:
    async with connected(uri) as client:
        return int.from_bytes(await client.read(block * BLOCK, 8), "big")


async def checkpoint(place: Site, name: str, *centers: str) -> Doc:
    """Make a named point and wait until these centers can open it."""
    made = (await place.cli("checkpoint", GROUP, "--name", name, "--json")).well().doc

    async def has(center: str) -> bool:
        found = (await place.get(f"/v1/groups/{GROUP}/points")).doc("centers").doc(center)
        return any(point.whole("seq") == made.whole("seq") for point in found.docs("points"))

    for center in centers:
        while not await has(center):
            await asyncio.sleep(0.05)
    return made


async def opened(place: Site, *words: str) -> Doc:
    return (await place.cli("open", GROUP, *words, "--json")).well().doc


def uri(opening: Doc) -> str:
    return opening.doc("volumes").text(DISK)


async def events(place: Site, kind: str) -> list[str]:
    async with place.cluster.api() as api:
        found = (await api.get("/v1/events", {"group": GROUP, "limit": 500})).docs("events")
    return [event.text("text") for event in found if event.text("kind") == kind]


async def test_a_moment_before_a_mistake_is_opened_while_the_application_goes_on(home: Path) -> None:
    async with site(home, seconds=100.0) as place:
        await place.protect()
        async with place.writing() as writer:
            async with connected(await place.uri(DISK)) as client:
                await client.write(7 * BLOCK, filled(1), fua=True)
                before = await checkpoint(place, "before", REMOTE, SAME_CITY, PRODUCTION)
                await client.write(7 * BLOCK, filled(2), fua=True)
            await checkpoint(place, "after", REMOTE, SAME_CITY, PRODUCTION)

            started = time.monotonic()
            at_remote = await opened(place, "--at", REMOTE, "--point", "before", "--reason", "table deleted")
            assert await number_at(uri(at_remote), 7) == 1
            assert time.monotonic() - started < FIRST_BYTE_S
            assert (at_remote.whole("seq"), at_remote.text("point")) == (before.whole("seq"), "before")

            just_after = datetime.fromtimestamp((before.whole("time_us") + 1) / 1e6, UTC).isoformat()
            by_time = await opened(place, "--at", SAME_CITY, "--point", just_after, "--rw", "--quota", "1MiB")
            assert by_time.whole("seq") == before.whole("seq")
            assert by_time.whole("next_us") > by_time.whole("asked_us") > by_time.whole("time_us")
            at_owner = await opened(place, "--at", PRODUCTION, "--name", "now")
            assert await number_at(uri(at_owner), 7) == 2

            async with connected(uri(by_time)) as client:
                await client.write(0, bytes([9]) * MIB)
                with pytest.raises(DrsyncError, match="ENOSPC"):
                    await client.write(2 * MIB, filled(9))
            assert await number_at(uri(by_time), 7) == int.from_bytes(bytes([9]) * 8, "big")
            assert await number_at(await place.uri(DISK), 7) == 2
            assert await number_at(uri(at_remote), 7) == 1

            pins = (await place.cli("pins", GROUP)).well().out
            assert "opening" in pins
            listed = (await place.cli("open", "--list")).well().out
            assert all(name in listed for name in ("now", at_remote.text("name")))

            kept = await opened(place, "--at", SAME_CITY, "--point", "before", "--name", "kept")
            closed = writer.acknowledged
            (await place.cli("close", GROUP, at_remote.text("name"), "--at", REMOTE)).well()
            with pytest.raises((DrsyncError, OSError)):
                await NbdClient.connect(uri(at_remote))
            await place.kill(SAME_CITY)
            place.start(SAME_CITY)
            await place.until(
                "the lost opening is told",
                lambda s: [one.text("why") for one in group_of(s).docs("openings_ended")] == ["restarted"],
            )
            while not await events(place, "opening_restored"):
                await asyncio.sleep(0.05)
            assert await number_at(uri(kept), 7) == 1, "a read-only one is open again, at the same place"
            (told,) = await events(place, "opening_restarted")
            assert f"the agent of {SAME_CITY} was restarted and what was written to it is gone" in told
            assert "now is open at production" in " ".join((await place.cli("status")).well().out.split())
            short = await opened(place, "--at", REMOTE, "--for", "200ms", "--name", "short")
            await place.until("it closes by itself", lambda s: len(group_of(s).docs("openings_ended")) == 2)
            assert short.text("name") in (await events(place, "opening_expired"))[0]
            assert writer.acknowledged > closed, "the application went on"
            await place.require_ledger(writer)


async def test_what_was_given_up_in_a_forced_failover_is_browsed_and_then_discarded(home: Path) -> None:
    async with site(home, wired=True, seconds=110.0) as place:
        await place.protect()
        async with connected(await place.uri(DISK)) as client:
            await client.write(BLOCK, filled(1), fua=True)
            await checkpoint(place, "shared", REMOTE)
            place.switch(Wire.DROP, REMOTE, [PRODUCTION, SAME_CITY])
            await client.write(BLOCK, filled(2), fua=True)
            await client.write(2 * BLOCK, filled(3), fua=True)
        await place.kill(PRODUCTION, SAME_CITY)
        place.switch(Wire.PASS, REMOTE)
        (await place.cli("failover", GROUP, "--to", REMOTE, "--accept-loss", "--yes")).well()
        await place.until("the remote center serves", lambda s: is_served(s, REMOTE))
        async with connected(await place.uri(DISK)) as client:
            await client.write(BLOCK, filled(4), fua=True)
        place.start(PRODUCTION, SAME_CITY)
        await place.until(
            "both city centers follow",
            lambda s: (
                is_served(s, REMOTE)
                and all(
                    group_of(s).doc("centers").doc(name).number("rpo_actual_s", 99) < 2.0
                    for name in (PRODUCTION, SAME_CITY)
                )
            ),
            45.0,
        )

        listed = (await place.cli("fork", "list", GROUP, "--json")).well().doc.doc("centers")
        (fork,) = listed.doc(PRODUCTION).docs("forks")
        assert fork.whole("records") >= 2
        assert fork.text("why_not") == ""
        assert "admitted a loss" in fork.text("why")
        name = fork.text("name")
        words = ("fork", "open", GROUP, name, "--at", PRODUCTION, "--json")
        browsed = (await place.cli(*words)).well().doc
        assert [await number_at(uri(browsed), block) for block in (1, 2)] == [2, 3]
        current = await opened(place, "--at", PRODUCTION)
        assert [await number_at(uri(current), block) for block in (1, 2)] == [4, 0]

        shown = (await place.cli("journal", "check", fork.text("path"))).well()
        assert "Every batch is whole" in shown.out
        discard = ("fork", "discard", GROUP, name, "--at", PRODUCTION, "--reason", "merged by hand")
        assert (await place.cli(*discard)).code == 3
        assert f"open as {name}" in (await place.cli(*discard, "--yes")).err
        (await place.cli("close", GROUP, name)).well()
        (await place.cli(*discard, "--yes")).well()
        left = (await place.cli("fork", "list", GROUP, "--json")).well().doc.doc("centers")
        assert (left.doc(PRODUCTION).docs("forks"), len(left.doc(SAME_CITY).docs("forks"))) == ([], 1)
        assert not list(place.layout.state(PRODUCTION).rglob(name))
        (told,) = await events(place, "fork_discarding")
        assert "merged by hand" in told


@pytest.mark.skipif(bool(disks.why_not()), reason=disks.why_not() or "it can")
async def test_a_deleted_file_is_read_from_the_moment_before(home: Path) -> None:
    async with site(home, seconds=100.0) as place:
        await place.protect(disk_bytes=32 * MIB)
        device = disks.BlockDevice(home / "production", await place.uri(DISK))
        try:
            await asyncio.to_thread(device.attach)
            await asyncio.to_thread(device.make_file_system)
            (device.tree / "table").write_text("orders of the day")
            await asyncio.to_thread(disks.run, "sync", "-f", device.tree)
            await checkpoint(place, "before", REMOTE)
            (device.tree / "table").unlink()
            await asyncio.to_thread(disks.run, "sync", "-f", device.tree)

            opening = await opened(place, "--at", REMOTE, "--point", "before", "--rw", "--name", "restore")
            past = disks.BlockDevice(home / "past", uri(opening))
            try:
                await asyncio.to_thread(past.attach)
                await asyncio.to_thread(disks.run, "mount", "-t", "ext4", past.device, past.tree)
                assert (past.tree / "table").read_text() == "orders of the day"
                assert not (device.tree / "table").exists()
                (past.tree / "note").write_text("private")
                await asyncio.to_thread(disks.run, "umount", past.tree)
                await asyncio.to_thread(disks.run, "e2fsck", "-fn", past.device)
            finally:
                await asyncio.to_thread(past.detach)
            (await place.cli("close", GROUP, "restore")).well()
            assert not (device.tree / "note").exists()
        finally:
            await asyncio.to_thread(device.detach)
