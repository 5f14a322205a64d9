"""The remote center stays away while more is written than the journal keeps: blocks bring it level again."""

import hashlib
import random
from pathlib import Path

import pytest

from drsync.adapters.api_client.doc import Doc
from drsync.adapters.nbd.client import NbdClient
from drsync.lab.importing import connected
from drsync.lab.layout import DISK, GROUP, PRODUCTION, REMOTE
from drsync.lab.status import group_of
from tests.integration.site import MIB, is_level, site

pytestmark = [pytest.mark.integration, pytest.mark.timeout(170)]

DISK_BYTES = 192 * MIB
HELD_BYTES = 128 * MIB  # that both have before
CHANGED_BYTES = 8 * MIB  # the part that is written again and again
WRITTEN_BYTES = 320 * MIB  # while the remote center is away: more than the journal may keep
PIECE = MIB


async def write(client: NbdClient, offset: int, size: int, seed: int) -> None:
    dice = random.Random(seed)
    for at in range(offset, offset + size, PIECE):
        await client.write(at, dice.randbytes(PIECE))
    await client.flush()


async def hashed(uri: str) -> str:
    found = hashlib.sha256()
    async with connected(uri) as client:
        for at in range(0, DISK_BYTES, PIECE):
            found.update(await client.read(at, PIECE))
    return found.hexdigest()


def remote(status: Doc) -> Doc:
    return group_of(status).doc("centers").doc(REMOTE)


async def test_a_center_beyond_the_quota_comes_back_without_a_full_copy(home: Path) -> None:
    async with site(home, seconds=160.0) as place:
        await place.protect(disk_bytes=DISK_BYTES, quota="200MiB", window="1s")
        async with connected(await place.uri(DISK)) as client:
            await write(client, 0, HELD_BYTES, 1)
        await place.until("the remote center has it", lambda s: is_level(s, PRODUCTION), 60.0)
        await place.kill(REMOTE)
        async with connected(await place.uri(DISK)) as client:
            for number in range(WRITTEN_BYTES // CHANGED_BYTES):
                await write(client, HELD_BYTES - CHANGED_BYTES // 2, CHANGED_BYTES, 100 + number)
        await place.until(
            "what it lacks is marked", lambda s: remote(s).doc("marks").whole("bytes") > 0, 60.0
        )
        place.start(REMOTE)
        status = await place.until(
            "the remote center was brought level by blocks",
            lambda s: is_level(s, PRODUCTION) and remote(s).doc("resynced").whole("sessions") == 1,
            60.0,
        )
        wire = remote(status).doc("resynced").whole("wire_bytes")
        told = f"{wire} bytes on the wire for {CHANGED_BYTES} that differ of {HELD_BYTES}"
        # On a busy machine a second round may follow, of what is written meanwhile.
        assert CHANGED_BYTES // 2 <= wire < 5 * CHANGED_BYTES < HELD_BYTES, told
        assert remote(status).doc("marks").whole("bytes") == 0
        before = await hashed(await place.uri(DISK))
        (await place.cli("switchover", GROUP, "--to", REMOTE)).well()
        await place.until("the remote center serves", lambda s: group_of(s).text("owner") == REMOTE, 60.0)
        assert await hashed(await place.uri(DISK)) == before
