"""Large pieces go into an image and out of it past the page cache, and nobody who reads it can tell."""

import errno
import mmap
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

from drsync.adapters.images.file_image import DIRECT_BYTES_MIN, DIRECT_READ_BYTES_MIN, FileImage
from drsync.adapters.images.files import OsFiles
from drsync.adapters.images.unnamed import UnnamedImage
from drsync.engine.overlay import BLOCK, VolumeView
from drsync.engine.pages import PIECE_BYTES
from drsync.model.errors import FailedCopyError, NoSpaceError
from drsync.ports.journal import Buffer
from tests.engine.test_overlay import HeapJournal

SIZE = 1 << 20
PAGE = 4096


class Watched(OsFiles):
    """Knows which writes went past the page cache, and can refuse them."""

    def __init__(self, refusal: int = 0, *, is_open_refused: bool = False) -> None:
        self.direct: set[int] = set()
        self.lengths: list[int] = []
        self.reads: list[int] = []
        self.in_memory: int | None = None  # bytes of any range that are said to be there; None: as it is
        self.opened = 0
        self._refusal = refusal
        self._is_open_refused = is_open_refused

    @override
    def open_direct(self, path: Path) -> int:
        self.opened += 1
        if self._refusal and self._is_open_refused:
            raise OSError(self._refusal, "told to refuse")
        fd = super().open_direct(path)
        self.direct.add(fd)
        return fd

    @override
    def pwritev(self, fd: int, parts: Sequence[Buffer], offset: int, /) -> int:
        if fd not in self.direct:
            return super().pwritev(fd, parts, offset)
        if self._refusal:
            raise OSError(self._refusal, "told to refuse")
        self.lengths.append(sum(map(len, parts)))
        return super().pwritev(fd, parts, offset)

    @override
    def preadv(self, fd: int, targets: Sequence[bytearray | memoryview], offset: int, /) -> int:
        if fd in self.direct:
            if self._refusal:
                raise OSError(self._refusal, "told to refuse")
            self.reads.append(sum(map(len, targets)))
        return super().preadv(fd, targets, offset)

    @override
    def cached(self, fd: int, offset: int, length: int, /) -> int:
        return super().cached(fd, offset, length) if self.in_memory is None else self.in_memory


@pytest.fixture(scope="module")
def memory() -> Iterator[memoryview]:
    """Memory that begins where a page does."""
    with mmap.mmap(-1, SIZE) as block, memoryview(block) as view:
        yield view


@pytest.fixture
def place(tmp_path: Path, memory: memoryview) -> Path:
    """A directory whose file system takes such writes."""
    image = FileImage(tmp_path / "probe", SIZE, files := Watched())
    image.write(0, [memory])
    image.close()
    if not files.lengths:
        pytest.skip("this file system takes no writes past the page cache")
    return tmp_path


def content(image: FileImage) -> bytes:
    target = bytearray(SIZE)
    image.read_into(0, memoryview(target))
    return bytes(target)


def test_whole_pages_go_past_the_page_cache_and_are_read_as_any_other(
    place: Path, memory: memoryview
) -> None:
    image = FileImage(place / "image", SIZE, files := Watched())
    image.write(0, [b"old" * (SIZE // 3)])
    content(image)  # now all of it is in the page cache
    memory[:] = os.urandom(SIZE)
    half = SIZE // 2
    image.write(half, [memory[:half]])
    assert files.lengths == [half]
    assert content(image)[half:] == memory[:half]
    assert image.read_cached(0, memoryview(bytearray(PAGE)))
    image.sync()
    image.close()
    assert (place / "image").read_bytes()[half:] == memory[:half]


@pytest.mark.parametrize(
    ("offset", "begin", "length"),
    [
        (0, 0, DIRECT_BYTES_MIN - PAGE),
        (512, 0, DIRECT_BYTES_MIN),
        (0, 512, DIRECT_BYTES_MIN),
        (0, 0, DIRECT_BYTES_MIN + 512),
    ],
)
def test_what_is_small_or_no_whole_pages_takes_the_other_way(
    place: Path, memory: memoryview, offset: int, begin: int, length: int
) -> None:
    image = FileImage(place / "image", SIZE, files := Watched())
    image.write(offset, [memory[begin : begin + length]])
    image.write(0, [bytes(DIRECT_BYTES_MIN)])
    image.write(0, [memory[:DIRECT_BYTES_MIN], memory[:DIRECT_BYTES_MIN]])
    assert not files.lengths
    image.close()


@pytest.mark.parametrize("is_open_refused", [True, False])
@pytest.mark.parametrize("code", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_file_system_that_refuses_is_asked_once(
    tmp_path: Path, memory: memoryview, code: int, *, is_open_refused: bool
) -> None:
    image = FileImage(tmp_path / "image", SIZE, files := Watched(code, is_open_refused=is_open_refused))
    memory[:] = os.urandom(SIZE)
    for _ in range(3):
        image.write(0, [memory])
    assert files.opened == 1
    assert content(image) == memory
    image.close()


@pytest.mark.parametrize(("code", "kind"), [(errno.EIO, FailedCopyError), (errno.ENOSPC, NoSpaceError)])
def test_an_error_there_is_an_error_of_the_image(
    place: Path, memory: memoryview, code: int, kind: type[Exception]
) -> None:
    image = FileImage(place / "image", SIZE, Watched(code))
    with pytest.raises(kind, match="told to refuse"):
        image.write(0, [memory])
    image.close()


def test_nothing_is_left_open(place: Path, memory: memoryview) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    image = FileImage(place / "image", SIZE)
    image.write(0, [memory])
    image.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_what_is_brought_forward_in_large_pieces_goes_this_way(place: Path) -> None:
    image = FileImage(place / "image", 4 * PIECE_BYTES, files := Watched())
    journal = HeapJournal()
    view = VolumeView(image, journal)
    data = os.urandom(PIECE_BYTES + DIRECT_BYTES_MIN)
    view.record_write(BLOCK, len(data), journal.put(data))
    view.record_write(3 * PIECE_BYTES, BLOCK, journal.put(data[:BLOCK]))
    assert view.write_out(view.layers[-1]) == len(data) + BLOCK
    assert files.lengths == [PIECE_BYTES, DIRECT_BYTES_MIN]
    target = bytearray(len(data))
    image.read_into(BLOCK, memoryview(target))
    assert target == data
    image.close()


Step = tuple[str, int, int]
STEPS = st.lists(
    st.tuples(st.sampled_from(["direct", "write", "zero", "read"]), st.integers(0, 15), st.integers(1, 8)),
    min_size=4,
    max_size=24,
)


@given(steps=STEPS)
@settings(max_examples=40, deadline=None)
def test_both_ways_to_a_file_tell_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    memory: memoryview,
    steps: list[Step],
) -> None:
    image = FileImage(tmp_path_factory.mktemp("both") / "image", SIZE)
    expected = bytearray(SIZE)
    for number, (what, at, count) in enumerate(steps):
        offset = at * DIRECT_BYTES_MIN
        length = min(count * DIRECT_BYTES_MIN, SIZE - offset)
        data = bytes([number + 1]) * length
        if what == "direct":
            memory[:length] = data
            image.write(offset, [memory[:length]])
        elif what == "write":
            offset, data = offset + 700, data[: length - 1500]
            image.write(offset, [data])
        elif what == "zero":
            data = bytes(length)
            image.zero(offset, length)
        else:
            assert content(image) == expected
            continue
        expected[offset : offset + len(data)] = data
    image.sync()
    assert content(image) == expected
    image.close()


@pytest.mark.parametrize("length", [DIRECT_READ_BYTES_MIN, SIZE - PAGE])
def test_what_is_not_in_memory_is_read_past_the_page_cache(
    place: Path, memory: memoryview, length: int
) -> None:
    memory[:] = data = os.urandom(SIZE)
    image = FileImage(place / "image", SIZE, files := Watched())
    image.write(0, [memory])
    files.in_memory = 0
    target = memory[:length]
    target[:] = bytes(length)
    image.read_into(PAGE, target)
    assert target == data[PAGE : PAGE + length]
    assert files.reads == [length]

    image.write(2 * PAGE, [b"a page of its own".ljust(PAGE)])  # and is not on the disk yet
    image.read_into(PAGE, target)
    assert bytes(target[PAGE : 2 * PAGE]) == b"a page of its own".ljust(PAGE)
    assert files.reads == [length, length]
    image.close()


def test_what_is_in_memory_or_small_or_goes_elsewhere_is_read_as_ever(
    place: Path, memory: memoryview
) -> None:
    memory[:] = data = os.urandom(SIZE)
    image = FileImage(place / "image", SIZE, files := Watched())
    image.write(0, [memory])
    assert content(image) == data, "into memory that begins anywhere"
    for target in (memory, memory[: DIRECT_READ_BYTES_MIN - PAGE], memory[: SIZE // 2 + 512]):
        target[:] = bytes(len(target))
        image.read_into(0, target)
        assert target == data[: len(target)]
    assert not files.reads, "what was just read is in memory"
    image.close()


@pytest.mark.parametrize("is_open_refused", [False, True])
def test_a_file_system_that_refuses_reads_is_asked_once(
    place: Path, memory: memoryview, *, is_open_refused: bool
) -> None:
    files = Watched(errno.EINVAL, is_open_refused=is_open_refused)
    image = FileImage(place / "image", SIZE, files)
    image.write(0, [data := os.urandom(SIZE)])
    files.in_memory = 0
    for _ in range(2):
        memory[:] = bytes(SIZE)
        image.read_into(0, memory)
        assert memory == data
    assert files.opened == 1
    image.close()


def test_an_image_without_a_name_is_never_opened_by_one(place: Path, memory: memoryview) -> None:
    image = UnnamedImage(place / "nameless", SIZE, os.unlink, files := Watched())
    (place / "nameless").write_bytes(b"of somebody else")
    files.in_memory = 0
    memory[:] = data = os.urandom(SIZE)
    image.write(0, [memory])
    memory[:] = bytes(SIZE)
    image.read_into(0, memory)
    assert memory == data
    assert files.opened == 0
    assert (place / "nameless").read_bytes() == b"of somebody else"
    image.close()
