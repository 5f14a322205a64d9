"""A copy on a disk that fails, fills or rots: what was stated durable is there, or its loss is told."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from typing_extensions import override

from drsync.adapters.segments.files import CorruptJournalError
from drsync.adapters.segments.superblock import NAMES
from drsync.model.errors import FailedCopyError, MalformedError, NoSpaceError
from drsync.sim.disk import Disk, Faults
from drsync.sim.disk_files import DiskFiles
from drsync.sim.disk_nodes import PAGE
from tests.sim.copies import HOME, Copy, Stated, check, formatted, go_on, live

STEP = 1511  # bytes between places that are damaged: a prime, so that all offsets in a page come up


class Unlucky(random.Random):
    """Dice that tear nothing: what is hit is lost."""

    @override
    def random(self) -> float:
        return 0.99


def syncs_of_a_life() -> Iterator[int]:
    disk = formatted()
    live(disk, Stated())
    return iter(range(1, disk.calls["fsync"] + disk.calls["fdatasync"] + 1))


@pytest.mark.parametrize("loss", [0.5, 1.0])
def test_a_sync_that_fails_is_never_followed_by_a_word_that_something_is_durable(loss: float) -> None:
    """P33: the pages look clean afterwards, and the next sync would succeed without having written them."""
    for at in syncs_of_a_life():
        disk, stated = formatted(), Stated()
        disk.faults = Faults(random.Random(at), sync_error_at=at, sync_loss=loss)
        with pytest.raises((FailedCopyError, OSError), match="Input/output error"):
            live(disk, stated)
        disk.faults = None
        disk.power_cut(random.Random(at))
        copy = Copy(disk, stated)
        check(copy)
        go_on(copy)
        check(copy)


def test_a_disk_that_fills_at_any_size_loses_nothing_and_goes_on_when_there_is_room() -> None:
    refused = 0
    for pages in range(60, 400, 7):
        disk, stated = formatted(), Stated()
        disk.capacity = pages * PAGE
        try:
            live(disk, stated)
        except NoSpaceError:
            refused += 1
        disk.capacity = None
        disk.power_cut(random.Random(pages))
        copy = Copy(disk, stated)
        check(copy)
        go_on(copy)
        check(copy)
    assert refused > 10


def aged() -> tuple[Disk, Stated]:
    """A disk with a copy whose every record is durable, in sealed segments and in an open one."""
    disk, stated = formatted(), Stated()
    copy = Copy(disk, stated)
    copy.append(10, epoch=1)
    copy.sync()
    copy.close()
    disk.evict()
    return disk, stated


def journal_files(disk: Disk) -> list[tuple[Path, int]]:
    return [(Path(name), file.size) for name, file in disk.files() if name.endswith(".seg")]


def all_bytes(disk: Disk) -> dict[str, bytes]:
    found = {}
    for name, file in disk.files():
        target = bytearray(file.size)
        file.read(0, memoryview(target))
        found[name] = bytes(target)
    return found


def test_rot_in_durable_records_is_noticed_and_never_cut() -> None:
    disk, stated = aged()
    whole = disk.snapshot()
    noticed = 0
    for path, size in journal_files(disk):
        for offset in range(0, size, STEP):
            disk.restore(whole)
            disk.flip(path, offset, offset % 8)
            rotten = all_bytes(disk)
            try:
                copy = Copy(disk, stated)
            except CorruptJournalError:
                noticed += 1
                journals = {name: data for name, data in all_bytes(disk).items() if ".seg" in name}
                assert journals == {name: data for name, data in rotten.items() if ".seg" in name}
                continue
            assert copy.journal.tip.seq == stated.durable
            try:
                check(copy)
            except (FailedCopyError, MalformedError):  # a sealed segment is read when somebody asks for it
                noticed += 1
    assert noticed > 100


def test_rot_in_the_superblock_loses_nothing() -> None:
    disk, stated = aged()
    whole = disk.snapshot()
    (stored,) = stated.stored
    for name in NAMES:
        for offset in [*range(200), *range(200, 256 << 10, 40 * STEP)]:
            disk.restore(whole)
            disk.flip(HOME / name, offset, offset % 8)
            again = Stated(stored=[stored])
            copy = Copy(disk, again)
            assert copy.hint == stated.durable


def test_a_read_that_lies_once_cuts_nothing_durable_and_never_becomes_durable() -> None:
    for seed in range(60):
        disk, stated = aged()
        copy = Copy(disk, stated)
        copy.append(4, epoch=1)
        copy.files.die()
        disk.faults = Faults(random.Random(seed), where=".seg", flipped_read=0.3)
        try:
            copy = Copy(disk, stated)
            check(copy)
        except (FailedCopyError, MalformedError):
            pass
        disk.faults = None
        disk.power_cut(random.Random(seed))
        check(Copy(disk, stated))


def test_a_write_that_goes_elsewhere_is_noticed_by_whoever_reads() -> None:
    """Nobody can know at the time; the next opening or the first reader does."""
    noticed = 0
    for seed in range(80):
        disk, stated = formatted(), Stated()
        copy = Copy(disk, stated)
        copy.append(5, epoch=1)
        copy.sync()
        disk.faults = Faults(random.Random(seed), where="/journal/", misdirected=0.5)
        copy.append(5, epoch=1)
        copy.sync()
        is_damaged = bool(disk.faults.damaged)
        disk.faults = None
        copy.files.die()
        try:
            check(Copy(disk, stated))
        except (FailedCopyError, MalformedError):
            noticed += 1
            assert is_damaged
        else:
            assert not is_damaged
    assert noticed > 20


def test_two_processes_never_hold_one_copy_and_the_lock_dies_with_its_holder() -> None:
    disk, stated = formatted(), Stated()
    copy = Copy(disk, stated)
    directory = HOME / "journal"
    other = DiskFiles(disk)
    with pytest.raises(BlockingIOError):
        other.lock(other.open(directory, os.O_RDONLY | os.O_DIRECTORY))
    copy.files.die()
    other.lock(other.open(directory, os.O_RDONLY | os.O_DIRECTORY))


def test_what_a_dead_process_left_unsynced_is_durable_only_when_it_was_written_again() -> None:
    """The disk fails under the next process, too; what the one after that reads may be in memory only."""
    failed = 0
    for at in range(1, 12):
        disk, stated = formatted(), Stated()
        copy = Copy(disk, stated)
        copy.append(5, epoch=1)
        copy.sync()
        copy.append(5, epoch=1)
        copy.files.die()
        disk.faults = Faults(Unlucky(at), where="/journal", sync_error_at=at)
        try:
            Copy(disk, stated).files.die()
        except FailedCopyError:
            failed += 1
        disk.faults.sync_error_at = 0
        for user in list(disk.users):
            user.die()
        copy = Copy(disk, stated)
        assert copy.journal.tip.seq == 10
        copy.sync()
        copy.files.die()
        disk.faults = None
        disk.loss = (1.0, 1.0)
        disk.power_cut(Unlucky(at))
        check(Copy(disk, stated))
    assert failed > 3
