"""What any volume image promises."""

import errno
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from drsync.adapters.images.file_image import FileImage
from drsync.adapters.images.files import Files, OsFiles
from drsync.adapters.memory.image import MemoryImage
from drsync.model.errors import FailedCopyError, NoSpaceError, PermanentError
from drsync.ports.journal import Image
from drsync.sim.disk import Disk
from drsync.sim.disk_files import DiskFiles

SIZE = 64 << 10
Make: TypeAlias = Callable[[], Image]


class NoHoles(OsFiles):
    """A file system that cannot punch holes."""

    @override
    def punch(self, fd: int, offset: int, length: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "no holes here")


@pytest.fixture(params=["memory", "file", "file without holes", "simulated disk"], scope="module")
def make(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Makes new images of 64 KiB."""
    directory = tmp_path_factory.mktemp("images")
    numbers = iter(range(1_000_000))

    def make() -> Image:
        if request.param == "memory":
            return MemoryImage(SIZE)
        if request.param == "simulated disk":
            return FileImage(Path("/image"), SIZE, DiskFiles(Disk()))
        return FileImage(
            directory / str(next(numbers)), SIZE, NoHoles() if request.param.endswith("holes") else None
        )

    return make


def content(image: Image, offset: int = 0, length: int = SIZE) -> bytes:
    target = bytearray(b"\xff" * length)
    image.read_into(offset, memoryview(target))
    return bytes(target)


def stretches(image: Image) -> list[tuple[int, int, bool]]:
    """What an image says of itself, from start to end."""
    found, at = [], 0
    while at < image.size:
        end, is_hole = image.extent(at)
        found.append((at, end, is_hole))
        at = end
    return found


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, SIZE - 1), st.integers(1, 3 * 4096)), min_size=1, max_size=6
    )
)
def test_a_hole_reads_as_zeros_and_the_stretches_cover_the_image(
    make: Make, steps: list[tuple[bool, int, int]]
) -> None:
    image = make()
    for is_write, offset, length in steps:
        end = min(SIZE, offset + length)
        if is_write:
            image.write(offset, [b"x" * (end - offset)])
        else:
            image.zero(offset, end - offset)
        found = stretches(image)
        assert all(start < end for start, end, _ in found)
        assert found[-1][1] == SIZE
        assert not any(any(content(image, a, b - a)) for a, b, is_hole in found if is_hole)
    image.close()


def test_a_file_knows_its_holes_and_forgets_what_was_punched(tmp_path: Path) -> None:
    image = FileImage(tmp_path / "image", SIZE)
    assert stretches(image) == [(0, SIZE, True)]
    image.write(8192, [b"x" * 16384])
    assert stretches(image) == [(0, 8192, True), (8192, 24576, False), (24576, SIZE, True)]
    image.zero(12288, 4096)
    assert stretches(image) == [
        (0, 8192, True),
        (8192, 12288, False),
        (12288, 16384, True),
        (16384, 24576, False),
        (24576, SIZE, True),
    ]
    image.close()
    assert image.extent(0) == (SIZE, False), "a closed one says data, and reading tells the trouble"


def test_a_new_image_reads_as_zeros(make: Make) -> None:
    image = make()
    assert image.size == SIZE
    assert content(image) == bytes(SIZE)
    image.close()


def test_what_is_read_without_waiting_is_what_is_there(make: Make) -> None:
    image = make()
    image.write(4096, [b"a" * 4096])
    image.will_need(0, SIZE)
    target = bytearray(b"\xff" * SIZE)
    image.read_into(0, memoryview(bytearray(SIZE)))  # from now on it is in memory
    assert image.read_cached(0, memoryview(target))
    assert target == content(image)


def test_many_pieces_are_written_one_after_the_other(make: Make) -> None:
    image = make()
    pieces = [bytes([i % 251]) * (i % 7) for i in range(3000)]
    image.write(5, pieces)
    data = b"".join(pieces)
    assert content(image, 5, len(data)) == data
    image.sync()
    image.close()


SPANS = st.tuples(st.integers(0, SIZE), st.integers(0, SIZE)).map(sorted)
CHANGES = st.lists(st.tuples(SPANS, st.integers(0, 255)), max_size=8)


@given(CHANGES)
def test_an_image_is_an_array_of_bytes(make: Make, changes: list[tuple[list[int], int]]) -> None:
    image = make()
    expected = bytearray(SIZE)
    for (start, stop), byte in changes:
        length = stop - start
        expected[start:stop] = bytes([byte]) * length
        if byte:
            image.write(start, [bytes([byte]) * length])
        else:
            image.zero(start, length)
    assert content(image) == expected
    image.close()


def test_a_closed_image_refuses(make: Make) -> None:
    image = make()
    image.close()
    with pytest.raises(FailedCopyError):
        image.write(0, [b"late"])
    with pytest.raises(FailedCopyError):
        image.sync()


def test_what_was_synced_in_memory_survives_a_crash() -> None:
    image = MemoryImage(SIZE)
    image.write(0, [b"synced"])
    image.sync()
    image.write(0, [b"volatile"])
    image.zero(2, 2)
    image.crash()
    image.reopen()
    assert content(image, 0, 8) == b"synced\0\0"


def test_a_zeroed_range_gives_its_space_back(tmp_path: Path) -> None:
    image = FileImage(tmp_path / "image", 8 << 20)
    image.write(0, [bytes(b"x" * (8 << 20))])
    image.sync()
    before = (tmp_path / "image").stat().st_blocks
    image.zero(0, 4 << 20)
    image.sync()
    assert (tmp_path / "image").stat().st_blocks < before
    image.close()


def test_an_image_grows_and_is_never_shrunk(tmp_path: Path) -> None:
    image = FileImage(tmp_path / "image", SIZE)
    image.write(0, [b"kept"])
    image.close()
    grown = FileImage(tmp_path / "image", 2 * SIZE)
    assert content(grown, 0, 4) == b"kept"
    assert content(grown, SIZE, SIZE) == bytes(SIZE)
    grown.write(2 * SIZE - 1, [b"x"])
    grown.close()
    with pytest.raises(PermanentError, match="shrinking"):
        FileImage(tmp_path / "image", SIZE)


@pytest.mark.parametrize("files", [None, NoHoles(), DiskFiles(Disk())], ids=["file", "no holes", "simulated"])
def test_space_that_was_taken_and_never_used_is_no_content(tmp_path: Path, files: Files | None) -> None:
    path = Path("/image") if isinstance(files, DiskFiles) else tmp_path / "image"
    FileImage(path, 2 * SIZE, files).close()
    image = FileImage(path, SIZE, files)
    assert (image.size, stretches(image)[-1][1]) == (SIZE, SIZE)
    image.resize(2 * SIZE)
    assert content(image, SIZE, SIZE) == bytes(SIZE)
    image.close()


@given(st.lists(st.tuples(st.integers(0, 3), SPANS, st.integers(0, 255)), max_size=10))
def test_a_resized_image_is_an_array_of_bytes_that_ends_in_zeros(
    make: Make, steps: list[tuple[int, list[int], int]]
) -> None:
    image = make()
    expected = bytearray(SIZE)
    for grow, span, byte in steps:
        expected += bytes(grow * 4096)
        image.resize(len(expected))
        start, stop = (at * len(expected) // SIZE for at in span)
        expected[start:stop] = bytes([byte]) * (stop - start)
        if byte:
            image.write(start, [bytes([byte]) * (stop - start)])
        else:
            image.zero(start, stop - start)
        found = stretches(image)
        assert found[-1][1] == image.size == len(expected)
        assert not any(any(expected[a:b]) for a, b, is_hole in found if is_hole)
    assert content(image, 0, len(expected)) == expected
    image.close()


def test_what_was_written_beyond_the_former_end_survives_the_host(tmp_path: Path) -> None:
    disk = Disk()
    image = FileImage(Path("/image"), SIZE, DiskFiles(disk))
    image.resize(4 * SIZE)
    image.write(2 * SIZE, [b"far"])
    image.sync()
    disk.power_cut(Random(1))
    again = FileImage(Path("/image"), 4 * SIZE, DiskFiles(disk))
    assert content(again, 2 * SIZE, 4) == b"far\0"


class Broken(OsFiles):
    """Every call of one name fails."""

    def __init__(self, call: str, code: int = errno.EIO) -> None:
        def fail(*_: object) -> int:
            raise OSError(code, "told to fail")

        setattr(self, call, fail)


@pytest.mark.parametrize("call", ["pwritev", "fdatasync", "punch"])
def test_after_any_error_an_image_is_failed_for_good(tmp_path: Path, call: str) -> None:
    files = Broken(call)
    image = FileImage(tmp_path / "image", SIZE, files)
    with pytest.raises(FailedCopyError, match="told to fail"):
        use(image)
    vars(files).clear()
    calls: list[Callable[[], None]] = [lambda: image.write(0, [b"x"]), lambda: image.zero(0, 1), image.sync]
    for again in calls:
        with pytest.raises(FailedCopyError, match="told to fail"):
            again()
    image.close()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["pwritev", "punch"])
def test_a_full_disk_is_no_failure_and_the_same_may_be_written_again(
    tmp_path: Path, call: str, code: int
) -> None:
    files = Broken(call, code)
    image = FileImage(tmp_path / "image", SIZE, files)
    with pytest.raises(NoSpaceError, match="told to fail"):
        use(image)
    vars(files).clear()
    use(image)
    image.close()


def test_a_sync_without_space_is_a_failure_like_any_other(tmp_path: Path) -> None:
    files = Broken("fdatasync", errno.ENOSPC)
    image = FileImage(tmp_path / "image", SIZE, files)
    with pytest.raises(FailedCopyError):
        use(image)
    vars(files).clear()
    with pytest.raises(FailedCopyError):
        image.sync()
    image.close()


def use(image: Image) -> None:
    image.write(0, [b"x"])
    image.zero(0, 1)
    image.sync()
