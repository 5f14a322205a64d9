"""Each center checks its own recovery points: one that somebody ruined is found, and told in time."""

import asyncio
import os
import re
from pathlib import Path

import pytest

from drsync.adapters.api_client.doc import Doc
from drsync.lab.importing import connected
from drsync.lab.layout import DISK, GROUP, PRODUCTION, REMOTE, SAME_CITY
from drsync.lab.status import group_of
from tests.integration import disks
from tests.integration.site import MIB, POLL_S, Site, site
from tests.integration.test_openings import checkpoint, events

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(120),
    pytest.mark.skipif(bool(disks.why_not()), reason=disks.why_not() or "it can"),
]

POLICY = {"check": "filesystem", "every": "2s", "share": "100 %", "rate": "256 MiB"}


async def proof_of(place: Site, center: str, seq: int) -> Doc:
    """What that center found of a point, as soon as it has looked."""
    while True:
        found = (await place.get(f"/v1/groups/{GROUP}/points")).doc("centers").doc(center)
        for point in found.docs("points"):
            if point.whole("seq") == seq and point.has("proof"):
                return point.doc("proof")
        await asyncio.sleep(POLL_S)


async def checked_now(place: Site, center: str) -> list[Path]:
    """What a running check has made there, as soon as there is one."""
    while not (found := list(place.layout.run(center).glob("hooks/*/fuse"))):
        await asyncio.sleep(POLL_S / 10)
    return found


def told_of(status: Doc) -> Doc:
    """What the remote center says about its self-drills."""
    return group_of(status).doc("centers").doc(REMOTE).doc("self_drill")


def record_in(text: str, after: str) -> int:
    """The record that some words name."""
    found = re.search(after + r": record ([0-9,]+)", text)
    assert found is not None, text
    return int(found[1].replace(",", ""))


async def test_a_point_of_a_ruined_file_system_is_found_and_told(home: Path) -> None:
    async with site(home, seconds=100.0) as place:
        await place.protect(disk_bytes=16 * MIB, self_drill=POLICY)
        with disks.block_device(home / "production", await place.uri(DISK)) as device:
            await asyncio.to_thread(device.make_file_system)
            (device.tree / "table").write_text("orders of the day")
            await asyncio.to_thread(disks.run, "sync", "-f", device.tree)
            good = await checkpoint(place, "good", REMOTE, SAME_CITY)
        for center in (REMOTE, SAME_CITY):
            proof = await proof_of(place, center, good.whole("seq"))
            assert proof.text("outcome") == "proved", proof
            assert "ext4 of disk is clean; of ledger" in proof.text("text")

        async with connected(await place.uri(DISK)) as client:
            await client.write(MIB // 2, bytes([0xAA]) * MIB, fua=True)  # bitmaps and inode tables
        bad = await checkpoint(place, "bad", REMOTE, SAME_CITY)
        proof = await proof_of(place, REMOTE, bad.whole("seq"))
        assert proof.text("outcome") == "failed", proof
        assert "ext4 of disk is not clean" in proof.text("text")
        while not await events(place, "points_failing"):
            await asyncio.sleep(POLL_S)
        await place.until("why tells it", lambda s: "the filesystem check" in str(group_of(s).raw("waiting")))

        opened = (await place.cli("open", GROUP, "--at", REMOTE, "--point", "bad")).well()
        assert "failed by self-drill" in opened.out
        assert good.whole("seq") <= record_in(opened.out, "Proved near it") < bad.whole("seq")

        left = await checked_now(place, REMOTE)
        await place.kill(REMOTE)
        place.start(REMOTE)
        await place.until(
            "the check that was killed is swept away", lambda _: not any(map(os.path.exists, left))
        )
        await place.until("the agent tells what it knew before", lambda s: told_of(s).has("proved"))
        await checked_now(place, SAME_CITY)
        await place.stop(SAME_CITY)
        assert not list(place.layout.run(SAME_CITY).glob("hooks/*")), "a stop in the middle leaves nothing"
        await place.kill(PRODUCTION)
        told = await place.cli("failover", GROUP, "--to", REMOTE, "--dry-run", "--accept-loss")
        words = " ".join((told.out + told.err).split())
        assert f"at {REMOTE} fail" in words
        assert good.whole("seq") <= record_in(words, "Newest proved point") < bad.whole("seq")
