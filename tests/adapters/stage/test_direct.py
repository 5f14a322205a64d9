"""Large runs go past the page cache, and everything else the way it always went; both read the same."""

import errno
import os
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from typing_extensions import override

from drsync.adapters.stage.direct import BUFFER_BYTES, DIRECT_BYTES_MIN, PAGE_BYTES, Direct
from drsync.agent.copy_store import OsFiles
from drsync.ports.journal import Buffer

SIZE = 4 * BUFFER_BYTES


class Refusing(OsFiles):
    """Of a file system that opens files for direct writing, or not, and does not do it."""

    def __init__(self, opens: bool) -> None:
        self.is_opening = opens
        self.direct: set[int] = set()

    @override
    def open(self, path: Path, flags: int) -> int:
        """See `Files`."""
        if flags & os.O_DIRECT and not self.is_opening:
            raise OSError(errno.EINVAL, "no such thing")
        fd = super().open(path, flags & ~os.O_DIRECT)
        if flags & os.O_DIRECT:
            self.direct.add(fd)
        return fd

    @override
    def pwritev(self, fd: int, parts: Sequence[Buffer], offset: int, /) -> int:
        """See `Files`."""
        if fd in self.direct:
            raise OSError(errno.EINVAL, "no such thing")
        return super().pwritev(fd, parts, offset)


def file_in(directory: Path) -> Path:
    """A file of zeros."""
    path = directory / "blocks"
    with path.open("wb") as file:
        file.truncate(SIZE)
    return path


@pytest.mark.parametrize("length", [DIRECT_BYTES_MIN, BUFFER_BYTES, BUFFER_BYTES + 9 * PAGE_BYTES])
def test_whole_pages_from_any_memory_are_written_and_read(tmp_path: Path, length: int) -> None:
    path = file_in(tmp_path)
    direct, data = Direct(OsFiles(), path), random.Random(length).randbytes(length + 3)
    place = 5 * PAGE_BYTES
    if not direct.write(memoryview(data)[3:], place):
        pytest.skip("this file system writes nothing directly")
    found = bytearray(length)
    assert direct.read(memoryview(found), place)
    assert found == data[3:]
    assert path.read_bytes() == bytes(place) + data[3:] + bytes(SIZE - place - length)
    direct.close()


@pytest.mark.parametrize(
    ("offset", "length"), [(0, DIRECT_BYTES_MIN - PAGE_BYTES), (512, BUFFER_BYTES), (0, BUFFER_BYTES + 512)]
)
def test_what_is_small_or_in_parts_of_pages_is_left_to_others(
    tmp_path: Path, offset: int, length: int
) -> None:
    path = file_in(tmp_path)
    direct = Direct(OsFiles(), path)
    assert not direct.write(bytes([1]) * length, offset)
    assert not direct.read(memoryview(bytearray(length)), offset)
    assert path.read_bytes() == bytes(SIZE)
    direct.close()


def test_beyond_the_end_of_a_file_nothing_is_read(tmp_path: Path) -> None:
    direct = Direct(OsFiles(), file_in(tmp_path))
    assert not direct.read(memoryview(bytearray(2 * BUFFER_BYTES)), SIZE - BUFFER_BYTES)
    direct.close()


@pytest.mark.parametrize("opens", [False, True])
def test_a_file_system_that_refuses_is_asked_once(tmp_path: Path, opens: bool) -> None:
    files = Refusing(opens)
    direct = Direct(files, file_in(tmp_path))
    assert not direct.write(bytes(BUFFER_BYTES), 0)
    files.direct.clear()
    assert not direct.write(bytes(BUFFER_BYTES), 0), "it was closed"
    direct.close()


def test_an_error_of_the_disk_is_not_taken_for_a_refusal(tmp_path: Path) -> None:
    class Failing(OsFiles):
        @override
        def pwritev(self, fd: int, parts: Sequence[Buffer], offset: int, /) -> int:
            raise OSError(errno.EIO, "gone")

    direct = Direct(Failing(), file_in(tmp_path))
    if not direct.read(memoryview(bytearray(BUFFER_BYTES)), 0):
        pytest.skip("this file system reads nothing directly")
    with pytest.raises(OSError, match="gone"):
        direct.write(bytes(BUFFER_BYTES), 0)
    direct.close()
