"""Pages of granules in a resync session: what a target holds of them, and those that differ. Only layouts.

Little endian; `docs/protocol.md` has the same tables. A granule has 16 pages of 4 KiB; the last granule of a
volume may have fewer, and a last page may be short.
"""

from collections.abc import Iterable
from struct import Struct
from typing import Final, NamedTuple

from drsync.model.epoch import Epoch
from drsync.model.errors import MalformedError
from drsync.wire.frames import BODY_BYTES_MAX, Buffer, FrameType
from drsync.wire.resync import GRANULE, RUN, WireRun

PAGE: Final = 4096  # bytes, because file systems and databases write no less
PAGES: Final = GRANULE // PAGE
PAGE_HASH_BYTES: Final = (
    16  # of blake3, because what two centers compare must not be made to collide (F.A 16)
)
HASHES_BYTES: Final = PAGES * PAGE_HASH_BYTES  # of a granule
NOT_TOLD: Final = bytes(HASHES_BYTES)  # of a granule whose content may change, or cannot be read
GRANULES_MAX: Final = 1024  # of one question, because 1024 answers fit a frame

_HEAD: Final = Struct("<QII")
_MASK: Final = Struct("<H")

assert _HEAD.size + GRANULES_MAX * RUN.size <= BODY_BYTES_MAX[FrameType.PAGES_WANT]
assert _HEAD.size + GRANULES_MAX * HASHES_BYTES <= BODY_BYTES_MAX[FrameType.PAGES]


class PagesWant(NamedTuple):
    """Hashes of the pages of all granules of `runs` are asked for; `number` comes back with the answer."""

    epoch: Epoch
    number: int
    runs: tuple[WireRun, ...]


class PageHashes(NamedTuple):
    """The answer to a question: 16 hashes of 16 bytes for each granule, in the order of its runs."""

    epoch: Epoch
    number: int
    values: memoryview


def encode_want(want: PagesWant) -> bytes:
    """The body of a PAGES_WANT."""
    assert 0 < sum(run.end - run.first for run in want.runs) <= GRANULES_MAX
    return _HEAD.pack(want.epoch, want.number, 0) + b"".join(RUN.pack(*run) for run in want.runs)


def read_want(body: bytes) -> PagesWant:
    """The question in a body.

    Raises:
        MalformedError: cut off, or nothing or too much is asked for.
    """
    epoch, number, _ = _head("PAGES_WANT", body)
    if (len(body) - _HEAD.size) % RUN.size:
        raise MalformedError(f"PAGES_WANT: {len(body)} bytes end within a run")
    runs = tuple(WireRun(*found) for found in RUN.iter_unpack(memoryview(body)[_HEAD.size :]))
    count = sum(run.end - run.first for run in runs)
    if any(run.first >= run.end for run in runs) or not 0 < count <= GRANULES_MAX:
        raise MalformedError(f"PAGES_WANT: {count} granules in {len(runs)} runs; at most {GRANULES_MAX}")
    return PagesWant(epoch, number, runs)


def hashes_parts(answer: PageHashes) -> list[Buffer]:
    """The body of a PAGES in parts, for `frames.encode_parts`."""
    count, odd = divmod(len(answer.values), HASHES_BYTES)
    assert 0 < count <= GRANULES_MAX
    assert not odd
    return [_HEAD.pack(answer.epoch, answer.number, count), answer.values]


def read_hashes(body: bytes) -> PageHashes:
    """The hashes in a body, as a view. Raises MalformedError: not as many as the head says."""
    epoch, number, count = _head("PAGES", body)
    if len(body) != _HEAD.size + count * HASHES_BYTES:
        raise MalformedError(f"PAGES: {len(body)} bytes for {count} granules")
    return PageHashes(epoch, number, memoryview(body)[_HEAD.size :])


def _head(name: str, body: bytes) -> tuple[Epoch, int, int]:
    if len(body) < _HEAD.size:
        raise MalformedError(f"{name}: {len(body)} bytes, {_HEAD.size} are needed")
    epoch, number, last = _HEAD.unpack_from(body)
    return Epoch(epoch), number, last


# --- the content of a block of kind PAGES


def cut(content: memoryview, numbers: Iterable[int]) -> bytes:
    """These pages of a granule, in ascending order: u16 mask (bit 0: the first page), then their content."""
    chosen = list(numbers)
    mask = sum(1 << number for number in chosen)
    return _MASK.pack(mask) + b"".join(content[number * PAGE : (number + 1) * PAGE] for number in chosen)


def lay(granule: memoryview, pages: Buffer) -> None:
    """Lay pages that `cut` made over a granule. Raises MalformedError: they are not those of its mask."""
    view = memoryview(pages)
    if len(view) < _MASK.size:
        raise MalformedError(f"BLOCKS: {len(view)} bytes of pages, {_MASK.size} are needed")
    (mask,) = _MASK.unpack_from(view)
    at = _MASK.size
    for number in range(PAGES):
        if mask >> number & 1:
            place = granule[number * PAGE : (number + 1) * PAGE]
            piece = view[at : at + len(place)]
            if not place or len(piece) != len(place):
                raise MalformedError(
                    f"BLOCKS: page {number} of a granule of {len(granule)} bytes is not there"
                )
            place[:] = piece
            at += len(piece)
    if at != len(view):
        raise MalformedError(f"BLOCKS: {len(view) - at} bytes after the last page")
