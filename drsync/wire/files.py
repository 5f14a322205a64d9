"""Binary bodies on a link for files: how a replica's tree follows the owner's. Only layouts may live here.

Little endian; `docs/protocol.md` has the same tables. Packed entries are opaque here: `drsync.delta.entries`
reads them. A body of fixed layout may grow at its end; those that end in a list may not.
"""

from collections.abc import Iterable, Sequence
from enum import IntEnum, IntFlag
from struct import Struct
from typing import Final, NamedTuple

from drsync.model.epoch import Epoch
from drsync.model.errors import MalformedError
from drsync.model.fileset import HASH_BYTES, Generation, GenerationStart
from drsync.wire.frames import BODY_BYTES_MAX, Buffer, FrameType

ID_BYTES: Final = 16
OPEN: Final = Struct("<16s16sQ")
STATE: Final = Struct("<IIQQQQ")
BEGIN: Final = Struct("<QQQIIQ32sQ")
START: Final = Struct("<QQ")
ENTRIES: Final = Struct("<I")
TARGET: Final = Struct("<Q")
WANT: Final = Struct("<II")
PIECE: Final = Struct("<IIQIB3x")

LINEAGE_MAX: Final = 4096
"""Because it must fit into one frame; one start for each opening in years."""
WANTS_MAX: Final = (BODY_BYTES_MAX[FrameType.TREE_WANT] - TARGET.size) // WANT.size
"""Blocks that one TREE_WANT can ask for; a window of 16 MiB has at most 128 full ones."""
ENTRIES_BYTES_MAX: Final = BODY_BYTES_MAX[FrameType.TREE_ENTRIES] - ENTRIES.size
"""Packed entries of one TREE_ENTRIES."""
PIECE_BYTES_MAX: Final = 1 << 20
"""Content of one piece, because a frame has little more; larger blocks go in several pieces."""
PIECES_BYTES_MAX: Final = BODY_BYTES_MAX[FrameType.TREE_BLOCKS] - TARGET.size
"""Pieces with their heads in one TREE_BLOCKS."""

assert BODY_BYTES_MAX[FrameType.TREE_BEGIN] >= BEGIN.size + LINEAGE_MAX * START.size
assert PIECE.size + PIECE_BYTES_MAX <= PIECES_BYTES_MAX


class StateFlags(IntFlag):
    """What a replica says of itself; unknown ones are ignored."""

    NONE = 0
    WANTS_FULL = 1  # has nothing, or nothing that it can go on from
    HELD_BACK = 2  # stands still until somebody does something: sending is of no use
    GAVE_UP = 4  # has dropped the incoming generation
    GO_ON = 8  # need not stay at a kept generation any longer


_STATE_FLAGS: Final = sum(StateFlags)


class BeginFlags(IntFlag):
    """What kind of index follows; unknown ones are ignored."""

    NONE = 0
    FULL = 1  # what is not named is gone


class PieceStatus(IntEnum):
    """Whether content follows."""

    DATA = 0
    GONE = 1  # the owner no longer has what it cut: this generation cannot be completed


class TreeOpen(NamedTuple):
    """The owner of `epoch` opens the stream of a file set; ids as 16 bytes."""

    group: bytes
    fileset: bytes
    epoch: Epoch


class TreeState(NamedTuple):
    """How far a replica is."""

    flags: StateFlags
    held: Generation
    staged: Generation


class TreeBegin(NamedTuple):
    """An index follows.

    Attributes:
        target: the generation it leads to.
        base: entries that changed in a generation above this number follow; 0 with a full index.
        flags: see `BeginFlags`.
        total: entries and tombstones that follow.
        digest: of the tree at `target`, 32 bytes.
        lineage: of `target`.
        cut_seq: record of the cut in the group's log: applied when that is committed.
    """

    target: Generation
    base: int
    flags: BeginFlags
    total: int
    digest: bytes
    lineage: tuple[GenerationStart, ...]
    cut_seq: int


class TreeEntries(NamedTuple):
    """Some of the entries, packed; the first has the ordinal `first` in the index that was begun."""

    first: int
    packed: memoryview


class Want(NamedTuple):
    """A block of the entry with this ordinal."""

    ordinal: int
    block: int


class Piece(NamedTuple):
    """Content of a block from `offset` in it, or the word that it is gone."""

    ordinal: int
    block: int
    offset: int
    status: PieceStatus
    data: Buffer = b""


def _generation(epoch: int, number: int) -> Generation:
    return Generation(Epoch(epoch), number)


def _check(name: str, body: Buffer, needed: int) -> None:
    if len(body) < needed:
        raise MalformedError(f"{name}: {len(body)} bytes, {needed} are needed")


def encode_open(message: TreeOpen) -> bytes:
    """The body of a TREE_OPEN."""
    assert len(message.group) == len(message.fileset) == ID_BYTES
    return OPEN.pack(*message)


def read_open(body: bytes) -> TreeOpen:
    """The opening in a body. Raises MalformedError."""
    _check("TREE_OPEN", body, OPEN.size)
    group, fileset, epoch = OPEN.unpack_from(body)
    return TreeOpen(group, fileset, Epoch(epoch))


def encode_state(state: TreeState) -> bytes:
    """The body of a TREE_STATE."""
    return STATE.pack(state.flags, 0, *state.held, *state.staged)


def read_state(body: bytes) -> TreeState:
    """The state in a body. Raises MalformedError."""
    _check("TREE_STATE", body, STATE.size)
    flags, _, held_epoch, held, staged_epoch, staged = STATE.unpack_from(body)
    known = StateFlags(flags & _STATE_FLAGS)
    return TreeState(known, _generation(held_epoch, held), _generation(staged_epoch, staged))


def encode_begin(begin: TreeBegin) -> bytes:
    """The body of a TREE_BEGIN."""
    assert len(begin.digest) == HASH_BYTES
    assert len(begin.lineage) <= LINEAGE_MAX
    starts = len(begin.lineage)
    head = BEGIN.pack(
        *begin.target, begin.base, begin.flags, starts, begin.total, begin.digest, begin.cut_seq
    )
    return b"".join((head, *(START.pack(*start) for start in begin.lineage)))


def read_begin(body: bytes) -> TreeBegin:
    """The beginning in a body.

    Raises:
        MalformedError: too short, or the numbers contradict each other.
    """
    _check("TREE_BEGIN", body, BEGIN.size)
    epoch, number, base, flags, starts, total, digest, cut_seq = BEGIN.unpack_from(body)
    if starts > LINEAGE_MAX:
        raise MalformedError(f"TREE_BEGIN: a lineage of {starts}; the limit is {LINEAGE_MAX}")
    _check("TREE_BEGIN", body, BEGIN.size + starts * START.size)
    end = BEGIN.size + starts * START.size
    lineage = tuple(
        GenerationStart(Epoch(start), after) for start, after in START.iter_unpack(body[BEGIN.size : end])
    )
    known = BeginFlags(flags & BeginFlags.FULL)
    if base > number or (base and known):
        raise MalformedError(f"TREE_BEGIN: from {base} to {number}, flags {flags}, is no index")
    return TreeBegin(_generation(epoch, number), base, known, total, digest, lineage, cut_seq)


def entries_header(first: int) -> bytes:
    """The first part of a TREE_ENTRIES body; packed entries follow."""
    return ENTRIES.pack(first)


def read_entries(body: bytes) -> TreeEntries:
    """The header of a TREE_ENTRIES body and a view of the packed entries. Raises MalformedError."""
    _check("TREE_ENTRIES", body, ENTRIES.size)
    (first,) = ENTRIES.unpack_from(body)
    return TreeEntries(first, memoryview(body)[ENTRIES.size :])


def encode_want(number: int, wants: Sequence[Want]) -> bytes:
    """The body of a TREE_WANT: blocks of the index that leads to generation `number`."""
    assert len(wants) <= WANTS_MAX
    return b"".join((TARGET.pack(number), *(WANT.pack(*want) for want in wants)))


def read_want(body: bytes) -> tuple[int, list[Want]]:
    """The generation number and the blocks that are asked for. Raises MalformedError."""
    _check("TREE_WANT", body, TARGET.size)
    (number,) = TARGET.unpack_from(body)
    pairs = memoryview(body)[TARGET.size :]
    if len(pairs) % WANT.size:
        raise MalformedError(f"TREE_WANT: {len(pairs)} bytes are no pairs of {WANT.size}")
    return number, [Want(*pair) for pair in WANT.iter_unpack(pairs)]


def blocks_parts(number: int, pieces: Iterable[Piece]) -> list[Buffer]:
    """The body of a TREE_BLOCKS in parts, for `frames.encode_parts`: content is not copied here."""
    parts: list[Buffer] = [TARGET.pack(number)]
    for piece in pieces:
        length = len(piece.data)
        assert length <= PIECE_BYTES_MAX
        parts += (PIECE.pack(piece.ordinal, piece.block, piece.offset, length, piece.status), piece.data)
    return parts


def read_blocks(body: bytes) -> tuple[int, list[Piece]]:
    """The generation number, and pieces with views of their content.

    Raises:
        MalformedError: cut off, an unknown status, or content where none may be.
    """
    _check("TREE_BLOCKS", body, TARGET.size)
    (number,) = TARGET.unpack_from(body)
    view = memoryview(body)
    pieces: list[Piece] = []
    at = TARGET.size
    while at < len(view):
        _check("TREE_BLOCKS", view, at + PIECE.size)
        ordinal, block, offset, length, status = PIECE.unpack_from(view, at)
        at += PIECE.size
        _check("TREE_BLOCKS", view, at + length)
        if status not in (PieceStatus.DATA, PieceStatus.GONE) or bool(length) == (status == PieceStatus.GONE):
            raise MalformedError(f"TREE_BLOCKS: status {status} with {length} bytes of entry {ordinal}")
        pieces.append(Piece(ordinal, block, offset, PieceStatus(status), view[at : at + length]))
        at += length
    return number, pieces
