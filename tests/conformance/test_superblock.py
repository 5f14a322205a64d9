"""What any superblock promises."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from drsync.adapters.memory.journal import MemorySuperblock
from drsync.adapters.segments.superblock import SuperblockFiles
from drsync.ports.journal import Superblock
from drsync.sim.disk import Disk
from drsync.sim.disk_files import DiskFiles

Reopen: TypeAlias = Callable[[], Superblock]


@pytest.fixture(params=["memory", "files", "simulated disk"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Reopen:
    """Opens the superblock as the next process would."""
    memory = MemorySuperblock()
    disk = Disk()

    def reopen() -> Superblock:
        if request.param == "simulated disk":
            return SuperblockFiles(Path("/"), DiskFiles(disk))
        return memory if request.param == "memory" else SuperblockFiles(tmp_path)

    return reopen


def test_a_superblock_that_was_never_written_is_fresh(reopen: Reopen) -> None:
    assert reopen().load() is None
    assert reopen().load() is None


def test_the_newest_value_is_found_by_the_next_process(reopen: Reopen) -> None:
    superblock = reopen()
    for value in (b"", b"one", b"two", bytes(120 << 10), b"four"):
        superblock.store(value)
        assert superblock.load() == value
        assert reopen().load() == value


def test_storing_goes_on_without_loading_first(reopen: Reopen) -> None:
    reopen().store(b"one")
    reopen().store(b"two")
    assert reopen().load() == b"two"
