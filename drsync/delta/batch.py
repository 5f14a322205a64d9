"""The batch: unit of append, acknowledgment, chain and truncation of a group's log (F.A 12).

Only the byte layout may live here: building a batch from records and reading it back. No I/O, no policy.
A batch is decoded as tuples of an array, never as an object per record. Everything is little endian;
`docs/journal-format.md` has the same tables with an example.

Batch::

    header (128) | record table (32 per record) | payload area | zeros up to a multiple of 8

Header::

    0 magic DRJ1 | 4 u16 header_len | 6 u8 flags | 7 zero | 8 u64 epoch | 16 u64 first_seq | 24 u64 time_us
    32 u32 count | 36 u32 table_len | 40 u32 payload_len | 44 zero | 48 prev_chain (16) | 64 chain (16)
    80 u32 stored_len | 84 u8 codec | 85 zeros | 124 u32 crc32 of bytes 0..123

``chain = blake2b-128(header bytes 0..63 || table)``. Bytes 0..63 end with `prev_chain`, and the table
holds the payload hashes, so equal chains mean equal logs. How the payload is stored (codec, stored
length) lies behind the chain and is no part of it.
"""

from collections.abc import Iterator
from enum import IntEnum
from hashlib import blake2b
from struct import Struct
from typing import Final, NamedTuple, TypeAlias
from zlib import crc32

from xxhash import xxh3_64_intdigest

from drsync.model.epoch import Epoch
from drsync.model.errors import MalformedError
from drsync.model.position import CHAIN_BYTES, Position

Buffer: TypeAlias = bytes | bytearray | memoryview

MAGIC: Final = b"DRJ1"
CODEC_RAW: Final = 0
CODEC_ZSTD: Final = 1
"""Reserved: no journal stores it, and this version refuses it."""

PAYLOAD_BYTES_MAX: Final = 1 << 20
"""Because one batch is one `fdatasync` and one frame on the bulk link: 1 MiB takes 1 ms on a 10 Gbit/s
link, so that neither an acknowledgment nor the loop waits long for a neighbour."""

RECORDS_MAX: Final = 8192
"""Because tables of 256 KiB stay below the payload they describe; reached only by runs of ZERO records."""


class Kind(IntEnum):
    """What a record is."""

    WRITE = 1  # payload replaces `length` bytes at `offset`
    ZERO = 2  # `length` bytes at `offset` become zeros; no payload
    RESIZE = 3  # the volume has `offset` bytes from here on; alone in its batch, no payload
    CHECKPOINT = 4  # all volumes of the group agree here
    EPOCH_START = 5  # first record of an epoch
    COMMIT_HINT = 6
    VERIFY_CUT = 7
    GEN_CUT = 8
    CONFIG = 9
    HEARTBEAT = 10
    NOOP = 11


FLAG_FUA: Final = 0x01
FLAG_FLUSH_BEFORE: Final = 0x02
FLAG_GROUP_MORE: Final = 0x04
"""The next record belongs to the same write: applied and exposed together."""
FLAG_TRIM_ORIGIN: Final = 0x08
FLAG_COALESCED: Final = 0x10
FLAG_APP_CONSISTENT: Final = 0x20
FLAGS_KNOWN: Final = 0x3F

KIND_WRITE: Final = int(Kind.WRITE)
KIND_ZERO: Final = int(Kind.ZERO)
KIND_RESIZE: Final = int(Kind.RESIZE)
_KIND_LAST: Final = int(Kind.NOOP)

HEADER: Final = Struct("<4sHBxQQQIIIxxxx16s16sIB39xI")
HEADER_BYTES: Final = 128
_CHAINED_BYTES: Final = 64
_CHECKED_BYTES: Final = 124
_CHAIN_AT: Final = 64
_BEHIND_CHAIN: Final = Struct("<IB39x")
_CRC: Final = Struct("<I")
_CHAINED: Final = Struct("<4sHBxQQQIIIxxxx16s")

RECORD: Final = Struct("<QQIIHBBI")
"""offset, payload hash, length, payload offset in the payload area, volume, kind, reserved, flags."""
RECORD_BYTES: Final = 32
FIRST_KIND_AT: Final = HEADER_BYTES + 26
"""Of the kind of a batch's first record, one byte."""

ALIGNMENT: Final = 8
_PADDING: Final = tuple(bytes(-n % ALIGNMENT) for n in range(ALIGNMENT))

BATCH_BYTES_MAX: Final = HEADER_BYTES + RECORDS_MAX * RECORD_BYTES + PAYLOAD_BYTES_MAX
SEQ_MAX: Final = (1 << 64) - 1

assert HEADER.size == HEADER_BYTES
assert RECORD.size == RECORD_BYTES
assert _CHAINED.size == _CHAINED_BYTES == _CHAIN_AT
assert _CHAIN_AT + CHAIN_BYTES + _BEHIND_CHAIN.size == _CHECKED_BYTES
assert BATCH_BYTES_MAX % ALIGNMENT == 0

Record: TypeAlias = tuple[int, int, int, int, int, int, int, int]
"""The fields of `RECORD`, in its order."""


class EncodedBatch(NamedTuple):
    """A finished batch, ready for `Journal.append` and for a data frame.

    Attributes:
        parts: header with table, the payload views in order, padding; the views belong to the caller.
        length: bytes of all parts.
        first_seq: its first record.
        last_seq: its last record.
        end: the position after it.
        table: the record table, for indexes.
        payload_start: where the payload area begins, in bytes from the start of the batch.
        time_us: the label it bears.
    """

    parts: list[Buffer]
    length: int
    first_seq: int
    last_seq: int
    end: Position
    table: bytes
    payload_start: int
    time_us: int


class Header(NamedTuple):
    """A batch header that was read and checked. Starts and lengths are in bytes from the batch's start."""

    epoch: Epoch
    first_seq: int
    count: int  # type: ignore[assignment]  # the format's word; nobody counts values in a header
    table_len: int
    payload_len: int
    stored_len: int
    time_us: int
    prev_chain: bytes
    chain: bytes
    length: int
    table_start: int
    payload_start: int
    last_seq: int


class BatchBuilder:
    """Collects records and makes a batch of them; reused, so that the hot path allocates little.

    Data views are kept until the next `reset`, not copied: their bytes must not change before the parts
    of the batch have been written.
    """

    __slots__ = (
        "_at",
        "_buffer",
        "_epoch",
        "_first_seq",
        "_payloads",
        "_prev_chain",
        "_view",
        "payload_bytes",
    )

    payload_bytes: int
    """Payload collected so far."""

    def __init__(self) -> None:
        self._buffer = bytearray(HEADER_BYTES + RECORDS_MAX * RECORD_BYTES)
        self._view = memoryview(self._buffer)
        self._at = HEADER_BYTES
        self._payloads: list[Buffer] = []
        self._epoch = 0
        self._first_seq = 0
        self._prev_chain = b""
        self.payload_bytes = 0

    @property
    def count(self) -> int:
        """Records collected so far."""
        return (self._at - HEADER_BYTES) // RECORD_BYTES

    def reset(self, epoch: Epoch, first_seq: int, prev_chain: bytes) -> None:
        """Start a batch whose first record is `first_seq`, after `prev_chain`."""
        assert epoch > 0
        assert first_seq > 0
        assert len(prev_chain) == CHAIN_BYTES
        self._epoch = epoch
        self._first_seq = first_seq
        self._prev_chain = prev_chain
        self._at = HEADER_BYTES
        self._payloads = []
        self.payload_bytes = 0

    def fits(self, payload_bytes: int) -> bool:
        """Whether one more record with that much payload may be added."""
        return self._at < len(self._buffer) and self.payload_bytes + payload_bytes <= PAYLOAD_BYTES_MAX

    def add_write(self, volume: int, offset: int, data: memoryview, flags: int) -> None:
        """Add a WRITE; `fits(len(data))` must hold."""
        length = len(data)
        start = self.payload_bytes
        at = self._at
        RECORD.pack_into(
            self._buffer, at, offset, xxh3_64_intdigest(data), length, start, volume, KIND_WRITE, 0, flags
        )
        self._at = at + RECORD_BYTES
        self.payload_bytes = start + length
        self._payloads.append(data)

    def add_zero(self, volume: int, offset: int, length: int, flags: int) -> None:
        """Add a ZERO of `length` bytes (below 4 GiB); `fits(0)` must hold."""
        RECORD.pack_into(
            self._buffer, self._at, offset, 0, length, self.payload_bytes, volume, KIND_ZERO, 0, flags
        )
        self._at += RECORD_BYTES

    def add_control(
        self, kind: Kind, payload: bytes, volume: int = 0, offset: int = 0, flags: int = 0
    ) -> None:
        """Add a record of another kind; `fits(len(payload))` must hold."""
        assert kind not in (Kind.WRITE, Kind.ZERO)
        start = self.payload_bytes
        hashed = xxh3_64_intdigest(payload)
        RECORD.pack_into(
            self._buffer, self._at, offset, hashed, len(payload), start, volume, int(kind), 0, flags
        )
        self._at += RECORD_BYTES
        self.payload_bytes = start + len(payload)
        if payload:
            self._payloads.append(payload)

    def finish(self, time_us: int) -> EncodedBatch:
        """The batch; at least one record must have been added. `time_us` is a label the caller clamps."""
        at = self._at
        payload_len = self.payload_bytes
        assert at > HEADER_BYTES, "a batch has at least one record"
        assert payload_len <= PAYLOAD_BYTES_MAX, "ask fits() before adding"
        view = self._view
        table_len = at - HEADER_BYTES
        count = table_len // RECORD_BYTES
        _CHAINED.pack_into(
            view, 0, MAGIC, HEADER_BYTES, 0, self._epoch, self._first_seq, time_us, count, table_len,
            payload_len, self._prev_chain,
        )  # fmt: skip
        hasher = blake2b(view[:_CHAINED_BYTES], digest_size=CHAIN_BYTES)
        hasher.update(view[HEADER_BYTES:at])
        chain = hasher.digest()
        view[_CHAIN_AT : _CHAIN_AT + CHAIN_BYTES] = chain
        _BEHIND_CHAIN.pack_into(view, _CHAIN_AT + CHAIN_BYTES, payload_len, CODEC_RAW)
        _CRC.pack_into(view, _CHECKED_BYTES, crc32(view[:_CHECKED_BYTES]))
        head = bytes(view[:at])
        parts: list[Buffer] = [head, *self._payloads]
        padding = _PADDING[payload_len % ALIGNMENT]
        if padding:
            parts.append(padding)
        last_seq = self._first_seq + count - 1
        return EncodedBatch(
            parts,
            at + payload_len + len(padding),
            self._first_seq,
            last_seq,
            Position(Epoch(self._epoch), last_seq, chain),
            head[HEADER_BYTES:],
            at,
            time_us,
        )


def _malformed(at: int, what: str) -> MalformedError:
    return MalformedError(f"batch at byte {at}: {what}")


def peek(buffer: Buffer, at: int = 0) -> Header:
    """Read and check the header at `at`; the rest of the batch need not be there yet.

    Raises:
        MalformedError: says which field, and where.
    """
    if len(buffer) - at < HEADER_BYTES:
        raise _malformed(at, f"{len(buffer) - at} bytes left, a header has {HEADER_BYTES}")
    (magic, header_len, flags, epoch, first_seq, time_us, count, table_len, payload_len, prev_chain, chain,
     stored_len, codec, crc) = HEADER.unpack_from(buffer, at)  # fmt: skip
    if magic != MAGIC:
        raise _malformed(at, f"magic is {magic.hex()}, expected {MAGIC.hex()}")
    computed = crc32(memoryview(buffer)[at : at + _CHECKED_BYTES])
    if computed != crc:
        raise _malformed(at, f"header_crc is {crc:08x}, computed {computed:08x}")
    if header_len != HEADER_BYTES or flags or codec != CODEC_RAW or stored_len != payload_len:
        raise _malformed(
            at, f"header_len {header_len}, flags {flags}, codec {codec} or stored_len {stored_len} unknown"
        )
    if not 0 < count <= RECORDS_MAX or table_len != count * RECORD_BYTES or payload_len > PAYLOAD_BYTES_MAX:
        raise _malformed(
            at, f"count {count}, table_len {table_len} or payload_len {payload_len} out of limits"
        )
    last_seq = first_seq + count - 1
    if not epoch or not first_seq or last_seq > SEQ_MAX:
        raise _malformed(at, f"epoch {epoch} or first_seq {first_seq} out of limits")
    payload_start = HEADER_BYTES + table_len
    length = payload_start + stored_len
    length += -length % ALIGNMENT
    return Header(
        epoch, first_seq, count, table_len, payload_len, stored_len, time_us, prev_chain, chain,
        length, HEADER_BYTES, payload_start, last_seq,
    )  # fmt: skip


def split(buffer: Buffer) -> list[tuple[int, Header]]:
    """Offsets and headers of whole batches that lie back to back in `buffer`.

    Raises:
        MalformedError: a header is bad or the last batch is incomplete.
    """
    found: list[tuple[int, Header]] = []
    at = 0
    end = len(buffer)
    while at < end:
        header = peek(buffer, at)
        if at + header.length > end:
            raise _malformed(at, f"{end - at} bytes left, the batch has {header.length}")
        found.append((at, header))
        at += header.length
    return found


def records(buffer: Buffer, at: int, header: Header) -> Iterator[Record]:
    """The record table of the batch at `at`, as tuples (see `RECORD`); record i has seq first_seq + i."""
    start = at + header.table_start
    return RECORD.iter_unpack(memoryview(buffer)[start : start + header.table_len])


def chain_of(buffer: Buffer, at: int, header: Header) -> bytes:
    """The chain that header and table of the batch at `at` should bear."""
    view = memoryview(buffer)
    hasher = blake2b(view[at : at + _CHAINED_BYTES], digest_size=CHAIN_BYTES)
    hasher.update(view[at + header.table_start : at + header.payload_start])
    return hasher.digest()


def verify(buffer: Buffer, at: int, header: Header, prev: Position) -> Position:
    """Check that the batch at `at` continues `prev` and that nothing in it was changed; its end.

    Raises:
        MalformedError: it does not follow `prev`, is incomplete, or chain, table or a payload is damaged.
    """
    if len(buffer) - at < header.length:
        raise _malformed(at, f"{len(buffer) - at} bytes left, the batch has {header.length}")
    end = verify_table(buffer, at, header, prev)
    _verify_payload(buffer, at, header)
    return end


def verify_table(buffer: Buffer, at: int, header: Header, prev: Position) -> Position:
    """Check that header and record table at `at` continue `prev` and were not changed; the end of the batch.

    The payload need not be there: whoever reads it compares it with the hashes in the table.

    Raises:
        MalformedError: it does not follow `prev`, the table is incomplete, or the chain is another one.
    """
    if len(buffer) - at < header.payload_start:
        raise _malformed(at, f"{len(buffer) - at} bytes left, header and table have {header.payload_start}")
    if header.first_seq != prev.seq + 1 or header.prev_chain != prev.chain or header.epoch < prev.epoch:
        raise _malformed(
            at,
            f"first_seq {header.first_seq}, prev_chain {header.prev_chain.hex()}, epoch {header.epoch} "
            f"does not continue seq {prev.seq}, chain {prev.chain.hex()}, epoch {prev.epoch}",
        )
    if chain_of(buffer, at, header) != header.chain:
        raise _malformed(
            at, f"chain {header.chain.hex()} (seq {header.first_seq}) does not match header and table"
        )
    return Position(header.epoch, header.last_seq, header.chain)


def _verify_payload(buffer: Buffer, at: int, header: Header) -> None:
    area = memoryview(buffer)[at + header.payload_start : at + header.length]
    start = 0
    seq = header.first_seq
    for _, hashed, length, payload_off, _, kind, reserved, flags in records(buffer, at, header):
        if payload_off != start or reserved or not 0 < kind <= _KIND_LAST or flags & ~FLAGS_KNOWN:
            raise _malformed(
                at,
                f"record {seq}: payload_off {payload_off}, kind {kind}, reserved {reserved} flags {flags:#x}",
            )
        if kind != KIND_ZERO:
            start += length
            if start > header.payload_len or xxh3_64_intdigest(area[payload_off:start]) != hashed:
                raise _malformed(at, f"record {seq}: payload_hash does not match {length} bytes of payload")
        elif hashed:
            raise _malformed(at, f"record {seq}: payload_hash of a ZERO is {hashed:016x}")
        seq += 1
    if start != header.payload_len or any(area[start:]):
        raise _malformed(at, f"payload_len {header.payload_len}, records hold {start}; or padding")
