"""A disk is full and grows: every center agrees, or a person goes on without one, and nothing is lost."""

import asyncio
import hashlib
import json
import os
from pathlib import Path

import pytest

from drsync.adapters.api_client.doc import Doc
from drsync.adapters.nbd.client import NbdClient
from drsync.lab.importing import connected
from drsync.lab.layout import DISK, GROUP, PRODUCTION, REMOTE, SAME_CITY
from tests.integration import disks
from tests.integration.relays import relay
from tests.integration.site import MIB, Site, is_level, site
from tests.integration.test_owner_dies import digest_of

pytestmark = [pytest.mark.integration, pytest.mark.timeout(150)]

STORY_S = 130.0
BEFORE, AFTER = 16 * MIB, 40 * MIB
BLOCK = 4096
BIG = 12 * MIB  # more than the former file system has left
VOLUME = f"{GROUP}/{DISK}"


async def grow(place: Site, *more: str) -> Doc:
    words = ("volume", "resize", VOLUME, "--size", f"{AFTER}B", "--json", *more)
    return (await place.cli(*words)).well().doc


async def size_of(uri: str) -> int:
    async with connected(uri) as client:
        return client.size


async def test_a_center_that_is_away_has_not_agreed_and_grows_when_it_is_back(home: Path) -> None:
    async with site(home, seconds=STORY_S) as place:
        await place.protect(disk_bytes=BEFORE)
        old = await NbdClient.connect(await place.uri(DISK))
        await place.kill(REMOTE)
        refused = await place.cli("volume", "resize", VOLUME, "--size", f"{AFTER}B")
        assert refused.code == 3, refused.err
        assert f"--without {REMOTE}" in refused.err
        assert await size_of(await place.uri(DISK)) == BEFORE

        found = await grow(place, "--without", REMOTE, "--reason", "the site is under water")
        assert found.texts("waiting") == [REMOTE]
        uri = await place.uri(DISK)
        assert await size_of(uri) == AFTER
        (export,) = json.loads(await asyncio.to_thread(disks.run, "nbdinfo", "--json", uri))["exports"]
        assert export["export-size"] == AFTER
        async with connected(uri) as client:
            assert await client.read(AFTER - BLOCK, BLOCK) == bytes(BLOCK)
            await client.write(AFTER - BLOCK, b"z" * BLOCK, fua=True)
        await old.write(0, b"a" * BLOCK, fua=True)  # who was there goes on
        assert old.size == BEFORE
        await old.close()

        place.start(REMOTE)
        await place.until("remote back", lambda s: is_level(s, PRODUCTION))
        assert (await grow(place)).texts("waiting") == [], "asked again it only looks"
        await place.require_equal_content(REMOTE)
        folder = next(place.layout.state(REMOTE).glob("groups/*/journal"))
        shown = await place.cli("journal", "show", "--records", "--kind", "resize", "--json", str(folder))
        assert f"{AFTER} bytes from here on" in shown.well().out


@pytest.mark.skipif(disks.why_not() != "", reason=f"no block device here: {disks.why_not()}")
async def test_a_file_system_grows_on_the_grown_volume_and_survives_a_failover(home: Path) -> None:
    """ext4 on a loop device, nbdfuse, the relay: in use while the volume grows, then connected again."""
    async with site(home, seconds=STORY_S) as place:
        await place.protect(disk_bytes=BEFORE)
        async with relay(place, DISK) as through:
            safe: dict[str, str] = {}
            with disks.block_device(home / "disk", through.uri) as device:
                await asyncio.to_thread(device.make_file_system)
                await asyncio.to_thread(put, device.tree, "before", 4 * MIB, safe)
                with pytest.raises(OSError, match="No space left"):
                    await asyncio.to_thread(put, device.tree, "full", BIG, {})
                (device.tree / "full").unlink()
                found = await grow(place)
                assert (found.whole("size"), found.texts("waiting")) == (AFTER, [])
                await asyncio.to_thread(put, device.tree, "meanwhile", 2 * MIB, safe)
                assert (await through.until("grown")).whole("size") == AFTER
                await asyncio.to_thread(disks.run, "umount", device.tree)
            with disks.block_device(home / "again", through.uri) as device:
                await asyncio.to_thread(disks.run, "e2fsck", "-fp", device.device)
                await asyncio.to_thread(disks.run, "resize2fs", device.device)
                await asyncio.to_thread(disks.run, "mount", "-t", "ext4", device.device, device.tree)
                await asyncio.to_thread(put, device.tree, "big", BIG, safe)
                await place.kill(PRODUCTION)
                (await place.cli("failover", GROUP, "--to", SAME_CITY)).well()
                await asyncio.to_thread(put, device.tree, "later", 2 * MIB, safe)
                wrong = [name for name, digest in safe.items() if digest_of(device.tree / name) != digest]
                assert wrong == []
                await asyncio.to_thread(disks.run, "umount", device.tree)
                await asyncio.to_thread(disks.run, "e2fsck", "-fn", device.device)
        await place.require_equal_content(REMOTE)


def put(tree: Path, name: str, size: int, safe: dict[str, str]) -> None:
    """A file that is durable on return. Raises OSError."""
    content = hashlib.shake_128(name.encode()).digest(size)
    with (tree / name).open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    safe[name] = hashlib.sha256(content).hexdigest()
