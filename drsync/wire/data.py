"""Binary bodies: what travels once per batch or acknowledgment, in fixed layouts. Only layouts may live here.

Little endian; `docs/protocol.md` has the same tables. A body may grow at its end: a reader takes the bytes
it knows and ignores the rest. The batches in a BATCHES body are opaque here: `drsync.delta.batch` reads them.
"""

from struct import Struct
from typing import Final, NamedTuple

from drsync.model.epoch import Epoch
from drsync.model.errors import MalformedError
from drsync.model.position import CHAIN_BYTES

BATCHES: Final = Struct("<QQQQ")
ACK: Final = Struct("<QQQQ16s")
COMMIT: Final = Struct("<QQ")
SYNC: Final = Struct("<QQ")

BATCHES_HEADER_BYTES: Final = BATCHES.size
assert BATCHES_HEADER_BYTES % 8 == 0  # because batches are aligned to 8 bytes


class BatchesHeader(NamedTuple):
    """Stands before the batches of a BATCHES body.

    Attributes:
        epoch: of the owner that sends; the batches may be older.
        commit: highest record committed so far.
        sync_seq: make everything up to this record durable and say so; 0 asks nothing.
        first_seq: first record of the first batch.
    """

    epoch: Epoch
    commit: int
    sync_seq: int
    first_seq: int


class Ack(NamedTuple):
    """A member's progress: positions as record numbers, and the chain at `appended`."""

    epoch: Epoch
    appended: int
    durable: int
    applied: int
    chain: bytes


class Commit(NamedTuple):
    """Everything up to `commit` is committed."""

    epoch: Epoch
    commit: int


class Sync(NamedTuple):
    """Make everything up to `seq` durable and acknowledge it."""

    epoch: Epoch
    seq: int


def _check(name: str, body: bytes, layout: Struct) -> None:
    if len(body) < layout.size:
        raise MalformedError(f"{name}: {len(body)} bytes, the layout has {layout.size}")


def batches_header(header: BatchesHeader) -> bytes:
    """The first part of a BATCHES body; the batches follow."""
    return BATCHES.pack(*header)


def read_batches(body: bytes) -> tuple[BatchesHeader, memoryview]:
    """The header of a BATCHES body and a view of the batches. Raises MalformedError."""
    _check("BATCHES", body, BATCHES)
    epoch, commit, sync_seq, first_seq = BATCHES.unpack_from(body)
    return BatchesHeader(Epoch(epoch), commit, sync_seq, first_seq), memoryview(body)[BATCHES.size :]


def encode_ack(ack: Ack) -> bytes:
    """The body of an ACK."""
    assert len(ack.chain) == CHAIN_BYTES
    return ACK.pack(*ack)


def read_ack(body: bytes) -> Ack:
    """The acknowledgment in a body.

    Raises:
        MalformedError: too short, or the positions contradict each other.
    """
    _check("ACK", body, ACK)
    epoch, appended, durable, applied, chain = ACK.unpack_from(body)
    if not applied <= durable <= appended:
        raise MalformedError(f"ACK: applied {applied} <= durable {durable} <= appended {appended} is not so")
    return Ack(Epoch(epoch), appended, durable, applied, chain)


def encode_commit(commit: Commit) -> bytes:
    """The body of a COMMIT."""
    return COMMIT.pack(*commit)


def read_commit(body: bytes) -> Commit:
    """The commit in a body. Raises MalformedError."""
    _check("COMMIT", body, COMMIT)
    epoch, commit = COMMIT.unpack_from(body)
    return Commit(Epoch(epoch), commit)


def encode_sync(sync: Sync) -> bytes:
    """The body of a SYNC."""
    return SYNC.pack(*sync)


def read_sync(body: bytes) -> Sync:
    """The request in a body. Raises MalformedError."""
    _check("SYNC", body, SYNC)
    epoch, seq = SYNC.unpack_from(body)
    return Sync(Epoch(epoch), seq)
