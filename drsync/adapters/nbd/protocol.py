"""The numbers and layouts of NBD, fixed newstyle with simple and structured replies. Constants only.

Source: the NBD project's protocol description (`doc/proto.md`). All integers are big-endian.
"""

import errno
import struct

INIT_MAGIC = 0x4E42444D41474943  # "NBDMAGIC"
OPTION_MAGIC = 0x49484156454F5054  # "IHAVEOPT"
OPTION_REPLY_MAGIC = 0x0003E889045565A9
REQUEST_MAGIC = 0x25609513
REPLY_MAGIC = 0x67446698
CHUNK_MAGIC = 0x668E33EF

GREETING = struct.Struct(">QQH")
"""NBDMAGIC, IHAVEOPT, handshake flags."""

CLIENT_FLAGS = struct.Struct(">I")

OPTION = struct.Struct(">QII")
"""IHAVEOPT, option, length of its data."""

OPTION_REPLY = struct.Struct(">QIII")
"""Magic, option answered, reply type, length of its data."""

EXPORT = struct.Struct(">QH")
"""Size in bytes, transmission flags."""

INFO_EXPORT_DATA = struct.Struct(">HQH")
INFO_BLOCK_SIZE_DATA = struct.Struct(">HIII")
"""Information type, smallest, preferred and largest block in bytes."""

REQUEST = struct.Struct(">II8sQI")
"""Magic, flags << 16 | command, cookie, offset, length."""

REPLY = struct.Struct(">II8s")
"""Magic, error, cookie."""

CHUNK = struct.Struct(">IHH8sI")
"""Head of a chunk of a structured reply: magic, flags, type, cookie, length of what follows."""

CHUNK_DATA = struct.Struct(">IHH8sIQ")
"""A chunk's head and the offset of the data that follows."""

CHUNK_HOLE = struct.Struct(">IHH8sIQI")
"""A chunk's head, the hole's offset and its length."""

CHUNK_REFUSAL = struct.Struct(">IHH8sIIH")
"""A chunk's head, an error, the length of a message (there is none)."""

CHUNK_FAILURE = struct.Struct(">IHH8sIIHQ")
"""The same and the offset where it happened."""

EXTENT = struct.Struct(">II")
"""Length and flags of a stretch in a chunk of BLOCK_STATUS."""

HANDSHAKE_FIXED_NEWSTYLE = 1 << 0
HANDSHAKE_NO_ZEROES = 1 << 1

EXPORT_NAME_PADDING = 124
"""Zeros after EXPORT_NAME's answer unless both sides agreed on NO_ZEROES."""

OPT_EXPORT_NAME = 1
OPT_ABORT = 2
OPT_LIST = 3
OPT_INFO = 6
OPT_GO = 7
OPT_STRUCTURED_REPLY = 8
OPT_LIST_META_CONTEXT = 9
OPT_SET_META_CONTEXT = 10

OPT_CLAIM = 0x64720001
"""drsync's own: 16 bytes that name a session, which this connection continues on the export that it chooses.
An older connection of it executes nothing more, not even what has arrived. Other servers answer ERR_UNSUP."""

CLAIM_BYTES = 16

REP_ACK = 1
REP_SERVER = 2
REP_INFO = 3
REP_META_CONTEXT = 4
REP_IS_ERROR = 1 << 31
REP_ERR_UNSUP = REP_IS_ERROR | 1
REP_ERR_POLICY = REP_IS_ERROR | 2
REP_ERR_INVALID = REP_IS_ERROR | 3
REP_ERR_UNKNOWN = REP_IS_ERROR | 6
REP_ERR_TOO_BIG = REP_IS_ERROR | 9

INFO_EXPORT = 0
INFO_NAME = 1
INFO_DESCRIPTION = 2
INFO_BLOCK_SIZE = 3

HAS_FLAGS = 1 << 0
READ_ONLY = 1 << 1
SEND_FLUSH = 1 << 2
SEND_FUA = 1 << 3
SEND_TRIM = 1 << 5
SEND_WRITE_ZEROES = 1 << 6
SEND_DF = 1 << 7
CAN_MULTI_CONN = 1 << 8
SEND_FAST_ZERO = 1 << 11

CMD_READ = 0
CMD_WRITE = 1
CMD_DISC = 2
CMD_FLUSH = 3
CMD_TRIM = 4
CMD_WRITE_ZEROES = 6
CMD_BLOCK_STATUS = 7

FLAG_FUA = 1 << 16
FLAG_NO_HOLE = 2 << 16
FLAG_DF = 4 << 16
FLAG_REQ_ONE = 8 << 16
FLAG_FAST_ZERO = 16 << 16
"""Command flags as they stand in a request's second word, above the command."""

CHUNK_DONE = 1 << 0
CHUNK_NONE = 0
CHUNK_OFFSET_DATA = 1
CHUNK_OFFSET_HOLE = 2
CHUNK_BLOCK_STATUS = 5
CHUNK_IS_ERROR = 1 << 15
CHUNK_ERROR = CHUNK_IS_ERROR | 1
CHUNK_ERROR_OFFSET = CHUNK_IS_ERROR | 2

ALLOCATION = b"base:allocation"
"""The metadata context that tells data from holes."""

ALLOCATION_ID = 1
EXTENT_DATA = 0
EXTENT_HOLE = 1 << 0 | 1 << 1
"""In `base:allocation`: not allocated, and zeros."""

NAME_BYTES_MAX = 4096  # because the protocol sets this limit for every string
BLOCK_PREFERRED = 4096  # because journal, images and page cache all work in pages
PAYLOAD_BYTES_MAX = 32 << 20  # because clients assume 32 MiB when a server states nothing

WIRE_ERRORS = frozenset(
    {
        errno.EPERM,
        errno.EIO,
        errno.ENOMEM,
        errno.EINVAL,
        errno.ENOSPC,
        errno.EOVERFLOW,
        errno.ENOTSUP,
        errno.ESHUTDOWN,
    }
)
"""The protocol knows these numbers only; on Linux they equal errno's."""

_NEAREST = {
    errno.EROFS: errno.EPERM,
    errno.EACCES: errno.EPERM,
    errno.EDQUOT: errno.ENOSPC,
    errno.EFBIG: errno.ENOSPC,
}


def wire_error(error: int) -> int:
    """The protocol's number for an errno; EIO for what it cannot say."""
    if error == 0 or error in WIRE_ERRORS:
        return error
    return _NEAREST.get(error, errno.EIO)


def transmission_flags(*, is_read_only: bool, is_structured: bool = False) -> int:
    """What an export can do.

    CAN_MULTI_CONN, because one journal orders and flushes for all connections; FAST_ZERO, because zeros are
    a record without payload, and in an image a hole.
    """
    flags = (
        HAS_FLAGS | SEND_FLUSH | SEND_FUA | SEND_TRIM | SEND_WRITE_ZEROES | CAN_MULTI_CONN | SEND_FAST_ZERO
    )
    if is_structured:
        flags |= SEND_DF
    return flags | READ_ONLY if is_read_only else flags
