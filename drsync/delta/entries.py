"""Entries of a tree as bytes: on the wire, in the index, in the digest. Only the layout may live here.

Little endian; an entry has a head of 64 bytes and what the head counts after it::

     0 u32 length of all | 4 u64 generation | 12 u8 version | 13 u8 kind | 14 u8 flags | 15 u8 zero
    16 u16 mode | 18 u16 bytes of path | 20 u16 bytes of target | 22 u16 xattrs | 24 u32 uid | 28 u32 gid
    32 i64 seconds, 40 u32 nanoseconds of mtime | 44 u32 device | 48 u64 size | 56 u32 blocks | 60 u32 holes
    path, target, blocks (32 each), holes (u64 offset, u64 length), xattrs (u16, u32, name, value)

Every entry has exactly one form, and what is written differently is refused: equal trees, equal digests.
"""

from collections.abc import Iterable, Iterator, Sequence
from struct import Struct
from typing import Final, TypeAlias

from blake3 import blake3

from drsync.model.errors import MalformedError
from drsync.model.fileset import (
    BLOCKS_MAX,
    HASH_BYTES,
    HOLES_MAX,
    NAME_BYTES_MAX,
    PATH_BYTES_MAX,
    SIZE_MAX,
    XATTR_BYTES_MAX,
    XATTRS_BYTES_MAX,
    XATTRS_MAX,
    Entry,
    FileKind,
    block_bytes,
)

Buffer: TypeAlias = bytes | bytearray | memoryview
_Pairs: TypeAlias = tuple[tuple[int, int], ...]
_Xattrs: TypeAlias = tuple[tuple[bytes, bytes], ...]

VERSION: Final = 1
HEAD: Final = Struct("<IQBBBBHHHHIIqIIQII")
HEAD_BYTES: Final = 64
ENTRY_BYTES_MAX: Final = (  # because each entry must fit into one frame
    HEAD_BYTES
    + 2 * PATH_BYTES_MAX
    + BLOCKS_MAX * HASH_BYTES
    + HOLES_MAX * 16
    + XATTRS_MAX * 6
    + XATTRS_BYTES_MAX
)
"""Whatever the limits allow: less than half a MiB."""
OWN_NAME: Final = b".drsync"
"""Names at the root that begin so belong to drsync and are never part of a set."""

OWN_XATTRS: Final = (b"trusted.drsync.", b"user.drsync.")
"""The mark of a root: each center has its own."""

GENERATION_MAX: Final = (1 << 63) - 1
"""Because an index in SQLite has signed integers."""
KIND_AT: Final = 13
HASHED_FROM: Final = 12
"""Where the content of an encoded entry begins: its length and its generation are no part of it."""

_HOLE: Final = Struct("<QQ")
_XATTR: Final = Struct("<HI")
_DELETED: Final = 1
_SECOND: Final = 1_000_000_000
_MODE_MAX: Final = 0o7777
_U32_MAX: Final = (1 << 32) - 1
_KINDS: Final = {int(kind): kind for kind in FileKind}
_DEVICES: Final = frozenset((FileKind.CHARACTER, FileKind.BLOCK))
_POINTERS: Final = frozenset((FileKind.SYMLINK, FileKind.HARDLINK))

assert HEAD.size == HEAD_BYTES


# --- bytes


def encode(entry: Entry) -> bytes:
    """The bytes of an entry. It must be valid (`fault`): that is the caller's promise."""
    seconds, nanoseconds = divmod(entry.mtime_ns, _SECOND)
    parts = [entry.path, entry.target, *entry.blocks]
    parts += (_HOLE.pack(offset, length) for offset, length in entry.holes)
    for name, value in entry.xattrs:
        parts += (_XATTR.pack(len(name), len(value)), name, value)
    tail = b"".join(parts)
    head = HEAD.pack(
        HEAD_BYTES + len(tail), entry.generation, VERSION, entry.kind, _DELETED if entry.deleted else 0, 0,
        entry.mode, len(entry.path), len(entry.target), len(entry.xattrs), entry.uid, entry.gid,
        seconds, nanoseconds, entry.device, entry.size, len(entry.blocks), len(entry.holes),
    )  # fmt: skip
    return head + tail


def decode(buffer: Buffer, at: int = 0) -> tuple[Entry, int]:
    """The entry at `at`, and where the next one begins.

    Raises:
        MalformedError: cut off, of another version, or not an entry that a tree may have (P57).
    """
    if len(buffer) - at < HEAD_BYTES:
        raise MalformedError(f"entry: {len(buffer) - at} bytes at {at}, the head has {HEAD_BYTES}")
    (
        length, generation, version, number, flags, zero, mode, path_len, target_len, xattr_count,
        uid, gid, seconds, nanoseconds, device, size, block_count, hole_count,
    ) = HEAD.unpack_from(buffer, at)  # fmt: skip
    if not HEAD_BYTES <= length <= min(ENTRY_BYTES_MAX, len(buffer) - at):
        raise MalformedError(f"entry: length {length} at {at}; {len(buffer) - at} bytes are there")
    if version != VERSION or zero or flags & ~_DELETED or nanoseconds >= _SECOND:
        raise MalformedError(f"entry: version {version}, flags {flags}, {zero}, {nanoseconds} ns at {at}")
    kind = _KINDS.get(number)
    if kind is None:
        raise MalformedError(f"entry: kind {number} at {at} is unknown here")
    tail = _Tail(bytes(buffer[at + HEAD_BYTES : at + length]))
    entry = Entry(
        path=tail.take(path_len),
        target=tail.take(target_len),
        blocks=tail.blocks(block_count),
        holes=tail.holes(hole_count),
        xattrs=tail.xattrs(xattr_count),
        kind=kind,
        generation=generation,
        deleted=bool(flags & _DELETED),
        mode=mode,
        uid=uid,
        gid=gid,
        mtime_ns=seconds * _SECOND + nanoseconds,
        size=size,
        device=device,
    )
    why = tail.fault() or fault(entry)
    if why:
        raise MalformedError(f"entry {entry.path[:NAME_BYTES_MAX]!r}: {why}")
    return entry, at + length


class _Tail:
    """What stands behind a head. Lengths that do not fit are remembered, and nothing more is taken."""

    __slots__ = ("_at", "_is_short", "_raw")

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0
        self._is_short = False

    def take(self, length: int) -> bytes:
        if length > len(self._raw) - self._at:
            self._is_short = True
            return b""
        self._at += length
        return self._raw[self._at - length : self._at]

    def blocks(self, count: int) -> tuple[bytes, ...]:
        raw = self.take(count * HASH_BYTES)
        return tuple(raw[at : at + HASH_BYTES] for at in range(0, len(raw), HASH_BYTES))

    def holes(self, count: int) -> _Pairs:
        return tuple((offset, length) for offset, length in _HOLE.iter_unpack(self.take(count * _HOLE.size)))

    def xattrs(self, count: int) -> _Xattrs:
        found: list[tuple[bytes, bytes]] = []
        while len(found) < count and not self._is_short:
            head = self.take(_XATTR.size)
            if head:
                name_len, value_len = _XATTR.unpack(head)
                found.append((self.take(name_len), self.take(value_len)))
        return tuple(found)

    def fault(self) -> str:
        if self._is_short:
            return "shorter than what its head counts"
        extra = len(self._raw) - self._at
        return f"{extra} bytes more than its head counts" if extra else ""


def pack(entries: Iterable[Entry], limit: int) -> Iterator[bytes]:
    """Entries joined to pieces of at most `limit` bytes, in order."""
    assert limit >= ENTRY_BYTES_MAX
    parts: list[bytes] = []
    size = 0
    for entry in entries:
        raw = encode(entry)
        if size + len(raw) > limit:
            yield b"".join(parts)
            parts, size = [], 0
        parts.append(raw)
        size += len(raw)
    if parts:
        yield b"".join(parts)


def unpack(body: Buffer) -> list[Entry]:
    """The entries of a piece. Raises MalformedError."""
    entries: list[Entry] = []
    at = 0
    while at < len(body):
        entry, at = decode(body, at)
        entries.append(entry)
    return entries


# --- hashes


def hash_packed(raw: bytes) -> bytes:
    """blake3-256 of an encoded entry without its generation."""
    return blake3(memoryview(raw)[HASHED_FROM:]).digest()


def entry_hash(entry: Entry) -> bytes:
    """blake3-256 of an entry without its generation: equal hashes, equal entries."""
    return hash_packed(encode(entry))


def stage_key(entry: Entry) -> str:
    """Names the staged content of an entry: hex, unique per path, content and attributes."""
    return entry_hash(entry).hex()


class Digest:
    """The digest of a tree: the sum of the hashes of its live entries modulo 2**256.

    Free of order and incremental. It tells trees of honest centers apart; somebody who may choose entries
    can make two trees of equal digest.
    """

    __slots__ = ("_sum",)

    def __init__(self, value: str = "") -> None:
        self._sum = int.from_bytes(bytes.fromhex(value), "little")

    def add(self, entry_hash: bytes) -> None:
        """A live entry is there."""
        self._sum += int.from_bytes(entry_hash, "little")

    def subtract(self, entry_hash: bytes) -> None:
        """A live entry is gone."""
        self._sum -= int.from_bytes(entry_hash, "little")

    def hex(self) -> str:
        """The digest, 64 hex digits, little endian."""
        return (self._sum % (1 << 256)).to_bytes(HASH_BYTES, "little").hex()


def digest_of(entries: Iterable[Entry]) -> str:
    """The digest of a whole tree; tombstones count nothing."""
    digest = Digest()
    for entry in entries:
        if not entry.deleted:
            digest.add(entry_hash(entry))
    return digest.hex()


# --- what a tree may have (P57)


def path_fault(path: bytes) -> str:
    """Why a path may not be in a set; empty when it may. The root, ``b""``, may."""
    if not path:
        return ""
    if len(path) > PATH_BYTES_MAX or b"\0" in path:
        return f"path of {len(path)} bytes: at most {PATH_BYTES_MAX}, without NUL"
    components = path.split(b"/")
    if components[0].startswith(OWN_NAME):
        return "names at the root that begin with .drsync are drsync's own"
    for component in components:
        if component in (b"", b".", b"..") or len(component) > NAME_BYTES_MAX:
            return "path is not relative and clean, or a name is too long"
    return ""


def fault(entry: Entry) -> str:
    """Why no tree may have this entry; empty when one may."""
    if entry.generation > GENERATION_MAX:
        return f"generation {entry.generation} is above the limit {GENERATION_MAX}"
    return path_fault(entry.path) or (
        _tombstone_fault(entry)
        if entry.deleted
        else _number_fault(entry)
        or _kind_fault(entry)
        or _content_fault(entry)
        or _hole_fault(entry)
        or _xattr_fault(entry.xattrs)
    )


def _tombstone_fault(entry: Entry) -> str:
    if not entry.path:
        return "the root cannot be gone"
    bare = Entry(entry.path, entry.kind, entry.generation, deleted=True)
    return "" if entry == bare else "a tombstone has only path, kind and generation"


def _number_fault(entry: Entry) -> str:
    if entry.mode > _MODE_MAX or max(entry.uid, entry.gid, entry.device) > _U32_MAX:
        return f"mode {entry.mode:o}, uid {entry.uid}, gid {entry.gid} or device {entry.device} is too large"
    return "" if entry.size <= SIZE_MAX else f"size {entry.size} is above the limit {SIZE_MAX}"


def _kind_fault(entry: Entry) -> str:
    kind = entry.kind
    if not entry.path and kind is not FileKind.DIRECTORY:
        return "the root is a directory"
    if bool(entry.target) != (kind in _POINTERS):
        return f"a {kind.name} with a target of {len(entry.target)} bytes"
    if kind is FileKind.HARDLINK and (path_fault(entry.target) or entry.target == entry.path):
        return "the first name of the hard link is no other name of the tree"
    if len(entry.target) > PATH_BYTES_MAX or b"\0" in entry.target:
        return f"target of {len(entry.target)} bytes: at most {PATH_BYTES_MAX}, without NUL"
    return "" if kind in _DEVICES or not entry.device else f"a {kind.name} with a device number"


def _content_fault(entry: Entry) -> str:
    if entry.kind is not FileKind.FILE:
        return f"a {entry.kind.name} with content" if entry.size or entry.blocks else ""
    needed = -(-entry.size // block_bytes(entry.size))
    return "" if len(entry.blocks) == needed else f"{len(entry.blocks)} blocks; its size needs {needed}"


def _hole_fault(entry: Entry) -> str:
    if len(entry.holes) > HOLES_MAX:
        return f"{len(entry.holes)} holes; the limit is {HOLES_MAX}"
    end = 0
    for offset, length in entry.holes:
        if offset < end or not length:
            return f"hole at {offset} is empty or begins before {end}"
        end = offset + length
    return "" if end <= entry.size else f"a hole ends at {end}, the file at {entry.size}"


def _xattr_fault(xattrs: Sequence[tuple[bytes, bytes]]) -> str:
    if len(xattrs) > XATTRS_MAX:
        return f"{len(xattrs)} xattrs; the limit is {XATTRS_MAX}"
    total = 0
    before = b""
    for name, value in xattrs:
        if name.startswith(OWN_XATTRS):
            return f"xattr {name[:NAME_BYTES_MAX]!r} belongs to drsync"
        if name <= before or len(name) > NAME_BYTES_MAX or b"\0" in name or len(value) > XATTR_BYTES_MAX:
            return f"xattr {name[:NAME_BYTES_MAX]!r} is out of order, or too long"
        before = name
        total += len(name) + len(value)
    return "" if total <= XATTRS_BYTES_MAX else f"{total} bytes of xattrs; the limit is {XATTRS_BYTES_MAX}"
