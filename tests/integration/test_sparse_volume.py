"""A served volume that is mostly empty, seen by the tools people use: what it does not hold is not sent."""

import asyncio
import hashlib
import json
import os
from pathlib import Path

import pytest

from drsync.adapters.nbd.client import NbdClient
from drsync.lab.layout import DISK
from tests.integration.disks import run
from tests.integration.site import MIB, site

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]

STORY_S = 80.0
SIZE = 128 * MIB
HELD = 2 * MIB
PLACES = (0, 30 * MIB, SIZE - HELD)


async def test_a_sparse_volume_is_mapped_and_copied_as_such(home: Path) -> None:
    async with site(home, seconds=STORY_S) as place:
        await place.protect(disk_bytes=SIZE)
        uri = await place.uri(DISK)
        expected = hashlib.sha256()
        client = await NbdClient.connect(uri)
        await client.write(40 * MIB, bytes(b"x" * MIB))
        data = os.urandom(HELD)
        for offset in PLACES:
            await client.write(offset, data)
        await client.trim(40 * MIB, MIB)
        await client.flush()
        at = 0
        for offset in PLACES:
            expected.update(bytes(offset - at) + data)
            at = offset + HELD

        def look() -> None:
            told = json.loads(run("nbdinfo", "--map", "--json", uri))
            assert [(part["offset"], part["length"]) for part in told if part["type"] == 0] == [
                (offset, HELD) for offset in PLACES
            ]
            told = json.loads(run("qemu-img", "map", "-f", "raw", "--output=json", uri))
            assert sum(part["length"] for part in told if part["data"]) == len(PLACES) * HELD
            listed = json.loads(run("nbdinfo", "--list", "--json", uri))["exports"]
            assert {export["export-name"] for export in listed} == {"disk", "ledger"}
            assert all("of group" in export["description"] for export in listed)
            for copy, argv in {
                home / "copied": ("nbdcopy", uri),
                home / "converted": ("qemu-img", "convert", "-f", "raw", "-O", "raw", uri),
            }.items():
                run(*argv, copy)
                assert copy.stat().st_blocks * 512 <= 2 * len(PLACES) * HELD
                with copy.open("rb") as file:
                    assert hashlib.file_digest(file, "sha256").digest() == expected.digest()

        await asyncio.to_thread(look)
        await client.close()
