"""Byte layout of an index: what a full segment left in the volumes. No I/O.

Index::

    header (128) | volumes (16 each) | first offset of each page (8) | xxh3-64 of each page (8)
    | number of the first piece of each page (4), and of all pieces, zeros to a multiple of 8
    | pieces (32 each) | filter: which blocks they may lie in

Little endian. A page is up to 128 pieces of one volume (`drsync.delta.pieces.PIECE`, sorted by offset). The
header tells which log it was made of: position, end of the batches; the directory before the pieces has a
checksum, each page has its own, so that a page can be read and trusted without the others.
"""

from array import array
from dataclasses import dataclass
from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

from xxhash import xxh3_64_intdigest

from drsync.adapters.segments.layout import OFFSET_CODE
from drsync.delta.block_filter import SIZE_BITS_MAX, SIZE_BITS_MIN, build
from drsync.delta.pieces import PIECE, PIECE_BYTES, PieceTable
from drsync.model.errors import MalformedError
from drsync.ports.journal import Buffer

MAGIC: Final = b"DRINDEX1"
VERSION: Final = 1
HEADER: Final = Struct("<8sIIIIIIQQ16sQQIIQ")
HEADER_BYTES: Final = 128
_CRC: Final = Struct("<I")
_CRC_AT: Final = HEADER_BYTES - _CRC.size
VOLUME: Final = Struct("<IIII")
PAGE_PIECES: Final = 128
"""Because 4 KiB are read and hashed in a microsecond or two, and cost 16 bytes of memory."""
PAGES_MAX: Final = 1 << 24  # because a segment of 256 MiB has no more records than half of that
VOLUMES_MAX: Final = 1 << 16  # because the number of a volume has 16 bits


class Of(NamedTuple):
    """The segment an index was made of; a chain is never that of another content.

    Attributes:
        number: of the segment.
        first_seq: its first record.
        last_seq: its last one.
        last_chain: chain after it.
        data_end: byte where its batches end.
    """

    number: int
    first_seq: int
    last_seq: int
    last_chain: bytes
    data_end: int


class IndexHeader(NamedTuple):
    """What stands in the header of an index."""

    of: Of
    volumes: int
    pages: int
    pieces: int
    directory_hash: int
    filter_size_bits: int
    """See `drsync.delta.block_filter`; 0 in an index that has no filter."""
    filter_levels: int
    filter_hash: int

    @property
    def pieces_at(self) -> int:
        """Where the pieces start, in bytes from the start of the index."""
        starts = 4 * (self.pages + 1)
        return HEADER_BYTES + VOLUME.size * self.volumes + 16 * self.pages + starts + -starts % 8

    @property
    def length(self) -> int:
        """Bytes of the whole index."""
        return self.filter_at + self.filter_bytes

    @property
    def filter_at(self) -> int:
        """Where the filter starts."""
        return self.pieces_at + PIECE_BYTES * self.pieces

    @property
    def filter_bytes(self) -> int:
        """Of the filter."""
        return 1 << self.filter_size_bits >> 3 if self.filter_size_bits else 0


@dataclass(frozen=True, slots=True)
class PageDirectory:
    """Where pieces are found.

    Attributes:
        volumes: first page of a volume, and the one after its last.
        firsts: first offset of each page.
        hashes: of each page.
        starts: number of the first piece of each page, and of all pieces.
    """

    volumes: dict[int, tuple[int, int]]
    firsts: "array[int]"
    hashes: "array[int]"
    starts: "array[int]"


def encode(of: Of, table: PieceTable) -> bytes:
    """The index of a segment."""
    pages: list[tuple[int, int]] = []
    volumes: list[bytes] = []
    for volume in sorted(table.volumes):
        first, end = table.volumes[volume]
        volumes.append(VOLUME.pack(volume, len(pages), -(-(end - first) // PAGE_PIECES), 0))
        pages += [(start, min(start + PAGE_PIECES, end)) for start in range(first, end, PAGE_PIECES)]
    rows = memoryview(table.rows)
    firsts = array("Q", [table.piece(start)[0] for start, _ in pages])
    hashes = array("Q", [xxh3_64_intdigest(rows[a * PIECE_BYTES : b * PIECE_BYTES]) for a, b in pages])
    starts = array(OFFSET_CODE, [*[start for start, _ in pages], len(table)])
    padding = bytes(-4 * len(starts) % 8)
    directory = b"".join(volumes) + firsts.tobytes() + hashes.tobytes() + starts.tobytes() + padding
    kept = build(
        (volume, PIECE.iter_unpack(rows[first * PIECE_BYTES : end * PIECE_BYTES]))
        for volume, (first, end) in table.volumes.items()
    )
    header = bytearray(HEADER_BYTES)
    HEADER.pack_into(
        header, 0, MAGIC, VERSION, len(volumes), len(pages), len(table), of.number, 0, of.first_seq,
        of.last_seq, of.last_chain, of.data_end, xxh3_64_intdigest(directory),
        kept.size_bits, kept.levels, xxh3_64_intdigest(kept.bits),
    )  # fmt: skip
    _CRC.pack_into(header, _CRC_AT, crc32(memoryview(header)[:_CRC_AT]))
    return bytes(header) + directory + table.rows + kept.bits


def decode_header(data: Buffer) -> IndexHeader | None:
    """The header of an index; None for anything that this version did not write."""
    if len(data) < HEADER_BYTES or bytes(data[: len(MAGIC)]) != MAGIC:
        return None
    (crc,) = _CRC.unpack_from(data, _CRC_AT)
    if crc != crc32(memoryview(data)[:_CRC_AT]):
        return None
    (_, version, volumes, pages, pieces, number, _, first_seq, last_seq, last_chain, data_end,
     directory_hash, size_bits, levels, filter_hash) = HEADER.unpack_from(data)  # fmt: skip
    if version != VERSION or volumes > VOLUMES_MAX or pages > PAGES_MAX or pieces > pages * PAGE_PIECES:
        return None
    if size_bits and not SIZE_BITS_MIN <= size_bits <= SIZE_BITS_MAX:
        return None
    of = Of(number, first_seq, last_seq, last_chain, data_end)
    return IndexHeader(of, volumes, pages, pieces, directory_hash, size_bits, levels, filter_hash)


def decode_directory(header: IndexHeader, data: Buffer) -> PageDirectory:
    """The directory between header and pieces.

    Raises:
        MalformedError: its checksum is wrong.
    """
    view = memoryview(data)
    if len(view) != header.pieces_at - HEADER_BYTES or xxh3_64_intdigest(view) != header.directory_hash:
        raise MalformedError("index: the directory does not match its checksum")
    at = VOLUME.size * header.volumes
    volumes = {volume: (first, first + count) for volume, first, count, _ in VOLUME.iter_unpack(view[:at])}
    firsts, hashes, starts = array("Q"), array("Q"), array(OFFSET_CODE)
    firsts.frombytes(view[at : at + 8 * header.pages])
    at += 8 * header.pages
    hashes.frombytes(view[at : at + 8 * header.pages])
    at += 8 * header.pages
    starts.frombytes(view[at : at + 4 * (header.pages + 1)])
    return PageDirectory(volumes, firsts, hashes, starts)
