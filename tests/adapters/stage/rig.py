"""Stages on disks that fail, stop or forget."""

from pathlib import Path

from drsync.adapters.segments.journal import SEGMENT_BYTES_MIN
from drsync.agent.copy_store import OS_FILES, CopyFiles, FileCopyStore
from drsync.core.extents import GRANULE
from drsync.delta.batch import BatchBuilder, EncodedBatch
from drsync.model.epoch import Epoch
from drsync.model.group import GroupSpec, VolumeSpec
from drsync.model.position import ORIGIN, Position
from drsync.ports.stage import StageInfo
from drsync.sim.disk import Disk
from drsync.sim.disk_files import DiskFiles
from tests.sim.copies import HOME

SHORT = 4096  # bytes of the last granule of the first volume
GRANULES = 8
VOLUMES = (
    VolumeSpec("v1", "orders", (GRANULES - 1) * GRANULE + SHORT, 0),
    VolumeSpec("v2", "logs", 2 * GRANULE, 1),
)
GROUP = GroupSpec("g1", "orders", VOLUMES, (), "production")
P0 = Position(Epoch(3), 41, b"p" * 16)
SESSION = StageInfo("5e" * 16, 7, Epoch(3), 0, P0, ORIGIN)


def store_on(disk: Disk) -> FileCopyStore:
    """For a new process."""
    store = FileCopyStore(HOME, "cluster", "remote", DiskFiles(disk), SEGMENT_BYTES_MIN)
    store.superblock()  # makes the directory
    return store


def store_in(directory: Path, files: CopyFiles = OS_FILES) -> FileCopyStore:
    """On real files."""
    return FileCopyStore(directory, "cluster", "remote", files, SEGMENT_BYTES_MIN)


def granule(number: int, size: int = GRANULE) -> bytes:
    """Content that tells where it belongs."""
    return bytes([number + 1]) * size


def batch(tip: Position, epoch: int = 3, payload: bytes = b"r" * 4096) -> EncodedBatch:
    """One record that follows `tip`."""
    builder = BatchBuilder()
    builder.reset(Epoch(epoch), tip.seq + 1, tip.chain)
    builder.add_write(0, 0, memoryview(payload), 0)
    return builder.finish(0)
