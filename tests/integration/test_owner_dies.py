"""The owner's process is killed under a file system. What was fsynced is found at the other center."""

import asyncio
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from drsync.lab.importing import connected, export_volume
from drsync.lab.layout import DISK, GROUP, LEDGER, PRODUCTION, REMOTE, SAME_CITY
from drsync.lab.status import group_of
from tests.integration import disks
from tests.integration.site import MIB, Site, is_level, is_served, site

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

DISK_BYTES = 32 * MIB
LEDGER_BYTES = 4 * MIB
FILE_BYTES = 12_000
KILL_AFTER_FILES = 40
STORY_S = 100.0


class Application:
    """Makes files in a tree; a file counts from the moment its fsync and its folder's returned."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self.safe: dict[str, str] = {}
        self.trouble = ""

    def run(self, seconds: float) -> None:
        """Until writing fails, as it does when the disk is gone."""
        deadline = time.monotonic() + seconds
        try:
            while time.monotonic() < deadline:
                self._make(len(self.safe))
        except OSError as error:
            self.trouble = str(error)

    def _make(self, number: int) -> None:
        name = f"d{number % 7}/{number}"
        content = hashlib.shake_128(name.encode()).digest(FILE_BYTES)
        path = self.tree / name
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        for folder in (path.parent, self.tree):
            with _folder(folder) as handle:
                os.fsync(handle)
        self.safe[name] = hashlib.sha256(content).hexdigest()


@contextmanager
def _folder(path: Path) -> Iterator[int]:
    handle = os.open(path, os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)


@pytest.mark.skipif(disks.why_not() != "", reason=f"no block device here: {disks.why_not()}")
async def test_every_fsynced_file_survives_the_owner(home: Path) -> None:
    async with site(home, seconds=STORY_S) as place:
        await place.protect(DISK_BYTES, LEDGER_BYTES)
        with disks.block_device(home / "disk", await place.uri(DISK)) as device:
            await asyncio.to_thread(device.make_file_system)
            application = Application(device.tree)
            working = asyncio.create_task(asyncio.to_thread(application.run, 30.0))
            async with asyncio.timeout(20):
                while len(application.safe) < KILL_AFTER_FILES:
                    await asyncio.sleep(0.01)
            await place.kill(PRODUCTION)
            await working
            assert application.trouble, "the file system noticed that its disk is gone"
            await asyncio.to_thread(device.detach)

        (await place.cli("failover", GROUP, "--to", SAME_CITY, "--reason", "the host died")).well()
        await place.until("served by the same-city center", lambda status: is_served(status, SAME_CITY))
        image = home / "found.img"
        await export_volume(await place.uri(DISK), image, lambda _bytes: None)
        await asyncio.to_thread(require_files, home, image, application.safe)

        place.start(PRODUCTION)
        status = await place.until("production back as a replica", lambda s: is_level(s, SAME_CITY))
        sent = group_of(status).doc("centers").doc(PRODUCTION).whole("sent_bytes", -1)
        assert 0 <= sent < (DISK_BYTES + LEDGER_BYTES) // 4, f"{sent} bytes were sent to {PRODUCTION}"
        await place.require_equal_content(PRODUCTION, REMOTE)


def require_files(home: Path, image: Path, safe: dict[str, str]) -> None:
    """The image is a file system that recovers by its own journal alone, and holds every one of these files.

    On a copy the kernel's mount replays the journal; ``e2fsck -fn`` of it then finds nothing to repair.
    On another copy e2fsck replays it and does nothing else (exit code 0, or 1 for the replay); again
    ``e2fsck -fn`` finds nothing to repair.
    """
    copy, other = home / "mounted.img", home / "checked.img"
    for path in (copy, other):
        shutil.copyfile(image, path)
    with disks.mounted(copy, home / "found") as tree:
        wrong = [name for name, digest in safe.items() if digest_of(tree / name) != digest]
    assert not wrong, f"of {len(safe)} fsynced files these are missing or differ: {wrong[:10]}"
    disks.run("e2fsck", "-fn", copy)
    disks.run("e2fsck", "-E", "journal_only", "-y", other, codes=(0, 1))
    disks.run("e2fsck", "-fn", other)


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "missing"


async def test_without_a_block_device_the_file_system_is_written_through_nbd(home: Path) -> None:
    """The same promise for machines without FUSE or loops: a whole image, flushed, then the owner dies."""
    files = home / "files"
    contents = make_files(files, 60)
    image = home / "source.img"
    with image.open("wb") as file:
        file.truncate(DISK_BYTES)
    disks.run("mkfs.ext4", "-q", "-F", "-d", files, image)
    async with site(home, seconds=STORY_S) as place:
        await place.protect(DISK_BYTES, LEDGER_BYTES)
        await fill(place, image)
        await place.kill(PRODUCTION)
        (await place.cli("failover", GROUP, "--to", SAME_CITY)).well()
        await place.until("served by the same-city center", lambda status: is_served(status, SAME_CITY))
        found = home / "found.img"
        await export_volume(await place.uri(DISK), found, lambda _bytes: None)
        disks.run("e2fsck", "-fn", found)
        for name, content in contents.items():
            dumped = home / "dumped"
            disks.run("debugfs", "-R", f"dump /{name} {dumped}", found)
            assert dumped.read_bytes() == content, name
        assert found.read_bytes() == image.read_bytes()
        assert (await place.group()).text("owner") == SAME_CITY
        assert await place.uri(LEDGER)


def make_files(folder: Path, count: int) -> dict[str, bytes]:
    """Files with known contents."""
    folder.mkdir()
    names = [f"f{number}" for number in range(count)]
    contents = {name: hashlib.shake_128(name.encode()).digest(FILE_BYTES) for name in names}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return contents


async def fill(place: Site, image: Path) -> None:
    """Write an image into the disk, durably."""
    content = await asyncio.to_thread(image.read_bytes)
    async with connected(await place.uri(DISK)) as client:
        for at in range(0, len(content), MIB):
            piece = content[at : at + MIB]
            if piece.strip(b"\0"):
                await client.write(at, piece)
        await client.flush()
