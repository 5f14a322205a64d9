"""The simulated disk: what a process sees, what its death leaves, what a power cut leaves, what breaks."""

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from drsync.adapters.segments.files import Wait
from drsync.sim.disk import Disk, Faults
from drsync.sim.disk_files import DiskFiles
from drsync.sim.disk_nodes import PAGE, SECTOR, File
from drsync.sim.killed import Killed

HOME = Path("/srv")
NAME = HOME / "file"
ALL, NOTHING = (1.0, 1.0), (0.0, 0.0)


@pytest.fixture
def disk() -> Disk:
    """A disk with a durable directory."""
    disk = Disk()
    files = DiskFiles(disk)
    files.make_directory(HOME)
    sync_names(files, Path("/"))
    files.die()
    return disk


def sync_names(files: DiskFiles, directory: Path = HOME) -> None:
    fd = files.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    files.fsync(fd)
    files.close(fd)


def create(disk: Disk, content: bytes = b"", path: Path = NAME) -> tuple[DiskFiles, int]:
    """A process with a durable file."""
    files = DiskFiles(disk)
    fd = files.open(path, os.O_RDWR | os.O_CREAT)
    files.pwritev(fd, [content], 0)
    files.fsync(fd)
    sync_names(files)
    return files, fd


def content(disk: Disk, path: Path = NAME) -> bytes:
    file = disk.file(path)
    target = bytearray(b"\xff" * file.size)
    assert file.read(0, memoryview(target)) == file.size
    return bytes(target)


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["write", "write", "truncate", "allocate", "punch", "sync"]),
        st.integers(0, 5 * PAGE),
        st.integers(0, 3 * PAGE),
    ),
    max_size=12,
)


@given(CHANGES, st.integers(0, 6 * PAGE), st.integers(0, 6 * PAGE))
def test_a_file_is_an_array_of_bytes(changes: list[tuple[str, int, int]], start: int, length: int) -> None:
    files = DiskFiles(Disk())
    fd = files.open(Path("/file"), os.O_RDWR | os.O_CREAT)
    expected = bytearray()
    for number, (kind, offset, count) in enumerate(changes):
        if kind == "write":
            data = bytes([number + 1]) * count
            assert files.pwritev(fd, [data[:10], memoryview(data)[10:]], offset) == count
            if count:
                expected.extend(bytes(max(offset + count - len(expected), 0)))
                expected[offset : offset + count] = data
        elif kind == "truncate":
            files.truncate(fd, offset)
            expected = expected[:offset].ljust(offset, b"\0")
        elif kind == "allocate" and count:
            files.allocate(fd, offset, count)
            expected.extend(bytes(max(offset + count - len(expected), 0)))
        elif kind == "punch" and count:
            files.punch(fd, offset, count)
            end = min(offset + count, len(expected))
            expected[offset:end] = bytes(max(end - offset, 0))
        elif kind == "sync":
            files.fdatasync(fd)
    assert files.size(fd) == len(expected)
    target = bytearray(b"\xff" * length)
    got = files.preadv(fd, [target], start)
    assert target[:got] == expected[start : start + length]
    assert got == len(expected[start : start + length])


@given(CHANGES, CHANGES, st.integers(0, 2**32))
def test_a_power_cut_leaves_what_was_synced_and_any_part_of_the_rest(
    before: list[tuple[str, int, int]], after: list[tuple[str, int, int]], seed: int
) -> None:
    file = File()
    change(file, before, 1)
    file.sync()
    synced = whole(file)
    change(file, [step for step in after if step[0] != "sync"], 100)
    everything = whole(file)

    unhurt, lost, torn = file.copy(), file.copy(), file.copy()
    unhurt.lose(random.Random(seed), 0.0)
    assert whole(unhurt) == everything
    lost.lose(Unlucky(seed), 1.0)
    assert whole(lost) == synced
    torn.lose(random.Random(seed), 0.7)
    torn.lose(random.Random(seed), 1.0)
    assert not torn.unsynced, "what survived is durable"


class Unlucky(random.Random):
    """Dice that tear nothing: what is hit is lost."""

    @override
    def random(self) -> float:
        return 0.99


def change(file: File, changes: list[tuple[str, int, int]], first: int) -> None:
    for number, (kind, offset, count) in enumerate(changes, start=first):
        if kind == "write":
            file.write(offset, bytes([number]) * count)
        elif kind == "truncate":
            file.truncate(offset)
        elif kind == "allocate":
            file.reserve(offset, count)
        elif kind == "punch":
            file.punch(offset, count)
        else:
            file.sync()


def whole(file: File) -> bytes:
    target = bytearray(file.size)
    file.read(0, memoryview(target))
    return bytes(target)


def test_huge_files_of_zeros_cost_nothing(disk: Disk) -> None:
    files, fd = create(disk)
    files.allocate(fd, 0, 64 << 20)
    files.pwritev(fd, [b"end"], (64 << 20) - 3)
    assert len(disk.file(NAME).pages) == 1
    target = bytearray(b"\xff" * (4 << 20))
    assert files.preadv(fd, [target], 60 << 20) == 4 << 20
    assert bytes(target) == bytes((4 << 20) - 3) + b"end"


def test_the_death_of_a_process_takes_its_locks_and_nothing_it_wrote(disk: Disk) -> None:
    files, fd = create(disk, b"synced")
    files.pwritev(fd, [b"more"], 6)
    files.rename(NAME, HOME / "new")
    files.lock(fd)
    other = DiskFiles(disk)
    with pytest.raises(BlockingIOError):
        other.lock(other.open(HOME / "new", os.O_RDONLY))
    files.die()
    with pytest.raises(Killed):
        files.pwritev(fd, [b"ghost"], 0)
    with pytest.raises(Killed):
        files.exists(NAME)
    files.close(fd)
    other.lock(other.open(HOME / "new", os.O_RDONLY))
    assert content(disk, HOME / "new") == b"syncedmore"


def test_names_survive_a_power_cut_only_when_their_directory_was_synced(disk: Disk) -> None:
    files, fd = create(disk, b"kept")
    files.fsync(files.open(HOME / "lost", os.O_RDWR | os.O_CREAT))
    files.rename(NAME, HOME / "renamed")
    files.make_directory(HOME / "folder")
    files.fsync(fd)
    disk.loss = ALL
    disk.power_cut(random.Random(1))
    assert list(disk.directory(HOME).entries) == ["file"]
    assert content(disk) == b"kept"

    files = DiskFiles(disk)
    files.rename(NAME, HOME / "renamed")
    sync_names(files)
    files.unlink(HOME / "renamed")
    disk.power_cut(random.Random(1))
    assert list(disk.directory(HOME).entries) == ["renamed"]


def test_unsynced_changes_are_lost_in_any_combination() -> None:
    """A later write may survive without an earlier one, a part of a write without the rest."""
    seen = set()
    for seed in range(400):
        file = File()
        file.write(0, b"a" * PAGE)
        file.write(PAGE, b"b" * PAGE)
        file.lose(random.Random(seed), 0.6)
        seen.add(whole(file).rstrip(b"\0"))
    assert {b"", b"a" * PAGE, bytes(PAGE) + b"b" * PAGE, b"a" * PAGE + b"b" * PAGE} <= seen
    torn = [found for found in seen if len(found) % PAGE]
    assert torn
    assert all(len(found) % SECTOR == 0 for found in torn)


def test_a_process_dies_in_the_call_that_was_chosen(disk: Disk) -> None:
    for moment, left in (("before", b""), ("within", b"hal"), ("after", b"halves")):
        files, fd = create(disk, b"", HOME / moment)
        disk.die_at(2, moment)  # type: ignore[arg-type]  # they are the three there are
        files.truncate(fd, 0)
        with pytest.raises(Killed):
            files.pwritev(fd, [b"halves"], 0)
        assert content(disk, HOME / moment) == left
        with pytest.raises(Killed):
            files.fsync(fd)
        assert disk.doom is None, "the next process lives"


def test_a_full_disk_takes_what_fits(disk: Disk) -> None:
    files, fd = create(disk)
    disk.capacity = 4 * PAGE
    files.allocate(fd, 0, 2 * PAGE)
    with pytest.raises(OSError, match="No space left"):
        files.allocate(fd, 0, 5 * PAGE)
    assert files.pwritev(fd, [bytes(4 * PAGE)], PAGE) == 3 * PAGE
    with pytest.raises(OSError, match="No space left") as full:
        files.pwritev(fd, [b"x"], 4 * PAGE)
    assert full.value.errno == errno.ENOSPC
    assert files.pwritev(fd, [b"x"], PAGE) == 1, "where there is something already there is room"
    files.punch(fd, 3 * PAGE, PAGE)
    assert files.pwritev(fd, [b"x"], 8 * PAGE) == 1
    files.close(fd)
    files.unlink(NAME)
    assert disk.room() == 4


def test_a_failed_sync_loses_data_that_later_syncs_take_for_durable(disk: Disk) -> None:
    """P33: after the error the pages look clean, so the next sync has nothing to do and says so."""
    files, fd = create(disk, b"old" * 2000)
    disk.faults = Faults(Unlucky(1), sync_error_at=1)
    files.pwritev(fd, [b"new" * 2000], 0)
    with pytest.raises(OSError, match="Input/output error"):
        files.fdatasync(fd)
    files.fdatasync(fd)
    assert content(disk) == b"new" * 2000
    disk.evict()
    assert content(disk) == b"old" * 2000
    assert disk.faults.seen == ["sync error /srv/file"]


def test_what_a_failed_sync_lost_becomes_durable_when_it_is_written_again(disk: Disk) -> None:
    files, fd = create(disk, b"old" * 2000)
    disk.faults = Faults(Unlucky(1), sync_error_at=1)
    files.pwritev(fd, [b"new" * 2000], 0)
    with pytest.raises(OSError, match="Input/output error"):
        files.fdatasync(fd)
    files.pwritev(fd, [b"new" * 2000], 0)
    files.fdatasync(fd)
    disk.loss = ALL
    disk.power_cut(random.Random(1))
    assert content(disk) == b"new" * 2000


class Ring:
    """A kernel that syncs beside a loop, and tells when the test says so."""

    def __init__(self) -> None:
        self.later: list[Callable[[], None]] = []
        self.told: list[OSError | None] = []

    def begin(self, files: DiskFiles, fd: int) -> Wait:
        """A sync that somebody waits for."""
        wait = files.begin_fdatasync(fd, self.told.append)
        assert wait is not None
        return wait


def with_ring(disk: Disk) -> tuple[DiskFiles, int, Ring]:
    """A process with a file and a ring."""
    create(disk)[0].die()
    ring = Ring()
    files = DiskFiles(disk, later=ring.later.append)
    return files, files.open(NAME, os.O_RDWR), ring


@pytest.mark.parametrize("is_early", [True, False])
def test_a_sync_beside_the_loop_may_take_place_at_its_beginning_or_at_its_end(
    disk: Disk, *, is_early: bool
) -> None:
    """Whoever takes what was written meanwhile for durable is found out by every second one."""
    files, fd, ring = with_ring(disk)
    if not is_early:
        ring.begin(files, fd)
        ring.later.pop()()
    files.pwritev(fd, [b"before"], 0)
    ring.begin(files, fd)
    files.pwritev(fd, [b"after."], PAGE)
    ring.later.pop()()
    files.pwritev(fd, [b"later."], 2 * PAGE)
    assert ring.told[-1] is None
    disk.loss = ALL
    disk.power_cut(random.Random(1))
    kept = content(disk)
    assert kept[:6] == b"before"
    assert (b"after." in kept) is not is_early
    assert b"later." not in kept


def test_who_waits_for_a_sync_beside_the_loop_is_told_once(disk: Disk) -> None:
    files, fd, ring = with_ring(disk)
    files.pwritev(fd, [b"bytes"], 0)
    ring.begin(files, fd)()
    ring.later.pop()()
    assert ring.told == [None]
    assert not disk.file(NAME).unsynced


def test_a_sync_beside_the_loop_fails_like_any_other_though_its_file_was_closed(disk: Disk) -> None:
    files, fd, ring = with_ring(disk)
    files.pwritev(fd, [b"bytes"], 0)
    disk.faults = Faults(Unlucky(1), sync_error_at=1)
    ring.begin(files, fd)
    files.close(fd)
    ring.later.pop()()
    assert [error and error.errno for error in ring.told] == [errno.EIO]


def test_the_dead_are_told_of_no_sync(disk: Disk) -> None:
    files, fd, ring = with_ring(disk)
    ring.begin(files, fd)
    files.die()
    with pytest.raises(Killed):
        ring.later.pop()()
    assert ring.told == []


def test_a_kernel_without_ring_begins_nothing(disk: Disk) -> None:
    files, fd = create(disk)
    assert files.begin_fdatasync(fd, lambda _: None) is None


def test_reads_and_writes_fail_where_they_are_told_to(disk: Disk) -> None:
    files, fd = create(disk, b"content")
    disk.faults = Faults(random.Random(1), where="elsewhere", write_error=1.0, read_error=1.0, sync_error=1.0)
    files.pwritev(fd, [b"C"], 0)
    files.fsync(fd)
    disk.faults.where = "file"
    with pytest.raises(OSError, match="Input/output error"):
        files.pwritev(fd, [b"D"], 0)
    with pytest.raises(OSError, match="Input/output error"):
        files.preadv(fd, [bytearray(7)], 0)
    with pytest.raises(OSError, match="Input/output error"):
        files.truncate(fd, 0)
    with pytest.raises(OSError, match="Input/output error"):
        files.fsync(fd)
    assert len(disk.faults.seen) == 4


def test_a_flipped_read_is_wrong_once_and_rot_stays(disk: Disk) -> None:
    files, fd = create(disk, bytes(100))
    disk.faults = Faults(random.Random(1), flipped_read=1.0)
    target = bytearray(100)
    files.preadv(fd, [memoryview(target)[:50], memoryview(target)[50:]], 0)
    assert sum(byte.bit_count() for byte in target) == 1
    disk.faults = None
    assert content(disk) == bytes(100)

    disk.flip(NAME, 7, 3)
    disk.power_cut(random.Random(1))
    assert content(disk) == bytes(7) + b"\x08" + bytes(92)


def test_a_misdirected_write_hits_another_place(disk: Disk) -> None:
    create(disk, bytes(4 * PAGE), HOME / "other")
    for seed in range(20):
        files, fd = create(disk, bytes(4 * PAGE))
        disk.faults = Faults(random.Random(seed), where="file", misdirected=1.0)
        assert files.pwritev(fd, [b"x" * SECTOR], 0) == SECTOR
        assert (content(disk) + content(disk, HOME / "other")).count(b"x" * SECTOR) >= 1
        assert str(NAME) in disk.faults.damaged
        disk.faults = None


def test_a_disk_that_stalls_says_for_how_long(disk: Disk) -> None:
    waited: list[float] = []
    files = DiskFiles(disk, waited.append)
    disk.faults = Faults(random.Random(1), stall=1.0, stall_s=(2.0, 3.0))
    fd = files.open(NAME, os.O_RDWR | os.O_CREAT)
    files.pwritev(fd, [b"x"], 0)
    files.fsync(fd)
    assert len(waited) == 3
    assert all(2.0 <= seconds <= 3.0 for seconds in waited)


def test_a_snapshot_comes_back_as_often_as_wanted(disk: Disk) -> None:
    files, fd = create(disk, b"old")
    files.pwritev(fd, [b"unsynced"], 0)
    snapshot = disk.snapshot()
    files.pwritev(fd, [b"newer"], 0)
    files.fsync(fd)
    files.unlink(NAME)
    for seed in range(2):
        disk.restore(snapshot)
        assert content(disk) == b"unsynced"
        disk.loss = ALL
        disk.power_cut(Unlucky(seed))
        assert content(disk) == b"old"
    with pytest.raises(Killed):
        files.size(fd)


def test_the_same_dice_leave_the_same_bytes(disk: Disk) -> None:
    files, fd = create(disk, b"x" * 3 * PAGE)
    for number in range(20):
        files.pwritev(fd, [bytes([number]) * 3000], number * 1000)
        files.open(HOME / f"name{number}", os.O_RDWR | os.O_CREAT)
    snapshot = disk.snapshot()
    found = []
    for _ in range(2):
        disk.restore(snapshot)
        disk.loss = (0.5, 0.5)
        disk.power_cut(random.Random(7))
        found.append((content(disk), list(disk.directory(HOME).entries)))
    assert found[0] == found[1]


def test_calls_that_make_no_sense_are_refused_as_by_the_kernel(disk: Disk) -> None:
    files, fd = create(disk)
    with pytest.raises(FileExistsError):
        files.open(NAME, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    with pytest.raises(FileExistsError):
        files.make_directory(NAME)
    with pytest.raises(FileNotFoundError):
        files.open(HOME / "nothing", os.O_RDONLY)
    with pytest.raises(FileNotFoundError):
        files.rename(HOME / "nothing", NAME)
    with pytest.raises(NotADirectoryError):
        files.open(NAME, os.O_RDONLY | os.O_DIRECTORY)
    with pytest.raises(NotADirectoryError):
        files.names(NAME)
    with pytest.raises(NotADirectoryError):
        files.open(NAME / "below", os.O_RDONLY)
    with pytest.raises(IsADirectoryError):
        files.open(HOME, os.O_RDWR)
    with pytest.raises(IsADirectoryError):
        files.unlink(HOME)
    reading = files.open(NAME, os.O_RDONLY)
    for call in (lambda: files.pwritev(reading, [b""], 0), lambda: files.truncate(reading, 0)):
        with pytest.raises(OSError, match="Bad file descriptor"):
            call()
    files.close(fd)
    for call in (lambda: files.pwritev(fd, [b""], 0), lambda: files.close(fd)):
        with pytest.raises(OSError, match="Bad file descriptor"):
            call()
    assert files.pwritev(files.open(NAME, os.O_RDWR | os.O_TRUNC), [b"new"], 0) == 3
