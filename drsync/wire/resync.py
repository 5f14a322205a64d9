"""Binary bodies of a resync session: blocks, digests, rounds and the end. Only layouts may live here.

Little endian; `docs/protocol.md` has the same tables. Each body begins with the epoch that the source owns. A
body of fixed layout may grow at its end; those that end in a list may not.
"""

import json
from collections.abc import Iterable
from enum import IntEnum, IntFlag
from struct import Struct
from typing import Final, NamedTuple

from xxhash import xxh3_128_digest

from drsync.model.epoch import Epoch
from drsync.model.errors import MalformedError
from drsync.model.position import CHAIN_BYTES, Position
from drsync.wire.frames import BODY_BYTES_MAX, Buffer, FrameType

BEGIN: Final = Struct("<Q16s16s16sQIIQQ16s")
READY: Final = Struct("<Q16s")
WANT: Final = Struct("<QIIQI")
BLOCK: Final = Struct("<IIQII16s")
ROUND: Final = Struct("<QQIIQQ16s")
END: Final = Struct("<Q16sQQQQ16s16s")
STAGED: Final = Struct("<QQQQ")
DONE: Final = Struct("<Q16sQQ")
EPOCH: Final = Struct("<Q")
RUN: Final = Struct("<IQQ")

ID_BYTES: Final = 16
GRANULE: Final = 64 << 10  # bytes; the same as in `core.extents`
_GRANULES_MAX: Final = (1 << 64) // GRANULE  # because offsets have 64 bits
DIGEST_BYTES: Final = 32  # blake3-256, because digests are compared between centers (F.A 16)
MASK_BYTES: Final = 2  # before pages: which ones
HASH_BYTES: Final = 16  # xxh3-128, big endian as everywhere: against rot on the way and in the stage
DIGESTS_MAX: Final = (
    8192  # granules of one question, because 8192 digests and head are below one frame's limit
)
BLOCKS_BYTES_MAX: Final = 1 << 20
"""Content of one BLOCKS, because a frame has little more; 16 granules."""
BLOCKS_MAX: Final = 4096  # headers of one BLOCKS, because 160 KiB of them fit beside the content
RUNS_MAX: Final = 2048
"""Runs in one list on a control link, because an answer has three of them, and 256 KiB in all."""
TEXT_MAX: Final = 500  # characters of each text of a refusal, because two of the longest must fit
CODE_MAX: Final = 64  # characters of its code, because it is one word


class BeginFlags(IntFlag):
    """What kind of session begins; unknown ones are ignored."""

    NONE = 0
    RESUME = 1  # the target kept a stage of this session and goes on with it
    DIGESTS = 2  # what differs is found by digests
    EVERYTHING = 4  # what is not sent is zeros


_BEGIN_FLAGS: Final = sum(BeginFlags)


class BlockKind(IntEnum):
    """What stands for granules."""

    DATA = 0
    ZEROS = 1
    PAGES = 2  # some pages of one granule (`resync_pages`); only to a target that answers PAGES_WANT


class Begin(NamedTuple):
    """A session begins, or goes on.

    Attributes:
        epoch: that the source owns.
        group, session: of 16 bytes each.
        member: session of the target's process that was asked, 16 bytes.
        generation: of the marks that this session clears.
        rounds: how often it began anew.
        flags: see `BeginFlags`.
        p0: redo is what comes after this.
    """

    epoch: Epoch
    group: bytes
    member: bytes
    session: bytes
    generation: int
    rounds: int
    flags: BeginFlags
    p0: Position


class Ready(NamedTuple):
    """The stage of `session` is open."""

    epoch: Epoch
    session: bytes


class Refuse(NamedTuple):
    """The target takes no such session: a word for programs, one for people, and what helps."""

    epoch: Epoch
    code: str
    text: str
    remedy: str


class Want(NamedTuple):
    """Digests of `granules` granules of a volume from `first` on are asked for."""

    epoch: Epoch
    volume: int
    first: int
    granules: int


class Digests(NamedTuple):
    """Digests of `len(values) / 32` granules of a volume from `first` on, back to back."""

    epoch: Epoch
    volume: int
    first: int
    values: memoryview


class Block(NamedTuple):
    """Granules of a volume as they are now.

    Attributes:
        volume, first, granules: which ones.
        kind: see `BlockKind`; zeros have no content.
        hash: xxh3-128 of the content, big endian; zeros have 16 zero bytes. Of pages: that of the granule.
        data: the content; the last granule of a volume may be short.
    """

    volume: int
    first: int
    granules: int
    kind: BlockKind
    hash: bytes = bytes(HASH_BYTES)
    data: Buffer = b""


class Round(NamedTuple):
    """The redo begins anew after `p0`; what was staged stays."""

    epoch: Epoch
    generation: int
    rounds: int
    p0: Position


class End(NamedTuple):
    """Everything was sent: the stage holds `size` granules, and the target will stand at `p1`.

    `whole` is `runs_hash` of all that the stage holds: sets are compared, not their sizes.
    """

    epoch: Epoch
    session: bytes
    generation: int
    size: int
    p1: Position
    whole: bytes


class Staged(NamedTuple):
    """What the target has taken since RESYNC_READY: granules, their bytes, and bytes of redo."""

    epoch: Epoch
    granules: int
    block_bytes: int
    redo_bytes: int


class Done(NamedTuple):
    """The target stands at record `p1`."""

    epoch: Epoch
    session: bytes
    generation: int
    p1: int


assert DIGESTS_MAX * DIGEST_BYTES + WANT.size <= BODY_BYTES_MAX[FrameType.DIGESTS]
assert EPOCH.size + BLOCKS_BYTES_MAX + BLOCKS_MAX * BLOCK.size <= BODY_BYTES_MAX[FrameType.BLOCKS]


def _check(name: str, body: Buffer, needed: int) -> None:
    if len(body) < needed:
        raise MalformedError(f"{name}: {len(body)} bytes, {needed} are needed")


def _position(epoch: int, seq: int, chain: bytes) -> Position:
    return Position(Epoch(epoch), seq, chain)


def _packed(position: Position) -> tuple[int, int, bytes]:
    assert len(position.chain) == CHAIN_BYTES
    return position.epoch, position.seq, position.chain


def encode_begin(begin: Begin) -> bytes:
    """The body of a RESYNC_BEGIN."""
    assert len(begin.group) == len(begin.member) == len(begin.session) == ID_BYTES
    return BEGIN.pack(*begin[:-1], *_packed(begin.p0))


def read_begin(body: bytes) -> Begin:
    """The beginning in a body. Raises MalformedError."""
    _check("RESYNC_BEGIN", body, BEGIN.size)
    epoch, group, member, session, generation, rounds, flags, *p0 = BEGIN.unpack_from(body)
    known = BeginFlags(flags & _BEGIN_FLAGS)
    return Begin(Epoch(epoch), group, member, session, generation, rounds, known, _position(*p0))


def encode_ready(ready: Ready) -> bytes:
    """The body of a RESYNC_READY."""
    assert len(ready.session) == ID_BYTES
    return READY.pack(*ready)


def read_ready(body: bytes) -> Ready:
    """The word in a body. Raises MalformedError."""
    _check("RESYNC_READY", body, READY.size)
    epoch, session = READY.unpack_from(body)
    return Ready(Epoch(epoch), session)


def encode_refuse(refuse: Refuse) -> bytes:
    """The body of a RESYNC_REFUSE; texts that are too long are cut."""
    words = {
        "code": refuse.code[:CODE_MAX],
        "text": refuse.text[:TEXT_MAX],
        "remedy": refuse.remedy[:TEXT_MAX],
    }
    return EPOCH.pack(refuse.epoch) + json.dumps(words, sort_keys=True, separators=(",", ":")).encode()


def read_refuse(body: bytes) -> Refuse:
    """The refusal in a body; control characters are replaced, because people read it on terminals.

    Raises:
        MalformedError: too short, or not a JSON object with three texts.
    """
    _check("RESYNC_REFUSE", body, EPOCH.size)
    (epoch,) = EPOCH.unpack_from(body)
    try:
        words = json.loads(body[EPOCH.size :])
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"RESYNC_REFUSE: not JSON: {error}") from error
    if not isinstance(words, dict):
        raise MalformedError("RESYNC_REFUSE: not a JSON object")
    code, text, remedy = (_text(words, name) for name in ("code", "text", "remedy"))
    return Refuse(Epoch(epoch), code[:CODE_MAX], text[:TEXT_MAX], remedy[:TEXT_MAX])


def _text(words: dict[str, object], name: str) -> str:
    value = words.get(name)
    if not isinstance(value, str):
        raise MalformedError(f"RESYNC_REFUSE: {name} is no text")
    return "".join(character if character.isprintable() else "?" for character in value)


def encode_want(want: Want) -> bytes:
    """The body of a DIGEST_WANT."""
    assert 0 < want.granules <= DIGESTS_MAX
    return WANT.pack(want.epoch, want.volume, 0, want.first, want.granules)


def read_want(body: bytes) -> Want:
    """The question in a body.

    Raises:
        MalformedError: too short, or nothing or too much is asked for.
    """
    _check("DIGEST_WANT", body, WANT.size)
    epoch, volume, _, first, count = WANT.unpack_from(body)
    _check_count("DIGEST_WANT", first, count)
    return Want(Epoch(epoch), volume, first, count)


def _check_count(name: str, first: int, count: int) -> None:
    if not 0 < count <= DIGESTS_MAX or first + count > _GRANULES_MAX:
        raise MalformedError(f"{name}: {count} granules from {first} on; at most {DIGESTS_MAX}")


def digests_parts(digests: Digests) -> list[Buffer]:
    """The body of a DIGESTS in parts, for `frames.encode_parts`."""
    count, odd = divmod(len(digests.values), DIGEST_BYTES)
    assert 0 < count <= DIGESTS_MAX
    assert not odd
    return [WANT.pack(digests.epoch, digests.volume, 0, digests.first, count), digests.values]


def read_digests(body: bytes) -> Digests:
    """The digests in a body, as a view.

    Raises:
        MalformedError: not as many as the head says.
    """
    _check("DIGESTS", body, WANT.size)
    epoch, volume, _, first, count = WANT.unpack_from(body)
    _check_count("DIGESTS", first, count)
    _check("DIGESTS", body, WANT.size + count * DIGEST_BYTES)
    return Digests(
        Epoch(epoch), volume, first, memoryview(body)[WANT.size : WANT.size + count * DIGEST_BYTES]
    )


def blocks_parts(epoch: Epoch, blocks: Iterable[Block]) -> list[Buffer]:
    """The body of a BLOCKS in parts, for `frames.encode_parts`: content is not copied here."""
    parts: list[Buffer] = [EPOCH.pack(epoch)]
    for block in blocks:
        assert _is_fitting(block.kind, block.granules, len(block.data))
        head = BLOCK.pack(block.volume, block.kind, block.first, block.granules, len(block.data), block.hash)
        parts += (head, block.data)
    return parts


def read_blocks(body: bytes) -> tuple[Epoch, list[Block]]:
    """The epoch, and blocks with views of their content; hashes are not compared here.

    Raises:
        MalformedError: cut off, an unknown kind, or content that is not what so many granules have.
    """
    _check("BLOCKS", body, EPOCH.size)
    (epoch,) = EPOCH.unpack_from(body)
    view = memoryview(body)
    blocks: list[Block] = []
    at = EPOCH.size
    while at < len(view):
        _check("BLOCKS", view, at + BLOCK.size)
        volume, kind, first, granules, length, digest = BLOCK.unpack_from(view, at)
        at += BLOCK.size
        _check("BLOCKS", view, at + length)
        if not _is_fitting(kind, granules, length) or first + granules > _GRANULES_MAX:
            raise MalformedError(
                f"BLOCKS: kind {kind} with {length} bytes for {granules} granules from {first} on"
            )
        blocks.append(Block(volume, first, granules, BlockKind(kind), digest, view[at : at + length]))
        at += length
    return Epoch(epoch), blocks


def _is_fitting(kind: int, granules: int, length: int) -> bool:
    """Zeros have no content; data fills all granules but perhaps the last of its volume; pages are of one."""
    if kind == BlockKind.ZEROS:
        return granules > 0 and not length
    if kind == BlockKind.PAGES:
        return granules == 1 and MASK_BYTES <= length < GRANULE
    is_filled = (granules - 1) * GRANULE < length <= granules * GRANULE
    return kind == BlockKind.DATA and is_filled and length <= BLOCKS_BYTES_MAX


def encode_round(message: Round) -> bytes:
    """The body of a RESYNC_ROUND."""
    return ROUND.pack(message.epoch, message.generation, message.rounds, 0, *_packed(message.p0))


def read_round(body: bytes) -> Round:
    """The round in a body. Raises MalformedError."""
    _check("RESYNC_ROUND", body, ROUND.size)
    epoch, generation, rounds, _, *p0 = ROUND.unpack_from(body)
    return Round(Epoch(epoch), generation, rounds, _position(*p0))


def encode_end(end: End) -> bytes:
    """The body of a RESYNC_END."""
    assert len(end.session) == ID_BYTES
    assert len(end.whole) == HASH_BYTES
    return END.pack(*end[:4], *_packed(end.p1), end.whole)


def read_end(body: bytes) -> End:
    """The end in a body. Raises MalformedError."""
    _check("RESYNC_END", body, END.size)
    epoch, session, generation, size, *p1, whole = END.unpack_from(body)
    return End(Epoch(epoch), session, generation, size, _position(*p1), whole)


def encode_staged(staged: Staged) -> bytes:
    """The body of a STAGED."""
    return STAGED.pack(*staged)


def read_staged(body: bytes) -> Staged:
    """The progress in a body. Raises MalformedError."""
    _check("STAGED", body, STAGED.size)
    epoch, granules, block_bytes, redo_bytes = STAGED.unpack_from(body)
    return Staged(Epoch(epoch), granules, block_bytes, redo_bytes)


def encode_done(done: Done) -> bytes:
    """The body of a RESYNC_DONE."""
    assert len(done.session) == ID_BYTES
    return DONE.pack(*done)


def read_done(body: bytes) -> Done:
    """The confirmation in a body. Raises MalformedError."""
    _check("RESYNC_DONE", body, DONE.size)
    epoch, session, generation, p1 = DONE.unpack_from(body)
    return Done(Epoch(epoch), session, generation, p1)


# --- runs


def runs_hash(runs: Iterable[tuple[int, int, int]]) -> bytes:
    """xxh3-128, big endian, over a set of granules: u32 volume, u64 first, u64 end of each run, in order.

    The set must be in its one form (`core.extents`).
    """
    return xxh3_128_digest(b"".join(RUN.pack(*run) for run in runs))


class WireRun(NamedTuple):
    """Granules `first` up to and without `end` of a volume; `core.extents` makes sets of them."""

    volume: int
    first: int
    end: int


def runs_to_json(runs: Iterable[tuple[int, int, int]]) -> list[list[int]]:
    """Runs as ``[[volume, first granule, end], …]``; at most `RUNS_MAX`: that is the caller's promise."""
    listed = [list(run) for run in runs]
    assert len(listed) <= RUNS_MAX
    return listed


def runs_from_json(value: object) -> list[WireRun]:
    """Inverse of `runs_to_json`.

    Raises:
        MalformedError: not such a list, too long, or a run that is none.
    """
    if not isinstance(value, list) or len(value) > RUNS_MAX:
        raise MalformedError(f"runs: not a list of at most {RUNS_MAX}")
    return [_run(item) for item in value]


def _run(item: object) -> WireRun:
    if isinstance(item, list) and len(item) == len(WireRun._fields) and all(type(n) is int for n in item):
        run = WireRun(*item)
        if 0 <= run.volume < 1 << 32 and 0 <= run.first < run.end <= _GRANULES_MAX:
            return run
    raise MalformedError(f"runs: {str(item)[:100]} is no run")
