"""Trees on real file systems: those of this machine, and freshly made ones in files where we are root."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from drsync.adapters.tree.tree import LinuxTree

FILESET = "0123456789abcdef0123456789abcdef"
IMAGE_BYTES = 320 << 20  # because xfs takes nothing smaller than 300 MiB; the image is sparse


def make_file_system(kind: str, image: Path, size: int = IMAGE_BYTES) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    tool = shutil.which(f"mkfs.{kind}", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if tool is None:
        pytest.skip(f"mkfs.{kind} is not installed")
    with image.open("wb") as file:
        file.truncate(size)
    force = {"ext4": ["-F", "-q", "-I", "256"], "xfs": ["-q"], "btrfs": ["-q"]}[kind]
    done = subprocess.run([tool, *force, image], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def mount(*arguments: str | Path) -> None:
    """Mount, or skip where that is not ours to do."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    done = subprocess.run(["mount", *arguments], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.decode(errors='replace').strip()}")


def unmount(where: Path, *options: str) -> None:
    subprocess.run(["umount", *options, where], check=True, capture_output=True)


@pytest.fixture(params=["here", "tmpfs", "ext4", "xfs", "btrfs"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A directory on a file system of each kind."""
    kind = str(request.param)
    if kind == "here":
        yield tmp_path
        return
    where = tmp_path / "mounted"
    where.mkdir()
    if kind == "tmpfs":
        mount("-t", "tmpfs", "none", where)
    else:
        image = tmp_path / "image"
        make_file_system(kind, image)
        mount("-o", "loop", image, where)
    yield where
    unmount(where, "-l")


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[LinuxTree]:
    """An empty tree."""
    root = tmp_path / "tree"
    root.mkdir()
    made = LinuxTree(str(root), FILESET)
    yield made
    made.close()
