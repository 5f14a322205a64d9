"""Whoever asks for durability is told when it is there, or that the copy has failed, whatever way it goes."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typing_extensions import override

from drsync.adapters.segments.files import Ended, Wait
from drsync.agent.copy_store import FileCopyStore, OsFiles
from drsync.delta.batch import BatchBuilder
from drsync.engine.copy import GroupCopy, Self
from drsync.engine.syncer import Syncer
from drsync.model.copy import CopyState
from drsync.model.epoch import Epoch
from drsync.model.errors import DrsyncError, FailedCopyError
from drsync.model.group import GroupSpec, VolumeSpec

GROUP = GroupSpec("1" * 32, "orders", (VolumeSpec("v" * 32, "disk", 1 << 20, 0),), (), "production")


class Kernel(OsFiles):
    """Syncs end when the test says so, or when somebody waits."""

    is_sync_brief = False  # however quick this disk is

    def __init__(self) -> None:
        self.under_way: list[Ended] = []
        self.begun = 0

    @override
    def begin_fdatasync(self, fd: int, ended: Ended, /) -> Wait | None:
        self.under_way.append(ended)
        self.begun += 1
        return self.end

    def end(self, error: OSError | None = None) -> None:
        self.under_way.pop()(error)


class Center:
    """A copy and somebody who asks for durability."""

    def __init__(self, directory: Path, files: OsFiles) -> None:
        self.done: list[int] = []
        self.troubles: list[DrsyncError] = []
        self.copy = opened(directory, files)
        self.append()
        self.copy.journal.sync()
        self.syncer = Syncer(self.copy, self.done.append, self.troubles.append)

    def append(self) -> int:
        journal, builder = self.copy.journal, BatchBuilder()
        builder.reset(Epoch(1), journal.tip.seq + 1, journal.tip.chain)
        builder.add_write(0, 0, memoryview(b"a"), 0)
        batch = builder.finish(0)
        journal.append(batch.parts, batch.first_seq, batch.end)
        return journal.tip.seq


def opened(directory: Path, files: OsFiles) -> GroupCopy:
    store = FileCopyStore(directory, "cluster", "remote", files, segment_bytes=1 << 20)
    return GroupCopy.open(Self("remote", "5" * 32, "boot"), GROUP, store, "1" * 32, 0.0)


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
async def center(tmp_path: Path, kernel: Kernel) -> AsyncIterator[Center]:
    made = Center(tmp_path, kernel)
    running = asyncio.create_task(made.syncer.run())
    await asyncio.sleep(0)
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    made.copy.journal.close()
    made.copy.volumes.close()


async def test_what_is_asked_for_meanwhile_is_made_durable_next(center: Center, kernel: Kernel) -> None:
    first = center.append()
    assert center.syncer.want() is None
    second = center.append()
    for _ in range(3):
        assert center.syncer.want() is None
    assert (kernel.begun, center.done) == (1, [])
    kernel.end()
    assert (kernel.begun, center.done) == (2, [first])
    kernel.end()
    assert (kernel.begun, center.done) == (2, [first, second])


async def test_what_is_durable_already_is_asked_of_nobody(center: Center, kernel: Kernel) -> None:
    last = center.append()
    center.syncer.want()
    kernel.end()
    assert center.syncer.want() == last
    for _ in range(3):
        await asyncio.sleep(0)
    assert (kernel.begun, center.done) == (1, [last])


async def test_an_error_fails_the_copy_for_good_and_a_restart_knows_it(
    center: Center, kernel: Kernel, tmp_path: Path
) -> None:
    center.append()
    center.syncer.want()
    kernel.end(OSError(errno.EIO, os.strerror(errno.EIO)))
    assert isinstance(center.troubles[0], FailedCopyError)
    assert (center.done, center.copy.state, center.copy.is_failure_lasting) == ([], CopyState.FAILED, True)
    center.syncer.want()
    assert kernel.begun == 1, "what is lost is not asked about again"
    assert len(center.troubles) == 2
    await center.copy.remember_failure()
    center.copy.journal.close()
    again = opened(tmp_path, OsFiles())
    assert (again.state, "Input/output error" in again.failure) == (CopyState.FAILED, True)
    again.journal.close()
    again.volumes.close()


async def test_a_cut_meanwhile_waits_and_takes_nothing_back(center: Center, kernel: Kernel) -> None:
    center.append()
    cut_to = center.copy.journal.tip.seq - 1
    center.syncer.want()
    await center.copy.cut(cut_to, "")
    assert (kernel.under_way, center.done) == ([], [cut_to + 1])
    assert center.copy.journal.durable_seq == cut_to


async def test_a_stop_meanwhile_waits(center: Center, kernel: Kernel) -> None:
    last = center.append()
    center.syncer.want()
    center.copy.close()
    assert (kernel.under_way, center.done) == ([], [last])


async def test_a_thread_does_what_the_kernel_cannot(center: Center, kernel: Kernel) -> None:
    last = center.append()
    held = asyncio.create_task(center.copy.sync())
    await asyncio.sleep(0)  # it has the turn
    assert center.syncer.want() is None
    async with asyncio.timeout(10):
        await held
        while not center.done:
            await asyncio.sleep(0)
    assert (kernel.begun, center.done) == (0, [last])


async def test_by_the_real_system(tmp_path: Path) -> None:
    made = Center(tmp_path, OsFiles())
    running = asyncio.create_task(made.syncer.run())
    async with asyncio.timeout(20):
        for _ in range(100):
            last = made.append()
            if made.syncer.want() is None:
                while last not in made.done:
                    await asyncio.sleep(0)
            assert made.copy.journal.durable_seq == last
    running.cancel()
    made.copy.close()
