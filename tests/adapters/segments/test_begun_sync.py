"""Syncs that the kernel makes beside the loop: one at a time, failing as ever, never waited for in vain."""

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from typing_extensions import override

from drsync.adapters.segments.files import Ended, OsFiles, Wait
from drsync.agent.copy_store import OsFiles as AgentFiles
from drsync.model.errors import DrsyncError, FailedCopyError

if TYPE_CHECKING:
    from drsync.adapters.segments.journal import SegmentJournal
    from tests.adapters.segments.conftest import Add, Open


class Kernel(OsFiles):
    """Syncs that have begun end when the test says so, or when somebody waits."""

    def __init__(self) -> None:
        self.under_way: list[tuple[int, Ended]] = []
        self.error: OSError | None = None
        self.calls: list[str] = []

    @override
    def fdatasync(self, fd: int, /) -> None:
        assert not self.under_way, "the kernel tells an error to one of two"
        self.calls.append("fdatasync")
        super().fdatasync(fd)

    @override
    def begin_fdatasync(self, fd: int, ended: Ended, /) -> Wait | None:
        assert not self.under_way, "the kernel tells an error to one of two"
        self.calls.append("begin_fdatasync")
        self.under_way.append((fd, ended))
        return self.end

    def end(self) -> None:
        fd, ended = self.under_way.pop()
        os.fdatasync(fd)
        ended(self.error)


def never(error: DrsyncError | None) -> None:
    pytest.fail(f"told {error}")


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
def journal(reopen: "Open", add: "Add", kernel: Kernel) -> "SegmentJournal":
    """With nothing but data to be made durable."""
    journal = reopen(files=kernel)
    add(journal, b"a")
    journal.sync()
    add(journal, b"b")
    return journal


def test_what_is_appended_meanwhile_is_not_durable_by_it(
    journal: "SegmentJournal", kernel: Kernel, add: "Add"
) -> None:
    told: list[DrsyncError | None] = []
    before, asked = journal.durable_seq, journal.tip.seq
    assert journal.begin_sync(told.append)
    add(journal, b"c")
    assert (journal.durable_seq, told) == (before, [])
    kernel.end()
    assert (journal.durable_seq, told) == (asked, [None])
    assert journal.begin_sync(told.append)
    kernel.end()
    assert journal.durable_seq == journal.tip.seq == asked + 1


def test_an_error_fails_the_journal_and_is_never_asked_about_again(
    journal: "SegmentJournal", kernel: Kernel
) -> None:
    told: list[DrsyncError | None] = []
    before = journal.durable_seq
    kernel.error = OSError(errno.EIO, os.strerror(errno.EIO))
    assert journal.begin_sync(told.append)
    kernel.end()
    assert isinstance(told[0], FailedCopyError)
    assert "Input/output error" in str(told[0])
    calls = len(kernel.calls)
    assert not journal.begin_sync(told.append)
    for sync in (journal.sync, journal.sync_at_once):
        with pytest.raises(FailedCopyError):
            sync()
    assert (len(told), len(kernel.calls), journal.durable_seq) == (1, calls, before)


def test_there_is_one_at_a_time(
    journal: "SegmentJournal", kernel: Kernel, add: "Add", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Kernel, "is_sync_brief", True)
    told: list[DrsyncError | None] = []
    assert journal.begin_sync(told.append)
    add(journal, b"c")
    assert not journal.begin_sync(told.append)
    assert journal.sync_at_once() is None
    thread = threading.Thread(target=journal.sync)
    thread.start()  # waits for its turn, or comes after
    kernel.end()
    thread.join(10)
    assert not thread.is_alive()
    assert (journal.durable_seq, told) == (journal.tip.seq, [None])


def test_a_cut_waits_for_it_and_nothing_cut_becomes_durable_later(
    journal: "SegmentJournal", kernel: Kernel, add: "Add"
) -> None:
    told: list[DrsyncError | None] = []
    add(journal, b"c")
    assert journal.begin_sync(told.append)
    journal.cut(1)
    assert (journal.durable_seq, journal.tip.seq, told, kernel.under_way) == (1, 1, [None], [])
    add(journal, b"another")
    assert journal.durable_seq == 1


def test_whoever_waits_may_find_that_the_next_has_begun(journal: "SegmentJournal", add: "Add") -> None:
    told: list[bool] = []

    def again(error: DrsyncError | None) -> None:
        told.append(journal.begin_sync(lambda error: told.append(error is None)))

    assert journal.begin_sync(again)
    add(journal, b"c")
    journal.close()
    assert told == [True, True]


def test_an_error_that_comes_while_a_cut_waits_stops_the_cut(
    journal: "SegmentJournal", kernel: Kernel
) -> None:
    told: list[DrsyncError | None] = []
    kernel.error = OSError(errno.EIO, os.strerror(errno.EIO))
    assert journal.begin_sync(told.append)
    with pytest.raises(FailedCopyError, match="Input/output error"):
        journal.cut(1)
    assert isinstance(told[0], FailedCopyError)


def test_closing_waits_for_it(journal: "SegmentJournal", kernel: Kernel) -> None:
    told: list[DrsyncError | None] = []
    assert journal.begin_sync(told.append)
    journal.close()
    assert (told, kernel.under_way) == ([None], [])


def nothing_to_do(journal: "SegmentJournal", add: "Add") -> None:
    journal.sync()


def a_name_too(journal: "SegmentJournal", add: "Add") -> None:
    add(journal, bytes(journal.held_bytes))  # in a segment of its own


@pytest.mark.parametrize("prepare", [nothing_to_do, a_name_too])
def test_more_than_data_and_nothing_at_all_are_left_to_others(
    journal: "SegmentJournal",
    kernel: Kernel,
    add: "Add",
    prepare: "Callable[[SegmentJournal, Add], None]",
) -> None:
    prepare(journal, add)
    assert not journal.begin_sync(never)
    assert "begin_fdatasync" not in kernel.calls
    assert journal.sync() == journal.tip.seq


def test_without_the_means_nothing_is_begun(reopen: "Open", add: "Add") -> None:
    journal = reopen(files=OsFiles())
    add(journal, b"a")
    journal.sync()
    add(journal, b"b")
    assert not journal.begin_sync(never)
    assert journal.sync() == 2


async def test_a_real_kernel_makes_it_durable_beside_the_loop(reopen: "Open", add: "Add") -> None:
    journal = reopen(files=AgentFiles())
    add(journal, b"a")
    await asyncio.to_thread(journal.sync)
    add(journal, b"b")
    ended: asyncio.Future[DrsyncError | None] = asyncio.get_running_loop().create_future()
    if not journal.begin_sync(ended.set_result):
        pytest.skip("this system has no ring")
    assert journal.durable_seq == 1
    async with asyncio.timeout(10):
        assert await ended is None
    assert journal.durable_seq == 2
    add(journal, b"c")
    told: list[DrsyncError | None] = []
    assert journal.begin_sync(told.append)
    journal.close()
    assert told == [None]
