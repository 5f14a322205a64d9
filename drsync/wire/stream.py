"""Binary bodies that open, end and steer streams on a bulk link. Only layouts may live here.

Little endian; `docs/protocol.md` has the same tables. As in `drsync.wire.data`, a body may grow at its end.
"""

import json
from collections.abc import Mapping
from struct import Struct
from typing import Final, NamedTuple

from drsync.model.epoch import Epoch
from drsync.model.errors import MalformedError

GROUP_BYTES: Final = 16
SESSION_BYTES: Final = 16
ATTACH: Final = Struct("<Q16s")
REJECT: Final = Struct("<QQ")
RETAIN: Final = Struct("<QQ")
CURSORS: Final = Struct("<Q")
FETCH: Final = Struct("<16sQQ")
FETCHED: Final = Struct("<Q")


class Attach(NamedTuple):
    """The owner of `epoch` opens its stream for a group (16 bytes of its id).

    `session` is that of the member which stated where it stands (16 bytes); empty from an owner that does not
    say it. Another process of the member must not take the stream: what it holds was never compared.
    """

    epoch: Epoch
    group: bytes
    session: bytes = b""


class Reject(NamedTuple):
    """A member takes nothing of `epoch`: it has promised `promised`."""

    epoch: Epoch
    promised: Epoch


class Retain(NamedTuple):
    """Every member holds records up to `seq` durably: nobody will ask for them again."""

    epoch: Epoch
    seq: int


class ToldCursor(NamedTuple):
    """What the owner knows of a member.

    Attributes:
        incarnation: of the member's store.
        seq: it holds the owner's log durably up to here.
        is_fresh: the member said so itself in this epoch.
    """

    incarnation: str
    seq: int
    is_fresh: bool


class Cursors(NamedTuple):
    """How far each member holds the log of `epoch`, its owner included: whom journal is kept for."""

    epoch: Epoch
    told: Mapping[str, ToldCursor]


class Fetch(NamedTuple):
    """A candidate asks for the records after `after_seq` up to `through_seq` of a group."""

    group: bytes
    after_seq: int
    through_seq: int


class Fetched(NamedTuple):
    """The donor has sent what it sends for one FETCH; the last record of it."""

    last_seq: int


def encode_attach(attach: Attach) -> bytes:
    """The body of an ATTACH."""
    assert len(attach.group) == GROUP_BYTES
    assert len(attach.session) in (0, SESSION_BYTES)
    return ATTACH.pack(attach.epoch, attach.group) + attach.session


def read_attach(body: bytes) -> Attach:
    """Raises MalformedError."""
    epoch, group = ATTACH.unpack(_exactly("ATTACH", ATTACH, body))
    session = body[ATTACH.size : ATTACH.size + SESSION_BYTES]
    return Attach(Epoch(epoch), group, session if len(session) == SESSION_BYTES else b"")


def session_bytes(session: str) -> bytes:
    """A session of 32 hex digits as bytes; empty when it is something else."""
    try:
        found = bytes.fromhex(session)
    except ValueError:
        return b""
    return found if len(found) == SESSION_BYTES else b""


def encode_reject(reject: Reject) -> bytes:
    """The body of a REJECT."""
    return REJECT.pack(*reject)


def read_reject(body: bytes) -> Reject:
    """Raises MalformedError."""
    epoch, promised = REJECT.unpack(_exactly("REJECT", REJECT, body))
    return Reject(Epoch(epoch), Epoch(promised))


def encode_retain(retain: Retain) -> bytes:
    """The body of a RETAIN."""
    return RETAIN.pack(*retain)


def read_retain(body: bytes) -> Retain:
    """Raises MalformedError."""
    epoch, seq = RETAIN.unpack(_exactly("RETAIN", RETAIN, body))
    return Retain(Epoch(epoch), seq)


def encode_cursors(cursors: Cursors) -> bytes:
    """The body of a CURSORS."""
    told = {center: list(cursor) for center, cursor in cursors.told.items()}
    return CURSORS.pack(cursors.epoch) + json.dumps(told, sort_keys=True, separators=(",", ":")).encode()


def read_cursors(body: bytes) -> Cursors:
    """Raises MalformedError."""
    (epoch,) = CURSORS.unpack(_exactly("CURSORS", CURSORS, body))
    try:
        told = json.loads(body[CURSORS.size :])
        return Cursors(Epoch(epoch), {center: _told(*fields) for center, fields in told.items()})
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise MalformedError(f"CURSORS: {error}") from error


def _told(incarnation: object, seq: object, is_fresh: object, *later: object) -> ToldCursor:
    del later
    if not isinstance(incarnation, str) or type(seq) is not int or not 0 <= seq < 1 << 64:
        raise ValueError("a cursor has an incarnation and a record number")
    return ToldCursor(incarnation, seq, is_fresh is True)


def encode_fetch(fetch: Fetch) -> bytes:
    """The body of a FETCH."""
    assert len(fetch.group) == GROUP_BYTES
    return FETCH.pack(*fetch)


def read_fetch(body: bytes) -> Fetch:
    """Raises MalformedError."""
    group, after_seq, through_seq = FETCH.unpack(_exactly("FETCH", FETCH, body))
    return Fetch(group, after_seq, through_seq)


def encode_fetched(fetched: Fetched) -> bytes:
    """The body of a FETCHED."""
    return FETCHED.pack(*fetched)


def read_fetched(body: bytes) -> Fetched:
    """Raises MalformedError."""
    (last_seq,) = FETCHED.unpack(_exactly("FETCHED", FETCHED, body))
    return Fetched(last_seq)


def _exactly(name: str, layout: Struct, body: bytes) -> bytes:
    if len(body) < layout.size:
        raise MalformedError(f"{name}: {len(body)} bytes, the layout has {layout.size}")
    return body[: layout.size]
