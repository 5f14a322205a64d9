"""The numbers and layouts of NBD, fixed newstyle with simple replies. Constants only.

Source: the NBD project's protocol description (`doc/proto.md`). All integers are big-endian.
"""

import errno
import struct

INIT_MAGIC = 0x4E42444D41474943  # "NBDMAGIC"
OPTION_MAGIC = 0x49484156454F5054  # "IHAVEOPT"
OPTION_REPLY_MAGIC = 0x0003E889045565A9
REQUEST_MAGIC = 0x25609513
REPLY_MAGIC = 0x67446698

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

HANDSHAKE_FIXED_NEWSTYLE = 1 << 0
HANDSHAKE_NO_ZEROES = 1 << 1

EXPORT_NAME_PADDING = 124
"""Zeros after EXPORT_NAME's answer unless both sides agreed on NO_ZEROES."""

OPT_EXPORT_NAME = 1
OPT_ABORT = 2
OPT_LIST = 3
OPT_INFO = 6
OPT_GO = 7

REP_ACK = 1
REP_SERVER = 2
REP_INFO = 3
REP_IS_ERROR = 1 << 31
REP_ERR_UNSUP = REP_IS_ERROR | 1
REP_ERR_POLICY = REP_IS_ERROR | 2
REP_ERR_INVALID = REP_IS_ERROR | 3
REP_ERR_UNKNOWN = REP_IS_ERROR | 6
REP_ERR_TOO_BIG = REP_IS_ERROR | 9

INFO_EXPORT = 0
INFO_NAME = 1
INFO_BLOCK_SIZE = 3

HAS_FLAGS = 1 << 0
READ_ONLY = 1 << 1
SEND_FLUSH = 1 << 2
SEND_FUA = 1 << 3
SEND_TRIM = 1 << 5
SEND_WRITE_ZEROES = 1 << 6
CAN_MULTI_CONN = 1 << 8

CMD_READ = 0
CMD_WRITE = 1
CMD_DISC = 2
CMD_FLUSH = 3
CMD_TRIM = 4
CMD_WRITE_ZEROES = 6

FLAG_FUA = 1 << 16
FLAG_NO_HOLE = 2 << 16
"""Command flags as they stand in a request's second word, above the command."""

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


def transmission_flags(*, is_read_only: bool) -> int:
    """What an export can do. CAN_MULTI_CONN, because one journal orders and flushes for all connections."""
    flags = HAS_FLAGS | SEND_FLUSH | SEND_FUA | SEND_TRIM | SEND_WRITE_ZEROES | CAN_MULTI_CONN
    return flags | READ_ONLY if is_read_only else flags
