"""Bodies on a link for files: what was said is read back, and what contradicts itself is refused."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.model.epoch import Epoch
from drsync.model.errors import MalformedError
from drsync.model.fileset import Generation, GenerationStart
from drsync.wire import files
from drsync.wire.files import TreeBegin, TreeOpen, TreeState, Want

U64 = st.integers(0, (1 << 64) - 1)
U32 = st.integers(0, (1 << 32) - 1)
EPOCHS = st.builds(Epoch, U64)
GENERATIONS = st.builds(Generation, EPOCHS, U64)
STARTS = st.lists(st.builds(GenerationStart, EPOCHS, U64), max_size=4).map(tuple)
PIECES = st.lists(st.tuples(U32, U32, U64, st.binary(max_size=30)), min_size=1, max_size=4)
TARGET = Generation(Epoch(7), 9)
BEGIN = TreeBegin(
    Generation(Epoch(7), 9), 5, BeginFlags.NONE, 3, b"d" * 32, (GenerationStart(Epoch(7), 0),), 42
)


@given(st.builds(TreeOpen, st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16), EPOCHS))
def test_an_opening_is_read_back(message: TreeOpen) -> None:
    assert files.read_open(files.encode_open(message) + b"later fields") == message


@given(st.builds(TreeState, U32, GENERATIONS, GENERATIONS))
def test_a_state_is_read_back(state: TreeState) -> None:
    assert files.read_state(files.encode_state(state) + b"later fields") == state


@given(GENERATIONS, U64, U64, st.binary(min_size=32, max_size=32), STARTS, st.integers(0, 1 << 64))
def test_a_beginning_is_read_back(
    target: Generation,
    count: int,
    cut_seq: int,
    digest: bytes,
    lineage: tuple[GenerationStart, ...],
    base: int,
) -> None:
    base = min(base, target.number)
    flags = 0 if base else files.FULL
    begin = TreeBegin(target, base, flags, total, digest, lineage, total)
    assert files.read_begin(files.encode_begin(begin)) == begin


@pytest.mark.parametrize(
    "begin",
    [
        replace(BEGIN, base=10),  # from later to earlier
        replace(BEGIN, flags=files.FULL),  # full, and from somewhere
    ],
)
def test_a_beginning_that_contradicts_itself_is_refused(begin: TreeBegin) -> None:
    with pytest.raises(MalformedError):
        files.read_begin(files.encode_begin(begin))


def test_a_lineage_that_is_too_long_is_refused() -> None:
    raw = bytearray(files.encode_begin(BEGIN))
    raw[28:32] = (files.LINEAGE_MAX + 1).to_bytes(4, "little")
    with pytest.raises(MalformedError):
        files.read_begin(bytes(raw) + bytes(16 * files.LINEAGE_MAX))


def test_entries_stay_packed() -> None:
    first, packed = files.read_entries(files.entries_header(100) + b"packed")
    assert (first, bytes(packed)) == (100, b"packed")


@given(GENERATIONS, st.lists(st.builds(Want, U32, U32), max_size=5))
def test_wants_are_read_back(target: Generation, wants: list[Want]) -> None:
    assert files.read_wants(files.encode_wants(target, wants)) == (target, wants)


def packed(pieces: list[tuple[int, int, int, bytes]]) -> list[bytes]:
    """No content: gone."""
    return [
        files.piece(ordinal, block, offset, data) if data else files.gone_piece(ordinal, block)
        for ordinal, block, offset, data in pieces
    ]


@given(GENERATIONS, PIECES)
def test_pieces_are_read_back(target: Generation, pieces: list[tuple[int, int, int, bytes]]) -> None:
    found, read = files.read_blocks(files.blocks_header(target) + b"".join(packed(pieces)))
    assert found == target
    assert [(p.ordinal, p.block, p.offset, bytes(p.data)) for p in read] == [
        (ordinal, block, offset if data else 0, data) for ordinal, block, offset, data in pieces
    ]
    assert [p.is_gone for p in read] == [not data for *_, data in pieces]


@given(PIECES, st.data())
def test_pieces_that_were_cut_off_are_refused(
    pieces: list[tuple[int, int, int, bytes]], data: st.DataObject
) -> None:
    parts = packed(pieces)
    body = files.blocks_header(TARGET) + b"".join(parts)
    last = len(body) - len(parts[-1])
    with pytest.raises(MalformedError):
        files.read_blocks(body[: data.draw(st.integers(last + 1, len(body) - 1))])


@pytest.mark.parametrize(("status", "data"), [(0, b""), (1, b"content"), (2, b""), (2, b"content")])
def test_a_piece_has_content_or_is_gone(status: int, data: bytes) -> None:
    head = files.PIECE.pack(0, 0, 0, len(data), status)
    with pytest.raises(MalformedError):
        files.read_blocks(files.blocks_header(TARGET) + head + data)


def test_bodies_that_are_too_short_are_refused() -> None:
    for read, whole in (
        (files.read_open, files.OPEN.size),
        (files.read_state, files.STATE.size),
        (files.read_begin, files.BEGIN.size),
        (files.read_entries, files.ENTRIES.size),
        (files.read_wants, files.TARGET.size),
        (files.read_wants, files.TARGET.size + 2),
        (files.read_blocks, files.TARGET.size),
        (files.read_blocks, files.TARGET.size + 2),
    ):
        with pytest.raises(MalformedError):
            read(bytes(whole - 1))
