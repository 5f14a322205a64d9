"""What the disks alone must tell (INV-11, INV-15) can fail: a disk that was well is doctored."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from drsync.core.dirty import DirtySet
from drsync.sim.agent import STATE_DIR
from drsync.sim.character import GROUP_ID, VOLUME
from drsync.sim.client import SLOT, pattern, places
from drsync.sim.disk_files import DiskFiles
from drsync.sim.ledger import ViolationError
from drsync.sim.story import USUAL, Story

QUOTA = 192 << 10
HOME = STATE_DIR / "groups" / GROUP_ID


@pytest.fixture(scope="module")
def story() -> Iterator[Story]:
    """A group whose remote member is away beyond the quota: the journals hold no longer what it lacks."""
    told = Story("Away", "Remote is away.", replace(USUAL, journal_quota_bytes=QUOTA, window_s=0.2))
    told.kill("remote")
    told.world.application.rate = 150
    told.wait(4)
    told.world.application.rate = 10
    told.until("the images hold something", lambda: applied(told) > 0)
    yield told
    told.world.end()


def applied(story: Story) -> int:
    return story.world.agents["production"].members()[0].copy.volumes.applied


def test_disks_that_are_well_say_so(story: Story) -> None:
    story.watch.disks.look_at_pairs()
    found = story.watch.disks.look("production")
    assert found is not None
    assert found.trimmed > 0
    assert found.marks["remote"]


def test_inv_15_a_byte_of_an_image_that_nobody_wrote(story: Story) -> None:
    disk = story.disk("production")
    before, path = disk.snapshot(), HOME / "volumes" / f"{VOLUME.id}.img"
    scribble(DiskFiles(disk), path, unwritten())
    disk.file(path).sync()
    with pytest.raises(ViolationError, match="INV-15"):
        story.watch.disks.look("production")
    disk.root = before


def unwritten() -> int:
    used = set(places(16))
    return next(slot for slot in range(VOLUME.size // SLOT) if slot not in used)


def scribble(files: DiskFiles, path: Path, slot: int) -> None:
    fd = files.open(path, 2)  # O_RDWR
    files.pwritev(fd, [pattern(4711)], slot * SLOT)
    files.close(fd)


def test_inv_11_marks_that_went_before_the_member_had_what_they_stand_for(story: Story) -> None:
    keeper = story.world.agents["production"].members()[0].keeper
    disks = story.watch.disks
    one, two = disks.look("production"), disks.look("remote")
    assert one is not None
    assert two is not None
    assert not keeper.of("remote").is_clean
    cleared = replace(one, marks={"remote": ()}, since={"remote": 0}, through={"remote": DirtySet().through})
    with pytest.raises(ViolationError, match="INV-11"):
        disks._look_at_pair("production", cleared, "remote", two)
    fewer = replace(one, marks={"remote": ()}, later=frozenset())
    with pytest.raises(ViolationError, match="INV-11: production holds"):
        disks._look_at_pair("production", fewer, "remote", two)


def test_inv_11_a_cursor_above_what_the_member_has(story: Story) -> None:
    disks = story.watch.disks
    one, two = disks.look("production"), disks.look("same_city")
    assert one is not None
    assert two is not None
    incarnation, _ = one.durable.cursors["same_city"]
    believed = replace(one.durable, cursors={"same_city": (incarnation, two.tip + 1)})
    with pytest.raises(ViolationError, match="INV-11: production stored"):
        disks._look_at_pair("production", replace(one, durable=believed), "same_city", two)
