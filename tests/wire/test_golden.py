"""Frames as they were sent on the day the format was written down; a change here breaks every peer."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from drsync.model.copy import CopyState, Statement
from drsync.model.epoch import make
from drsync.model.errors import RefusedError
from drsync.model.fileset import Generation, GenerationStart
from drsync.model.position import EpochRun, Position
from drsync.wire import data, faults, files, resync, resync_pages, stream
from drsync.wire.control import Hello, Welcome, dump, to_json
from drsync.wire.frames import CRITICAL, Decoder, FrameType, encode, encode_parts

GOLDEN = Path(__file__).parents[1] / "golden" / "wire" / "frames.txt"
EPOCH = make(0, 1, 7)
CHAIN = bytes(range(16))
GROUP = bytes.fromhex("0123456789abcdef0123456789abcdef")
SET = bytes.fromhex("f11e5e7" + "0" * 25)
TREE = Generation(EPOCH, 12)
SESSION = bytes.fromhex("5e55" + "0" * 28)
MEMBER = bytes.fromhex("3e3b" + "0" * 28)
POSITION = Position(EPOCH, 42, CHAIN)
STATEMENT = Statement(
    "same-city", "5e551017", "1ca12", CopyState.REPLICA, EPOCH, EPOCH, 1, (EpochRun(EPOCH, 1, 42, CHAIN),),
    42, 40, 38, 40, Position(EPOCH, 42, CHAIN), token=3,
)  # fmt: skip
HELLO = Hello(
    protocol_min=1, protocol_max=1, software="0.1.0", cluster="c0ffee", center="production",
    session="5e551017", kind="control", frame_bytes_max=262144, requests_max=64,
)  # fmt: skip
REFUSAL = RefusedError("stale epoch 7, promised 1.7", code="stale_epoch", remedy="Ask for the charter.")

FRAMES: Mapping[str, Callable[[], bytes]] = {
    "hello": lambda: encode(FrameType.HELLO, dump(HELLO.fields()), flags=CRITICAL),
    "welcome": lambda: encode(
        FrameType.WELCOME, dump(Welcome(protocol=1, features=()).fields()), flags=CRITICAL
    ),
    "request": lambda: encode(
        FrameType.REQUEST, dump({"method": "group.statement", "body": {"group": GROUP.hex()}}), id=1
    ),
    "response": lambda: encode(
        FrameType.RESPONSE, dump({"body": {"statement": to_json(STATEMENT)}}), id=1
    ),
    "error": lambda: encode(FrameType.ERROR, dump(faults.to_body(REFUSAL)), id=2),
    "ping": lambda: encode(FrameType.PING, id=9),
    "pong": lambda: encode(FrameType.PONG, id=9),
    "bye": lambda: encode(FrameType.BYE, dump({"reason": "stopping"})),
    "attach": lambda: encode(FrameType.ATTACH, stream.encode_attach(stream.Attach(EPOCH, GROUP)), stream=1),
    "batches": lambda: encode(
        FrameType.BATCHES, data.batches_header(data.BatchesHeader(EPOCH, 40, 0, 42)) + b"opaque..", stream=1
    ),
    "ack": lambda: encode(FrameType.ACK, data.encode_ack(data.Ack(EPOCH, 42, 40, 38, CHAIN)), stream=1),
    "commit": lambda: encode(FrameType.COMMIT, data.encode_commit(data.Commit(EPOCH, 42)), stream=1),
    "sync": lambda: encode(FrameType.SYNC, data.encode_sync(data.Sync(EPOCH, 42)), stream=1),
    "cursors": lambda: encode(
        FrameType.CURSORS,
        stream.encode_cursors(
            stream.Cursors(EPOCH, {"remote": stream.ToldCursor("1ca12", 30, is_fresh=True)})
        ),
        stream=1,
    ),
    "retain": lambda: encode(FrameType.RETAIN, stream.encode_retain(stream.Retain(EPOCH, 30)), stream=1),
    "reject": lambda: encode(FrameType.REJECT, stream.encode_reject(stream.Reject(EPOCH, EPOCH)), stream=1),
    "fetch": lambda: encode(FrameType.FETCH, stream.encode_fetch(stream.Fetch(GROUP, 40, 42)), stream=3),
    "fetched": lambda: encode(FrameType.FETCHED, stream.encode_fetched(stream.Fetched(42)), stream=3),
    "detach": lambda: encode(FrameType.DETACH, stream=1),
    "tree_open": lambda: encode(
        FrameType.TREE_OPEN, files.encode_open(files.TreeOpen(GROUP, SET, EPOCH)), stream=1
    ),
    "tree_state": lambda: encode(
        FrameType.TREE_STATE,
        files.encode_state(files.TreeState(files.StateFlags.WANTS_FULL, Generation(EPOCH, 11), TREE)),
        stream=1,
    ),
    "tree_begin": lambda: encode(
        FrameType.TREE_BEGIN,
        files.encode_begin(
            files.TreeBegin(
                TREE, 11, files.BeginFlags.NONE, 3, bytes(range(32)), (GenerationStart(EPOCH, 0),), 42
            )
        ),
        stream=1,
    ),
    "tree_entries": lambda: encode(
        FrameType.TREE_ENTRIES, files.entries_header(2) + b"opaque..", stream=1
    ),
    "tree_want": lambda: encode(
        FrameType.TREE_WANT, files.encode_want(12, [files.Want(2, 0), files.Want(2, 1)]), stream=1
    ),
    "tree_blocks": lambda: encode_parts(
        FrameType.TREE_BLOCKS,
        files.blocks_parts(
            12,
            [
                files.Piece(2, 0, 0, files.PieceStatus.DATA, b"content"),
                files.Piece(2, 1, 0, files.PieceStatus.GONE),
            ],
        ),
        stream=1,
    ),
    "resync_begin": lambda: encode(
        FrameType.RESYNC_BEGIN,
        resync.encode_begin(
            resync.Begin(
                EPOCH, GROUP, MEMBER, SESSION, 3, 1,
                resync.BeginFlags.RESUME | resync.BeginFlags.EVERYTHING, POSITION,
            )
        ),
        stream=1,
    ),
    "resync_ready": lambda: encode(
        FrameType.RESYNC_READY, resync.encode_ready(resync.Ready(EPOCH, SESSION)), stream=1
    ),
    "resync_refuse": lambda: encode(
        FrameType.RESYNC_REFUSE,
        resync.encode_refuse(resync.Refuse(EPOCH, "stage_too_large", "no room", "give it room")),
        stream=1,
    ),
    "digest_want": lambda: encode(
        FrameType.DIGEST_WANT, resync.encode_want(resync.Want(EPOCH, 1, 256, 2)), stream=1
    ),
    "pages_want": lambda: encode(
        FrameType.PAGES_WANT,
        resync_pages.encode_want(
            resync_pages.PagesWant(EPOCH, 3, (resync.WireRun(0, 1, 3), resync.WireRun(1, 256, 257)))
        ),
        stream=1,
    ),
    "pages": lambda: encode_parts(
        FrameType.PAGES,
        resync_pages.hashes_parts(resync_pages.PageHashes(EPOCH, 3, memoryview(bytes(range(256))))),
        stream=1,
    ),
    "digests": lambda: encode_parts(
        FrameType.DIGESTS,
        resync.digests_parts(resync.Digests(EPOCH, 1, 256, memoryview(bytes(range(64))))),
        stream=1,
    ),
    "blocks": lambda: encode_parts(
        FrameType.BLOCKS,
        resync.blocks_parts(
            EPOCH,
            [
                resync.Block(1, 256, 1, resync.BlockKind.DATA, CHAIN, b"the last granule is short"),
                resync.Block(0, 7, 1024, resync.BlockKind.ZEROS),
            ],
        ),
        stream=1,
    ),
    "resync_round": lambda: encode(
        FrameType.RESYNC_ROUND, resync.encode_round(resync.Round(EPOCH, 4, 2, POSITION)), stream=1
    ),
    "resync_end": lambda: encode(
        FrameType.RESYNC_END,
        resync.encode_end(resync.End(EPOCH, SESSION, 4, 1025, POSITION, CHAIN)),
        stream=1,
    ),
    "staged": lambda: encode(
        FrameType.STAGED, resync.encode_staged(resync.Staged(EPOCH, 1025, 65536, 4096)), stream=1
    ),
    "resync_done": lambda: encode(
        FrameType.RESYNC_DONE, resync.encode_done(resync.Done(EPOCH, SESSION, 4, 42)), stream=1
    ),
}  # fmt: skip


def golden() -> dict[str, bytes]:
    lines = (line.split(": ") for line in GOLDEN.read_text(encoding="ascii").splitlines() if line)
    return {name: bytes.fromhex(value) for name, value in lines}


@pytest.mark.parametrize("name", FRAMES)
def test_frames_are_still_the_same_bytes(name: str) -> None:
    assert FRAMES[name]().hex() == golden()[name].hex()


def test_every_golden_frame_is_still_read() -> None:
    frames = Decoder().feed(b"".join(golden().values()))
    assert [frame.type.name.lower() for frame in frames] == list(golden())
    assert set(golden()) == set(FRAMES)
    assert {FrameType[name.upper()] for name in FRAMES} == set(FrameType)


def test_the_example_in_the_document_is_the_golden_one() -> None:
    document = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
    example = document.split("<!-- golden: ack -->\n```\n")[1].split("```")[0]
    assert bytes.fromhex(example) == golden()["ack"]


@pytest.mark.parametrize("kind", FrameType)
def test_the_document_has_every_type(kind: FrameType) -> None:
    document = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
    rows = [
        line
        for line in document.splitlines()
        if line.startswith(("| 1", "| 2", "| 3", "| 4", "| 5", "| 6", "| 8"))
    ]
    assert any(str(int(kind)) in row.split("|")[1] and kind.name in row.split("|")[2] for row in rows)
