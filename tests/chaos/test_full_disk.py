"""A member's real file system fills up under load: the owner goes on, nothing is lost, nobody helps it."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest

from drsync.adapters.api_client.failures import REFUSED
from drsync.adapters.nbd.client import NbdClient
from drsync.lab.layout import GROUP, LEDGER, PRODUCTION, REMOTE, SAME_CITY
from drsync.lab.status import group_of
from drsync.model.errors import TransientError
from tests.chaos.stage import Stage, stage
from tests.integration import disks
from tests.integration.site import Site, is_level, is_served

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(120),
    pytest.mark.skipif(bool(disks.why_not()), reason=disks.why_not()),
]

MIB = 1 << 20
FILE_SYSTEM_BYTES = 220 * MIB  # room for three segments and what ext4 keeps for itself
BALLAST_BYTES = 110 * MIB  # leaves room for one
NOTICED_S = 20.0


@contextmanager
def small_file_system(image: Path, tree: Path) -> Iterator[Path]:
    """An ext4 of its own with a big file in it; the file's path."""
    with image.open("wb") as file:
        file.truncate(FILE_SYSTEM_BYTES)
    disks.run("mkfs.ext4", "-q", "-F", "-m", "0", image)
    with disks.mounted(image, tree):
        ballast = tree / "ballast"
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, BALLAST_BYTES)
        yield ballast


async def write_until_said(on: Stage, word: str) -> None:
    """Rewrite the other volume in large pieces until the status says `word`."""
    client = await NbdClient.connect(await on.place.uri(LEDGER), connect_seconds=5.0, request_seconds=20.0)
    deadline = time.monotonic() + NOTICED_S
    while not any(word in line for line in on.crew.samples[-1].lines):
        assert time.monotonic() < deadline, f"the status never said {word!r}: {on.crew.samples[-1]}"
        with suppress(TransientError):  # an owner closes its volumes
            for at in range(0, client.size, MIB):
                await client.write(at, os.urandom(MIB))
        await asyncio.sleep(0.01)
    client.abort()


@asynccontextmanager
async def cramped(home: Path, center: str) -> AsyncIterator[tuple[Stage, Path]]:
    """A stage on which `center` has little space, and the file that takes the rest of it."""
    with ExitStack() as made:
        ballast: list[Path] = []

        def mount(place: Site) -> None:
            ballast.append(
                made.enter_context(small_file_system(home / "disk.img", place.layout.state(center)))
            )

        async with stage(home, prepare=mount) as on:
            process = on.place.cluster.alive()[center]
            yield on, ballast[0]
            assert on.place.cluster.alive()[center].pid == process.pid, "it was restarted"


async def test_a_full_file_system_at_the_mate_stops_the_mate_alone(home: Path) -> None:
    async with cramped(home, SAME_CITY) as (on, ballast):
        await write_until_said(on, "No space left")
        assert any(SAME_CITY in line for line in on.crew.samples[-1].lines)
        assert not on.crew.samples[-1].is_ready
        await on.crew.until_writing(50, NOTICED_S)
        group = await on.place.group()
        assert group.texts("in_sync") == [PRODUCTION], "its charter names who has every write"
        assert group.doc("centers").doc(SAME_CITY).text("state") == "replica"
        refused = await on.place.cli("failover", GROUP, "--to", SAME_CITY)
        assert refused.code == REFUSED, refused.out
        assert "No space left" in refused.out + refused.err

        ballast.unlink()
        await on.place.until(
            "the mate in sync again", lambda s: SAME_CITY in group_of(s).texts("in_sync"), NOTICED_S
        )
        await on.judge(PRODUCTION, is_drilled=True)


async def test_a_full_file_system_at_the_remote_center_holds_nobody_up(home: Path) -> None:
    async with cramped(home, REMOTE) as (on, ballast):
        await write_until_said(on, "No space left")
        assert any(REMOTE in line for line in on.crew.samples[-1].lines)
        await on.crew.until_writing(50, NOTICED_S)
        group = await on.place.group()
        assert set(group.texts("in_sync")) == {PRODUCTION, SAME_CITY}, "nobody waits for the remote center"
        assert group.doc("centers").doc(REMOTE).text("state") == "replica"

        ballast.unlink()
        await on.place.until("the remote center has caught up", lambda s: is_level(s, PRODUCTION), NOTICED_S)
        await on.judge(PRODUCTION, is_drilled=True)


async def test_an_owner_on_a_full_file_system_stops_and_opens_again_by_itself(home: Path) -> None:
    async with cramped(home, PRODUCTION) as (on, ballast):
        await write_until_said(on, "No space left")
        await on.until_said(["the owner production does not serve: no space"], time.monotonic(), NOTICED_S)
        await on.place.until("its volumes closed", lambda s: not is_served(s, PRODUCTION), NOTICED_S)
        ballast.unlink()
        await on.place.until("the owner open again", lambda s: is_served(s, PRODUCTION), NOTICED_S)
        found = await on.judge(PRODUCTION)
        assert set(found.owners.values()) == {PRODUCTION}
        assert len(found.owners) > 1, "an epoch that ended is never resumed"
