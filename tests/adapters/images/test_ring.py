"""Reads and syncs beside the loop: every one is told of once, whatever the system says to it."""

import asyncio
import errno
import gc
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import uvloop
from typing_extensions import override

from drsync.adapters.images import ring as rings
from drsync.adapters.images.file_image import FileImage
from drsync.adapters.images.files import OsFiles
from drsync.adapters.images.ring import ENTRIES, Ring, ring
from drsync.engine.fetching import fetch
from drsync.ports.journal import Arrived, Image

SIZE = 8 << 20
PLACES = [(at, 4096) for at in range(0, SIZE, 8192)]
assert len(PLACES) > 2 * ENTRIES, "more than may be asked for at once"

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop, uvloop.new_event_loop]


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class WithoutRing(OsFiles):
    """An older system."""

    @override
    def fetch(self, fd: int, places: Sequence[tuple[int, int]], arrived: Arrived, /) -> bool:
        return False


def cold_image(path: Path, files: OsFiles | None = None) -> FileImage:
    """An image that no part of is in memory, as far as the system follows."""
    path.write_bytes(os.urandom(SIZE))
    with path.open("rb+") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return FileImage(path, SIZE, files)


@pytest.fixture
async def image(tmp_path: Path) -> FileImage:
    """A cold image, where the kernel gives this loop a ring; whoever gets it closes it."""
    if ring() is None:
        pytest.skip("this system has no ring")
    return cold_image(tmp_path / "image")


async def fetched(image: Image, places: Sequence[tuple[int, int]]) -> list[int]:
    """The numbers that were told of, in order."""
    numbers: list[int] = []
    done = asyncio.Event()

    def arrived(some: Sequence[int]) -> None:
        numbers.extend(some)
        if len(numbers) >= len(places):
            done.set()

    fetch(image, places, arrived)
    assert not numbers, "not before it returns"
    await done.wait()
    await asyncio.sleep(0)
    return sorted(numbers)


def run(
    make_loop: Callable[[], asyncio.AbstractEventLoop], places: Sequence[tuple[int, int]], image: Image
) -> None:
    with asyncio.Runner(loop_factory=make_loop) as runner:
        assert runner.run(fetched(image, places)) == list(range(len(places)))


@pytest.mark.parametrize("make_loop", LOOPS)
@pytest.mark.parametrize("files", [OsFiles(), WithoutRing()])
def test_each_place_is_told_of_once_and_is_in_memory_then(
    tmp_path: Path, make_loop: Callable[[], asyncio.AbstractEventLoop], files: OsFiles
) -> None:
    image = cold_image(tmp_path / "image", files)
    run(make_loop, PLACES, image)
    target = memoryview(bytearray(4096))
    assert all(image.read_cached(offset, target) for offset, _ in PLACES)
    image.close()


@pytest.mark.parametrize("files", [OsFiles(), WithoutRing()])
def test_a_long_place_is_in_memory_to_its_end(tmp_path: Path, files: OsFiles) -> None:
    image = cold_image(tmp_path / "image", files)
    run(asyncio.new_event_loop, [(1 << 20, 1 << 20)], image)
    assert image.read_cached((2 << 20) - 4096, memoryview(bytearray(4096)))
    image.close()


def test_who_waits_is_told_also_of_what_cannot_be_read(tmp_path: Path) -> None:
    image = cold_image(tmp_path / "image")
    image.close()
    run(asyncio.new_event_loop, PLACES[:3], image)


async def test_a_system_that_takes_only_some_leaves_nobody_waiting(
    image: FileImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = rings._call
    calls = []

    def out_of_memory(number: int, fd: int, count: int, *rest: object) -> int:
        calls.append(count)
        if len(calls) == 1 and count:
            raise OSError(errno.ENOMEM, "no memory")
        return call(number, fd, min(count, 2), *rest)

    monkeypatch.setattr(rings, "_call", out_of_memory)
    for _ in range(3):
        assert await fetched(image, PLACES[:5]) == [0, 1, 2, 3, 4]
    assert calls[:2] == [5, 5], "what was refused is not asked for again"
    image.close()


async def test_a_ring_that_fails_leaves_nobody_waiting(
    image: FileImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = rings._call

    def broken(number: int, fd: int, count: int, *rest: object) -> int:
        if not count:
            raise OSError(errno.EIO, "broken")
        return call(number, fd, count, *rest)

    monkeypatch.setattr(rings, "_call", broken)
    assert await fetched(image, PLACES) == list(range(len(PLACES)))
    monkeypatch.undo()
    assert ring() is None
    assert await fetched(image, PLACES[5:8]) == [0, 1, 2], "threads do it from now on"
    image.close()


def test_a_loop_that_ends_takes_its_ring_along() -> None:
    async def use() -> None:
        ring()

    def use_of_each_loop() -> int:
        for make_loop in LOOPS:
            with asyncio.Runner(loop_factory=make_loop) as runner:
                runner.run(use())
        gc.collect()
        return open_files()

    before = use_of_each_loop()  # because a process keeps what its first loops opened for all
    assert [use_of_each_loop() for _ in range(3)] == [before] * 3


async def test_without_the_kernels_leave_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(number: int, *arguments: object) -> int:
        raise OSError(errno.EPERM, "not here")

    monkeypatch.setattr(rings, "_call", refused)
    assert ring() is None
    assert ring() is None


async def test_a_system_that_takes_nothing_leaves_nobody_waiting_behind_those_it_refused(
    image: FileImage, monkeypatch: pytest.MonkeyPatch
) -> None:

    def out_of_memory(number: int, fd: int, count: int, *rest: object) -> int:
        raise OSError(errno.ENOMEM, "no memory")

    monkeypatch.setattr(rings, "_call", out_of_memory)
    async with asyncio.timeout(10):
        assert await fetched(image, PLACES) == list(range(len(PLACES)))
    image.close()


async def test_what_waits_for_its_turn_never_reads_another_file_under_the_same_number(
    image: FileImage,
) -> None:
    """A socket would lose what its peer sent: the kernel reads it as well, where byte 0 was asked for."""
    number = image._fd
    told: list[int] = []
    ours, theirs = socket.socketpair()
    image.fetch(PLACES[::-1], told.extend)
    image.close()
    os.dup2(ours.fileno(), number)
    theirs.sendall(b"a request")
    async with asyncio.timeout(10):
        while len(told) < len(PLACES):
            await asyncio.sleep(0)
    with socket.socket(fileno=number) as reused:
        reused.setblocking(False)
        assert reused.recv(100) == b"a request"
    ours.close()
    theirs.close()


async def test_who_fails_when_told_keeps_nobody_else_from_being_told() -> None:
    told: list[int] = []

    def fails(numbers: Sequence[int]) -> None:
        raise ValueError(numbers)

    with pytest.raises(ValueError, match="0"):
        rings._tell([*((fails, 0), (told.extend, 1), (told.extend, 2)), *[(told.extend, 3)] * 8])
    assert not told
    for _ in range(3):
        await asyncio.sleep(0)
    assert told == [1, 2, *[3] * 8]


async def test_waiting_for_ones_turn_leaves_no_file_open(image: FileImage) -> None:
    before = open_files()
    for _ in range(3):
        assert await fetched(image, PLACES) == list(range(len(PLACES)))
    image.close()
    assert open_files() == before - 1


def never(code: int) -> None:
    pytest.fail(f"told {code}")


async def ring_here() -> Ring:
    found = ring()
    if found is None:
        pytest.skip("this system has no ring")
    return found


async def synced(fd: int) -> int:
    ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    assert (await ring_here()).sync(fd, ended.set_result) is not None
    assert not ended.done(), "not before it returns"
    async with asyncio.timeout(10):
        return await ended


async def test_a_sync_ends_and_says_how(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb", buffering=0) as file:
        file.write(b"data")
        assert await synced(file.fileno()) == 0
    ours, theirs = os.pipe()
    assert await synced(ours) == errno.EINVAL, "a pipe has nothing to be made durable"
    os.close(ours)
    os.close(theirs)
    assert await synced(ours) == errno.EBADF


async def test_whoever_waits_for_a_sync_stops_the_loop_until_it_has_ended(image: FileImage) -> None:
    found, told, numbers = await ring_here(), [], []  # type: ignore[var-annotated]
    image.fetch(PLACES[:5], numbers.extend)
    wait = found.sync(image._fd, told.append)
    assert wait is not None
    wait()
    assert (told, numbers) == ([0], [])
    wait()
    async with asyncio.timeout(10):
        while len(numbers) < 5:
            await asyncio.sleep(0)
    assert told == [0], "it is told once"
    image.close()


@pytest.mark.timeout(20)  # because it would wait for ever
async def test_a_sync_that_ended_with_another_is_not_waited_for(image: FileImage) -> None:
    """Two journals are closed in one turn: while the first is waited for, the end of the second comes."""
    found, told = await ring_here(), list[int]()
    waits = [found.sync(image._fd, told.append) for _ in range(2)]
    for _ in range(1000):
        found._collect(0)
        if len(found._ended) == len(waits):
            break
        os.fdatasync(image._fd)
    assert (len(found._ended), told) == (2, [])
    for wait in waits:
        assert wait is not None
        wait()
    assert told == [0, 0]
    image.close()


async def test_a_sync_that_the_kernel_does_not_take_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await ring_here()

    def out_of_memory(number: int, *rest: object) -> int:
        raise OSError(errno.ENOMEM, "no memory")

    with (tmp_path / "file").open("wb") as file:
        monkeypatch.setattr(rings, "_call", out_of_memory)
        assert found.sync(file.fileno(), never) is None
        monkeypatch.undo()
        assert await synced(file.fileno()) == 0


async def test_a_sync_whose_end_cannot_be_known_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ring_here()
    call = rings._call

    def broken(number: int, fd: int, count: int, *rest: object) -> int:
        if not count:
            raise OSError(errno.ENXIO, "broken")
        return call(number, fd, count, *rest)

    monkeypatch.setattr(rings, "_call", broken)
    with (tmp_path / "file").open("wb") as file:
        assert await synced(file.fileno()) == errno.EIO
        monkeypatch.undo()
        assert ring() is None, "it would not say that the next one has ended"


async def test_who_fails_when_told_of_a_sync_keeps_nobody_else_from_being_told(tmp_path: Path) -> None:
    found, told = await ring_here(), []  # type: ignore[var-annotated]
    failures: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failures.append(context))

    def fails(code: int) -> None:
        raise ValueError(code)

    with (tmp_path / "file").open("wb") as file:
        for ended in (told.append, fails, told.append, fails):
            assert found.sync(file.fileno(), ended) is not None
        async with asyncio.timeout(10):
            while len(told) + len(failures) < 4:
                await asyncio.sleep(0)
    assert (told, len(failures)) == ([0, 0], 2)


async def test_the_loop_asks_once_for_what_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, call, asked = await ring_here(), rings._call, list[int]()

    def counted(number: int, fd: int, count: int, *rest: object) -> int:
        asked.append(count)
        return call(number, fd, count, *rest)

    monkeypatch.setattr(rings, "_call", counted)
    with (tmp_path / "file").open("wb") as file:
        for _ in range(5):
            assert await synced(file.fileno()) == 0
            for _ in range(3):
                await asyncio.sleep(0)
    assert asked == [1, 0] * 5
    assert not found.is_broken


async def test_none_of_many_that_end_while_others_are_told_of_is_forgotten(image: FileImage) -> None:
    """Reads and syncs are begun all the time, from within what is told."""
    found, left, told = await ring_here(), 2000, 0
    done = asyncio.Event()

    def arrived(numbers: Sequence[int]) -> None:
        nonlocal left, told
        told += len(numbers)
        for number in numbers:
            if left:
                left -= 1
                image.fetch([PLACES[(left * 7 + number) % len(PLACES)]], arrived)
                if left % 10 == 0:
                    assert found.sync(image._fd, ended) is not None
        if told == 2000 + 64:
            done.set()

    def ended(code: int) -> None:
        assert code == 0

    image.fetch(PLACES[:64], arrived)
    async with asyncio.timeout(20):
        await done.wait()
        while found._syncs:
            await asyncio.sleep(0)
    image.close()
