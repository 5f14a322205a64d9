"""What is left of a copy that lost its journal: a disk that was repaired in parts, or a careless hand."""

import shutil
from pathlib import Path

import pytest

from drsync.agent.copy_store import FileCopyStore
from drsync.engine.copy import GroupCopy, Self
from drsync.model.errors import FailedCopyError
from drsync.model.group import GroupSpec, VolumeSpec

BLOCK = 4096
GROUP = GroupSpec("1" * 32, "orders", (VolumeSpec("v" * 32, "disk", 3 * BLOCK << 8, 0),), (), "production")
AT = 2 * BLOCK << 8


def opened(directory: Path) -> GroupCopy:
    store = FileCopyStore(directory, "cluster", "remote", segment_bytes=1 << 20)
    return GroupCopy.open(Self("remote", "5" * 32, "boot"), GROUP, store, "1" * 32, 0.0)


def image_of(directory: Path) -> Path:
    (path,) = (directory / "volumes").iterdir()
    return path


def leave_images_alone(directory: Path) -> None:
    for path in directory.iterdir():
        if path.name == "journal":
            shutil.rmtree(path)
        elif path.name != "volumes":
            path.unlink()


def test_old_images_are_not_taken_for_a_new_copy(tmp_path: Path) -> None:
    copy = opened(tmp_path)
    copy.volumes.views[0].image.write(AT, [b"old content"])
    copy.close()
    leave_images_alone(tmp_path)
    for _ in range(2):
        with pytest.raises(FailedCopyError, match=f"content at byte {AT}"):
            opened(tmp_path)
    with image_of(tmp_path).open("rb") as image:
        image.seek(AT)
        assert image.read(11) == b"old content"
    shutil.rmtree(tmp_path / "volumes")
    opened(tmp_path).close()


def test_a_process_that_died_while_it_made_the_copy_may_go_on(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with image_of(tmp_path).open("r+b") as image:
        image.write(bytes(BLOCK))  # space that was taken and never used
    leave_images_alone(tmp_path)
    opened(tmp_path).close()
