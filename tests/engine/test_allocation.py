"""What a volume says is stored: holes are zeros, however the layers and the image came about."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.adapters.images.file_image import FileImage
from drsync.adapters.memory.image import MemoryImage
from drsync.engine import allocation
from drsync.engine.allocation import extents
from drsync.engine.overlay import BLOCK, VolumeView
from drsync.ports.journal import Image
from drsync.ports.volume import Extent
from tests.engine.test_overlay import HeapJournal

SIZE = 512 * BLOCK


def view_of(image: Image) -> tuple[VolumeView, HeapJournal]:
    journal = HeapJournal()
    return VolumeView(image, journal), journal


def write(view: VolumeView, journal: HeapJournal, offset: int, length: int) -> None:
    view.record_write(offset, length, journal.put(b"w" * length))


def zero(view: VolumeView, offset: int, length: int) -> None:
    view.record_zero(offset, length)


@pytest.fixture
def image(tmp_path: Path) -> FileImage:
    """Data in the blocks 64 to 128."""
    image = FileImage(tmp_path / "image", SIZE)
    image.write(64 * BLOCK, [b"i" * (64 * BLOCK)])
    return image


def blocks(found: list[Extent]) -> list[tuple[float, bool]]:
    return [(length / BLOCK, is_hole) for length, is_hole in found]


def test_an_image_alone(image: FileImage) -> None:
    view, _ = view_of(image)

    assert blocks(extents(view, 0, SIZE, 100)) == [(64, True), (64, False), (384, True)]
    assert blocks(extents(view, 32 * BLOCK, 64 * BLOCK, 100)) == [(32, True), (32, False)]
    assert blocks(extents(view, 0, SIZE, 1)) == [(64, True)]


def test_layers_above_it(image: FileImage) -> None:
    view, journal = view_of(image)
    write(view, journal, 16 * BLOCK, 2 * BLOCK)
    write(view, journal, 20 * BLOCK + 7, 5)
    zero(view, 100 * BLOCK, 4 * BLOCK)
    write(view, journal, 128 * BLOCK, BLOCK)

    assert blocks(extents(view, 0, SIZE, 100)) == [
        (16, True),
        (2, False),
        (2, True),
        (1, False),
        (43, True),
        (36, False),
        (4, True),
        (25, False),
        (383, True),
    ]


def test_the_whole_discarded_then_one_block_written(image: FileImage) -> None:
    view, journal = view_of(image)
    zero(view, 0, SIZE)
    write(view, journal, 70 * BLOCK, BLOCK)

    assert blocks(extents(view, 0, SIZE, 100)) == [(70, True), (1, False), (441, True)]
    assert extents(view, 70 * BLOCK + 5, 10, 100) == [(10, False)]


def test_a_search_that_would_take_long_ends_early(image: FileImage, monkeypatch: pytest.MonkeyPatch) -> None:
    view, journal = view_of(image)
    for block in range(0, 40, 2):
        write(view, journal, block * BLOCK, BLOCK)
    monkeypatch.setattr(allocation, "SEARCHED_BLOCKS_MAX", 10)

    assert sum(length for length, _ in extents(view, 0, SIZE, 100)) == 10 * BLOCK
    monkeypatch.setattr(allocation, "PIECES_MAX", 3)
    assert blocks(extents(view, 0, SIZE, 100)) == [(1, False), (1, True), (1, False)]


offsets = st.one_of(st.integers(0, SIZE - 1), st.integers(0, 511).map(lambda block: block * BLOCK))
lengths = st.one_of(st.integers(1, 3 * BLOCK), st.integers(1, 300).map(lambda count: count * BLOCK))
kinds = st.sampled_from(["write", "zero", "drain"])


@given(st.lists(st.tuples(kinds, offsets, lengths), max_size=12), offsets, lengths, st.integers(1, 8))
def test_a_hole_is_zeros_and_the_answer_is_in_order(
    steps: list[tuple[str, int, int]], offset: int, length: int, most: int
) -> None:
    view, journal = view_of(MemoryImage(SIZE))
    for kind, start, size in steps:
        end = min(SIZE, start + size)
        if kind == "write":
            write(view, journal, start, end - start)
        elif kind == "zero":
            zero(view, start, end - start)
        else:
            view.write_out(view.newest)
            view.newest.blocks.clear()
            view.newest.zeros.clear()
    length = min(length, SIZE - offset)
    found = extents(view, offset, length, most)

    assert 1 <= len(found) <= most
    assert all(a[1] != b[1] for a, b in pairwise(found))
    told = sum(size for size, _ in found)
    assert told == length or len(found) == most
    content = bytearray(length)
    view.read_into(offset, memoryview(content))
    at = 0
    for size, is_hole in found:
        assert size > 0
        assert not (is_hole and any(content[at : at + size]))
        at += size
