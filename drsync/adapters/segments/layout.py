"""Byte layout of a segment file around its batches: header page, footer. No I/O.

Segment::

    header page (4096) | batches back to back | footer, once sealed

Footer::

    marks | n first_seq u64 | n offset u32, zeros to a multiple of 8 | n chain 16
    | r runs of (epoch u64, first_seq u64, last_seq u64, last_chain 16) | trailer (128), the end of the file

Little endian. A footer is written only after the batches before it are durable: a valid one proves them.
"""

import sys
from array import array
from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

from drsync.model.epoch import Epoch
from drsync.model.errors import MalformedError, PermanentError
from drsync.model.position import CHAIN_BYTES, EpochRun, Position, Runs
from drsync.ports.journal import Buffer

MAGIC: Final = b"DRSEGMT1"
TRAILER_MAGIC: Final = b"DRSEGEND"
VERSION: Final = 1
FEATURES_COMPAT: Final = 0
"""Known bits that any reader and writer may ignore."""
FEATURES_READ: Final = 0
"""Known bits that a writer must understand."""
FEATURES_INCOMPAT: Final = 0
"""Known bits that a reader must understand."""

HEADER: Final = Struct("<8sIIQQQIIQQQQ16s64s64s64s32s")
HEADER_BYTES: Final = 4096
_CRC: Final = Struct("<I")
_CRC_AT: Final = HEADER_BYTES - _CRC.size
TRAILER: Final = Struct("<8sQQ16sIIQQQIIQI")
TRAILER_BYTES: Final = 128
_TRAILER_CRC_AT: Final = TRAILER_BYTES - _CRC.size
RUN: Final = Struct("<QQQ16s")

OFFSET_CODE: Final = "I"
assert array(OFFSET_CODE).itemsize == 4  # noqa: PLR2004  # the width of an offset in a footer
assert sys.byteorder == "little", "footers are read as arrays in machine order"


class Identity(NamedTuple):
    """Whose journal it is. Text up to 64 bytes in UTF-8 (incarnation: 32)."""

    cluster: str
    group: str
    center: str
    incarnation: str


class SegmentHeader(NamedTuple):
    """What stands in a header page.

    Attributes:
        number: the segment's number, in locators; 1 or more, never reused while the journal lives.
        capacity: bytes reserved for header and batches.
        created_us: wall clock, a label.
        prior: the position before the first record; the file name is prior.seq + 1.
        identity: whose journal it is.
    """

    number: int
    capacity: int
    created_us: int
    prior: Position
    identity: Identity


def encode_header(header: SegmentHeader) -> bytes:
    """The header page."""
    page = bytearray(HEADER_BYTES)
    texts = [text.encode() for text in header.identity]
    assert all(len(text) <= limit for text, limit in zip(texts, (64, 64, 64, 32), strict=True))
    HEADER.pack_into(
        page, 0, MAGIC, HEADER_BYTES, VERSION, FEATURES_COMPAT, FEATURES_READ, FEATURES_INCOMPAT,
        header.number, 0, header.capacity, header.created_us, header.prior.seq + 1, header.prior.epoch,
        header.prior.chain, *texts,
    )  # fmt: skip
    _CRC.pack_into(page, _CRC_AT, crc32(memoryview(page)[:_CRC_AT]))
    return bytes(page)


def decode_header(page: Buffer) -> SegmentHeader:
    """Read a header page.

    Raises:
        MalformedError: magic or checksum is wrong.
        PermanentError: written by a version with features this one does not have.
    """
    if len(page) < HEADER_BYTES or bytes(page[: len(MAGIC)]) != MAGIC:
        raise MalformedError(f"segment header: magic is {bytes(page[: len(MAGIC)]).hex()}")
    (crc,) = _CRC.unpack_from(page, _CRC_AT)
    computed = crc32(memoryview(page)[:_CRC_AT])
    if crc != computed:
        raise MalformedError(f"segment header: crc is {crc:08x}, computed {computed:08x}")
    (_, header_len, version, _, read_only, incompat, number, _, capacity, created_us, first_seq, epoch, chain,
     *texts) = HEADER.unpack_from(page, 0)  # fmt: skip
    unknown = (read_only & ~FEATURES_READ) | (incompat & ~FEATURES_INCOMPAT)
    if header_len != HEADER_BYTES or version != VERSION or unknown:
        raise PermanentError(
            f"segment format version {version}, features {read_only:#x}/{incompat:#x} are too new",
            code="format_too_new",
            remedy="use the software version that wrote it, or a newer one",
        )
    identity = Identity(*(text.rstrip(b"\0").decode() for text in texts))
    return SegmentHeader(number, capacity, created_us, Position(Epoch(epoch), first_seq - 1, chain), identity)


class Trailer(NamedTuple):
    """The fixed end of a footer; offsets are in bytes from the start of the file."""

    first_seq: int
    last_seq: int
    last_chain: bytes
    batches: int
    runs: int
    data_end: int
    directory_at: int
    runs_at: int
    directory_crc: int
    runs_crc: int
    marks_at: int
    """0: they were not known when the footer was written."""
    marks_crc: int


class Footer(NamedTuple):
    """An encoded footer and where it goes."""

    data_end: int
    body: bytes


def encode_footer(
    first_seqs: "array[int]",
    offsets: "array[int]",
    chains: Buffer,
    runs: Runs,
    data_end: int,
    last: Position,
    marks: bytes | None,
) -> Footer:
    """The footer of a segment whose batches end at `data_end` with position `last`."""
    count = len(first_seqs)
    directory = first_seqs.tobytes() + offsets.tobytes() + bytes(4 * (count % 2)) + bytes(chains)
    run_table = b"".join(RUN.pack(*run) for run in runs)
    kept = marks or b""
    directory_at = data_end + len(kept)
    trailer = bytearray(TRAILER_BYTES)
    TRAILER.pack_into(
        trailer, 0, TRAILER_MAGIC, first_seqs[0], last.seq, last.chain, count, len(runs), data_end,
        directory_at, directory_at + len(directory), crc32(directory), crc32(run_table),
        data_end if marks is not None else 0, crc32(kept),
    )  # fmt: skip
    _CRC.pack_into(trailer, _TRAILER_CRC_AT, crc32(memoryview(trailer)[:_TRAILER_CRC_AT]))
    return Footer(data_end, kept + directory + run_table + bytes(trailer))


def decode_trailer(tail: Buffer) -> Trailer | None:
    """The trailer in the last 128 bytes of a file; None when there is none, as in an unsealed segment."""
    if len(tail) != TRAILER_BYTES or bytes(tail[: len(TRAILER_MAGIC)]) != TRAILER_MAGIC:
        return None
    (crc,) = _CRC.unpack_from(tail, _TRAILER_CRC_AT)
    if crc != crc32(memoryview(tail)[:_TRAILER_CRC_AT]):
        return None
    return Trailer(*TRAILER.unpack_from(tail, 0)[1:])


def decode_runs(trailer: Trailer, table: Buffer) -> Runs:
    """The runs of a footer.

    Raises:
        MalformedError: the checksum is wrong.
    """
    if len(table) != trailer.runs * RUN.size or crc32(table) != trailer.runs_crc:
        raise MalformedError("segment footer: runs do not match their checksum")
    return tuple(EpochRun(Epoch(e), first, last, chain) for e, first, last, chain in RUN.iter_unpack(table))


def decode_directory(trailer: Trailer, body: Buffer) -> "tuple[array[int], array[int], bytearray]":
    """First seqs, offsets and chains of a footer's batch directory.

    Raises:
        MalformedError: the checksum is wrong.
    """
    count = trailer.batches
    seqs_end = 8 * count
    offsets_end = seqs_end + 4 * count
    chains_at = offsets_end + 4 * (count % 2)
    if len(body) != chains_at + CHAIN_BYTES * count or crc32(body) != trailer.directory_crc:
        raise MalformedError("segment footer: batch directory does not match its checksum")
    first_seqs = array("Q")
    first_seqs.frombytes(memoryview(body)[:seqs_end])
    offsets = array(OFFSET_CODE)
    offsets.frombytes(memoryview(body)[seqs_end:offsets_end])
    return first_seqs, offsets, bytearray(memoryview(body)[chains_at:])
