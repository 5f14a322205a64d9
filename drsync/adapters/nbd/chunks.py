"""The chunks of structured replies, as bytes."""

from drsync.adapters.nbd import protocol as nbd
from drsync.ports.volume import Extent

DATA_HEAD_BYTES = nbd.CHUNK_DATA.size

_OFFSET_BYTES = 8
_HOLE_BYTES = nbd.CHUNK_HOLE.size - nbd.CHUNK.size
_REFUSAL_BYTES = nbd.CHUNK_REFUSAL.size - nbd.CHUNK.size
_FAILURE_BYTES = nbd.CHUNK_FAILURE.size - nbd.CHUNK.size
_CONTEXT = nbd.ALLOCATION_ID.to_bytes(4)


def data_head(cookie: bytes, offset: int, length: int, *, is_last: bool) -> bytes:
    """What comes before `length` bytes of data."""
    kind, size = nbd.CHUNK_OFFSET_DATA, _OFFSET_BYTES + length
    return nbd.CHUNK_DATA.pack(nbd.CHUNK_MAGIC, is_last, kind, cookie, size, offset)


def hole(cookie: bytes, offset: int, length: int, *, is_last: bool) -> bytes:
    """Zeros that need not be sent."""
    kind = nbd.CHUNK_OFFSET_HOLE
    return nbd.CHUNK_HOLE.pack(nbd.CHUNK_MAGIC, is_last, kind, cookie, _HOLE_BYTES, offset, length)


def nothing(cookie: bytes) -> bytes:
    """The end of a reply."""
    return nbd.CHUNK.pack(nbd.CHUNK_MAGIC, nbd.CHUNK_DONE, nbd.CHUNK_NONE, cookie, 0)


def refusal(cookie: bytes, code: int) -> bytes:
    """The whole reply to what was not executed. `code` is an errno."""
    kind, wire = nbd.CHUNK_ERROR, nbd.wire_error(code)
    return nbd.CHUNK_REFUSAL.pack(nbd.CHUNK_MAGIC, nbd.CHUNK_DONE, kind, cookie, _REFUSAL_BYTES, wire, 0)


def failure(cookie: bytes, code: int, offset: int) -> bytes:
    """The end of a reply that failed at `offset`; chunks before it hold good data. `code` is an errno."""
    kind, wire = nbd.CHUNK_ERROR_OFFSET, nbd.wire_error(code)
    return nbd.CHUNK_FAILURE.pack(
        nbd.CHUNK_MAGIC, nbd.CHUNK_DONE, kind, cookie, _FAILURE_BYTES, wire, 0, offset
    )


def status(cookie: bytes, extents: list[Extent]) -> bytes:
    """The whole reply to BLOCK_STATUS in `base:allocation`."""
    pack = nbd.EXTENT.pack
    told = b"".join([pack(n, nbd.EXTENT_HOLE if is_hole else nbd.EXTENT_DATA) for n, is_hole in extents])
    kind, size = nbd.CHUNK_BLOCK_STATUS, len(_CONTEXT) + len(told)
    return nbd.CHUNK.pack(nbd.CHUNK_MAGIC, nbd.CHUNK_DONE, kind, cookie, size) + _CONTEXT + told
