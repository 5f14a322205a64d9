"""Frames: how a link's bytes are cut into messages. Only the cutting may live here, no meaning and no I/O.

A frame is a header of 24 bytes and a body; everything is little endian; `docs/protocol.md` has the same
table with an example::

    0 u32 length of body | 4 u16 type | 6 u16 flags | 8 u32 stream | 12 u64 id | 20 u32 crc32 of 0..19

The checksum (`zlib.crc32`) guards the length: a desynchronised stream is noticed at the next header, before
anything is collected. Bodies need none: SSH authenticates every packet, and batches carry hashes.
"""

from collections.abc import Collection, Iterable, Mapping
from enum import IntEnum
from struct import Struct
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias
from zlib import crc32

from drsync.model.errors import MalformedError
from drsync.wire.compression import decompress

Buffer: TypeAlias = bytes | bytearray | memoryview


class FrameType(IntEnum):
    """What a frame is. Below 16: every link. From 16: bulk links. From 32: links for files.

    From 40: resync sessions, which are streams of bulk links.
    """

    HELLO = 1
    WELCOME = 2
    REQUEST = 3
    RESPONSE = 4
    ERROR = 5
    PING = 6
    PONG = 7
    BYE = 8
    ATTACH = 16
    BATCHES = 18
    ACK = 19
    COMMIT = 20
    SYNC = 21
    FETCH = 22
    FETCHED = 23
    DETACH = 24
    REJECT = 25
    RETAIN = 26
    CURSORS = 27
    TREE_OPEN = 32
    TREE_STATE = 33
    TREE_BEGIN = 34
    TREE_ENTRIES = 35
    TREE_WANT = 36
    TREE_BLOCKS = 37
    RESYNC_BEGIN = 40
    RESYNC_READY = 41
    RESYNC_REFUSE = 42
    DIGEST_WANT = 43
    DIGESTS = 44
    BLOCKS = 45
    RESYNC_ROUND = 46
    RESYNC_END = 47
    STAGED = 48
    RESYNC_DONE = 49
    PAGES_WANT = 50
    PAGES = 51


CRITICAL: Final = 0x0001
"""A receiver that does not know the type must end the link instead of skipping the frame."""
COMPRESSED: Final = 0x0002
"""The body is a `drsync.wire.compression` body; only after both sides announced it."""
MORE: Final = 0x0004
"""The answer goes on in another frame of the same type and id."""
FLAGS_KNOWN: Final = CRITICAL | COMPRESSED | MORE

HEADER: Final = Struct("<IHHIQ")
_CRC: Final = Struct("<I")
HEADER_BYTES: Final = 24

HELLO_BODY_BYTES_MAX: Final = 16 * 1024
"""Because nothing is known of the peer yet; the largest honest one is below 1 KiB."""
CONTROL_BODY_BYTES_MAX: Final = 256 * 1024
"""Because a charter has at most 64 KiB, and an answer to a heartbeat may carry several."""
DATA_BODY_BYTES_MAX: Final = (1 << 20) + 8192 * 32 + 128 + 64
"""Because one batch must fit: payload, record table, header; and 64 for what stands before it (F.A 15)."""
CURSORS_BODY_BYTES_MAX: Final = 4 * 1024
"""Because a group has a handful of members, and each takes some 80 bytes."""
SMALL_BODY_BYTES_MAX: Final = 256
"""Because acknowledgments, pings and what steers a stream have layouts below 128 bytes, and room to grow."""

BODY_BYTES_MAX: Final[Mapping[int, int]] = MappingProxyType(
    {
        FrameType.HELLO: HELLO_BODY_BYTES_MAX,
        FrameType.WELCOME: HELLO_BODY_BYTES_MAX,
        FrameType.REQUEST: CONTROL_BODY_BYTES_MAX,
        FrameType.RESPONSE: CONTROL_BODY_BYTES_MAX,
        FrameType.ERROR: HELLO_BODY_BYTES_MAX,
        FrameType.PING: SMALL_BODY_BYTES_MAX,
        FrameType.PONG: SMALL_BODY_BYTES_MAX,
        FrameType.BYE: HELLO_BODY_BYTES_MAX,
        FrameType.ATTACH: SMALL_BODY_BYTES_MAX,
        FrameType.BATCHES: DATA_BODY_BYTES_MAX,
        FrameType.ACK: SMALL_BODY_BYTES_MAX,
        FrameType.COMMIT: SMALL_BODY_BYTES_MAX,
        FrameType.SYNC: SMALL_BODY_BYTES_MAX,
        FrameType.FETCH: SMALL_BODY_BYTES_MAX,
        FrameType.FETCHED: SMALL_BODY_BYTES_MAX,
        FrameType.DETACH: HELLO_BODY_BYTES_MAX,
        FrameType.REJECT: SMALL_BODY_BYTES_MAX,
        FrameType.RETAIN: SMALL_BODY_BYTES_MAX,
        FrameType.CURSORS: CURSORS_BODY_BYTES_MAX,
        FrameType.TREE_OPEN: SMALL_BODY_BYTES_MAX,
        FrameType.TREE_STATE: SMALL_BODY_BYTES_MAX,
        FrameType.TREE_BEGIN: CONTROL_BODY_BYTES_MAX,
        FrameType.TREE_ENTRIES: DATA_BODY_BYTES_MAX,
        FrameType.TREE_WANT: CONTROL_BODY_BYTES_MAX,
        FrameType.TREE_BLOCKS: DATA_BODY_BYTES_MAX,
        FrameType.RESYNC_BEGIN: SMALL_BODY_BYTES_MAX,
        FrameType.RESYNC_READY: SMALL_BODY_BYTES_MAX,
        FrameType.RESYNC_REFUSE: HELLO_BODY_BYTES_MAX,
        FrameType.DIGEST_WANT: SMALL_BODY_BYTES_MAX,
        FrameType.DIGESTS: DATA_BODY_BYTES_MAX,
        FrameType.BLOCKS: DATA_BODY_BYTES_MAX,
        FrameType.RESYNC_ROUND: SMALL_BODY_BYTES_MAX,
        FrameType.RESYNC_END: SMALL_BODY_BYTES_MAX,
        FrameType.STAGED: SMALL_BODY_BYTES_MAX,
        FrameType.RESYNC_DONE: SMALL_BODY_BYTES_MAX,
        FrameType.PAGES_WANT: CONTROL_BODY_BYTES_MAX,
        FrameType.PAGES: DATA_BODY_BYTES_MAX,
    }
)
"""Largest body of each type; types without an entry are unknown and may have `CONTROL_BODY_BYTES_MAX`."""

_PIECE_BYTES_SMALL: Final = 512
"""Because each piece that is kept costs some 40 bytes: smaller ones are joined as they come."""

assert HEADER.size + _CRC.size == HEADER_BYTES
assert set(BODY_BYTES_MAX) == set(FrameType)


class Frame(NamedTuple):
    """A frame that was read; `body` is never compressed any more."""

    type: FrameType
    flags: int
    stream: int
    id: int
    body: bytes


def frame_header(kind: FrameType, length: int, *, stream: int = 0, id: int = 0, flags: int = 0) -> bytes:  # noqa: A002  # the format's word
    """The header of a frame whose body of `length` bytes the caller writes after it, without a copy."""
    assert length <= BODY_BYTES_MAX[kind], (
        f"{kind.name} of {length} bytes; the limit is {BODY_BYTES_MAX[kind]}"
    )
    assert not flags & ~FLAGS_KNOWN
    head = HEADER.pack(length, kind, flags, stream, id)
    return head + _CRC.pack(crc32(head))


def encode(kind: FrameType, body: bytes = b"", *, stream: int = 0, id: int = 0, flags: int = 0) -> bytes:  # noqa: A002  # the format's word
    """A whole frame. `body` must be within the limit of its type: that is the caller's promise."""
    return frame_header(kind, len(body), stream=stream, id=id, flags=flags) + body


def encode_parts(
    kind: FrameType,
    parts: Iterable[Buffer],
    *,
    stream: int = 0,
    id: int = 0,  # noqa: A002  # the format's word
    flags: int = 0,
) -> bytes:
    """A whole frame whose body is `parts` in order, joined in one copy."""
    pieces = list(parts)
    length = sum(len(piece) for piece in pieces)
    return b"".join((frame_header(kind, length, stream=stream, id=id, flags=flags), *pieces))


_Fields: TypeAlias = tuple[int, int, int, int, int]
"""Of `HEADER`, in its order."""


class Decoder:
    """Cuts a stream of bytes into frames. After an error it is broken: the link must be closed.

    Pieces of a body are kept as they come and joined once when it is complete, so that a frame that
    arrives in many pieces costs one copy. Nothing is collected for a frame before its header was checked.

    Attributes:
        skipped: frames of unknown types that were passed over.
    """

    __slots__ = ("_fields", "_first", "_limit", "_may_compress", "_missing", "_pieces", "skipped")

    def __init__(
        self,
        body_bytes_max: int = DATA_BODY_BYTES_MAX,
        *,
        first: Collection[int] = (),
        may_compress: bool = False,
    ) -> None:
        """Limits are those of the types, lowered to `body_bytes_max`.

        `first`: types the first frame may have, so that nothing else is collected of a stranger.
        """
        self._limit = body_bytes_max
        self._first = first
        self._may_compress = may_compress
        self._fields: _Fields | None = None  # of the frame whose body is incomplete
        self._missing = 0  # bytes of that body
        self._pieces: list[Buffer] = []  # of that body, or of an incomplete header
        self.skipped = 0

    @property
    def pending_bytes(self) -> int:
        """Bytes kept of a header or body that is not complete."""
        return sum(map(len, self._pieces))

    def feed(self, data: bytes | memoryview) -> list[Frame]:
        """Frames completed by `data`.

        Raises:
            MalformedError: names the field of the frame that is wrong.
        """
        frames: list[Frame] = []
        at = 0
        if self._fields is not None:
            if len(data) < self._missing:
                self._missing -= len(data)
                self._keep(data)
                return frames
            at = self._missing
            self._keep(data[:at])
            self._finish(self._fields, b"".join(self._pieces), frames)
            self._pieces = []
        elif self._pieces:
            data = b"".join((*self._pieces, data))
            self._pieces = []
        self._cut(data, at, frames)
        return frames

    def _cut(self, data: bytes | memoryview, at: int, frames: list[Frame]) -> None:
        end = len(data)
        while end - at >= HEADER_BYTES:
            fields = self._header(data, at)
            at += HEADER_BYTES
            length = fields[0]
            if end - at < length:
                self._fields, self._missing = fields, length - (end - at)
                break
            self._finish(fields, bytes(data[at : at + length]), frames)
            at += length
        if at < end:
            self._keep(data[at:])

    def _finish(self, fields: _Fields, body: bytes, frames: list[Frame]) -> None:
        _, number, flags, stream, ident = fields
        self._fields = None
        self._first = ()
        if number not in BODY_BYTES_MAX:
            self.skipped += 1
            return
        if flags & COMPRESSED:
            body = decompress(body, min(self._limit, BODY_BYTES_MAX[number]))
        frames.append(Frame(FrameType(number), flags & ~COMPRESSED, stream, ident, body))

    def _keep(self, data: bytes | memoryview) -> None:
        if len(data) >= _PIECE_BYTES_SMALL:
            self._pieces.append(data)
            return
        if not self._pieces or not isinstance(self._pieces[-1], bytearray):
            self._pieces.append(bytearray())
        last = self._pieces[-1]
        assert isinstance(last, bytearray)
        last += data

    def _header(self, data: bytes | memoryview, at: int) -> _Fields:
        (crc,) = _CRC.unpack_from(data, at + HEADER.size)
        computed = crc32(data[at : at + HEADER.size])
        if crc != computed:
            raise MalformedError(f"frame header: crc is {crc:08x}, computed {computed:08x}")
        fields = length, number, flags, _, _ = HEADER.unpack_from(data, at)
        if self._first and number not in self._first:
            raise MalformedError(f"frame header: type {number} came before HELLO and WELCOME")
        if number in BODY_BYTES_MAX:
            self._check_flags(number, flags)
        elif flags & CRITICAL:
            raise MalformedError(f"frame header: type {number} is unknown here and critical")
        limit = min(self._limit, BODY_BYTES_MAX.get(number, CONTROL_BODY_BYTES_MAX))
        if length > limit:
            raise MalformedError(f"frame header: length {length} of type {number} is above the limit {limit}")
        return fields

    def _check_flags(self, number: int, flags: int) -> None:
        if flags & ~FLAGS_KNOWN:
            raise MalformedError(f"frame header: flags {flags:#06x} of type {number} are unknown here")
        if flags & COMPRESSED and not self._may_compress:
            raise MalformedError(f"frame header: type {number} is compressed, which was not agreed on")
