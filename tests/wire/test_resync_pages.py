"""Questions about pages, their answers, and pages themselves: what is sent is read, and nothing else is."""

import pytest

from drsync.model.epoch import Epoch
from drsync.model.errors import MalformedError
from drsync.wire import resync_pages
from drsync.wire.resync import GRANULE, RUN, WireRun
from drsync.wire.resync_pages import GRANULES_MAX, HASHES_BYTES, PAGE, PageHashes, PagesWant

EPOCH = Epoch(7)


def test_a_question_is_read_back() -> None:
    want = PagesWant(EPOCH, 5, (WireRun(0, 1, 9), WireRun(1, 0, GRANULES_MAX - 8)))
    assert resync_pages.read_want(resync_pages.encode_want(want)) == want


@pytest.mark.parametrize(
    "tail",
    [b"", bytes(RUN.size - 1), RUN.pack(0, 3, 3), RUN.pack(0, 4, 3), RUN.pack(0, 0, GRANULES_MAX + 1)],
)
def test_a_question_about_nothing_or_too_much_is_malformed(tail: bytes) -> None:
    with pytest.raises(MalformedError, match="PAGES_WANT"):
        resync_pages.read_want(bytes(16) + tail)


def test_an_answer_is_read_back_and_is_as_long_as_it_says() -> None:
    values = memoryview(bytes(range(256)) * 2)
    body = b"".join(resync_pages.hashes_parts(PageHashes(EPOCH, 5, values)))
    assert resync_pages.read_hashes(body) == PageHashes(EPOCH, 5, values)
    assert len(values) == 2 * HASHES_BYTES
    for wrong in (body[:-1], body + b"x", body[:9]):
        with pytest.raises(MalformedError, match="PAGES"):
            resync_pages.read_hashes(wrong)


@pytest.mark.parametrize(("size", "numbers"), [(GRANULE, [0, 7, 15]), (GRANULE, []), (PAGE + 512, [1])])
def test_pages_are_laid_where_they_were_cut(size: int, numbers: list[int]) -> None:
    source, target = memoryview(bytes(range(256)) * (size // 256)), bytearray(size)
    resync_pages.lay(memoryview(target), resync_pages.cut(source, numbers))
    for number in range(-(-size // PAGE)):
        at = slice(number * PAGE, (number + 1) * PAGE)
        assert bytes(target[at]) == (bytes(source[at]) if number in numbers else bytes(len(target[at])))


def test_pages_are_written_as_on_the_day_when_it_was_written_down() -> None:
    content = memoryview(bytes(PAGE) + b"a" * PAGE + b"b" * PAGE)
    assert resync_pages.cut(content, [1, 2]) == b"\x06\x00" + b"a" * PAGE + b"b" * PAGE


@pytest.mark.parametrize(
    ("size", "pages"),
    [
        (GRANULE, b""),
        (GRANULE, b"\x01"),
        (GRANULE, b"\x01\x00" + bytes(PAGE - 1)),
        (GRANULE, b"\x01\x00" + bytes(PAGE + 1)),
        (PAGE, b"\x02\x00"),
    ],
)
def test_pages_that_are_not_those_of_their_mask_are_malformed(size: int, pages: bytes) -> None:
    with pytest.raises(MalformedError, match="BLOCKS"):
        resync_pages.lay(memoryview(bytearray(size)), pages)
