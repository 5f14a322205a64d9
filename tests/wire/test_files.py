"""Bodies on a link for files: what was said is read back, and what contradicts itself is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.model.epoch import Epoch
from drsync.model.errors import MalformedError
from drsync.model.fileset import Generation, GenerationStart
from drsync.wire import files
from drsync.wire.files import BeginFlags, Piece, PieceStatus, StateFlags, TreeBegin, TreeOpen, TreeState, Want

U64 = st.integers(0, (1 << 64) - 1)
U32 = st.integers(0, (1 << 32) - 1)
EPOCHS = st.builds(Epoch, U64)
GENERATIONS = st.builds(Generation, EPOCHS, U64)
STARTS = st.lists(st.builds(GenerationStart, EPOCHS, U64), max_size=4).map(tuple)
DATA = st.builds(Piece, U32, U32, U64, st.just(PieceStatus.DATA), st.binary(min_size=1, max_size=30))
GONE = st.builds(Piece, U32, U32, U64, st.just(PieceStatus.GONE), st.just(b""))
BEGIN = TreeBegin(
    Generation(Epoch(7), 9), 5, BeginFlags.NONE, 3, b"d" * 32, (GenerationStart(Epoch(7), 0),), 42
)


@given(st.builds(TreeOpen, st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16), EPOCHS))
def test_an_opening_is_read_back(message: TreeOpen) -> None:
    assert files.read_open(files.encode_open(message) + b"later fields") == message


@given(st.builds(TreeState, st.sampled_from(StateFlags), GENERATIONS, GENERATIONS))
def test_a_state_is_read_back(state: TreeState) -> None:
    assert files.read_state(files.encode_state(state) + b"later fields") == state


def test_flags_of_later_versions_are_ignored() -> None:
    state = TreeState(StateFlags.HELD_BACK, Generation(Epoch(1), 2), Generation(Epoch(1), 3))
    assert files.read_state(b"\xf2" + files.encode_state(state)[1:]) == state
    assert (
        files.read_begin(files.encode_begin(BEGIN)[:24] + b"\xfe" + files.encode_begin(BEGIN)[25:]) == BEGIN
    )


@given(GENERATIONS, U64, st.binary(min_size=32, max_size=32), STARTS, st.integers(0, 1 << 64))
def test_a_beginning_is_read_back(
    target: Generation, total: int, digest: bytes, lineage: tuple[GenerationStart, ...], base: int
) -> None:
    base = min(base, target.number)
    flags = BeginFlags.NONE if base else BeginFlags.FULL
    begin = TreeBegin(target, base, flags, total, digest, lineage, total)
    assert files.read_begin(files.encode_begin(begin)) == begin


@pytest.mark.parametrize(
    "begin",
    [
        BEGIN._replace(base=10),  # from later to earlier
        BEGIN._replace(flags=BeginFlags.FULL),  # full, and from somewhere
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
    found = files.read_entries(files.entries_header(100) + b"packed")
    assert (found.first, bytes(found.packed)) == (100, b"packed")


@given(U64, st.lists(st.builds(Want, U32, U32), max_size=5))
def test_wants_are_read_back(number: int, wants: list[Want]) -> None:
    assert files.read_want(files.encode_want(number, wants)) == (number, wants)


@given(U64, st.lists(DATA | GONE, max_size=5))
def test_pieces_are_read_back(number: int, pieces: list[Piece]) -> None:
    body = b"".join(files.blocks_parts(number, pieces))
    assert files.read_blocks(body) == (number, pieces)
    assert all(isinstance(piece.data, memoryview) for piece in files.read_blocks(body)[1])


@given(st.lists(DATA | GONE, min_size=1, max_size=3), st.data())
def test_pieces_that_were_cut_off_are_refused(pieces: list[Piece], data: st.DataObject) -> None:
    body = b"".join(files.blocks_parts(1, pieces))
    last = len(body) - files.PIECE.size - len(pieces[-1].data)
    with pytest.raises(MalformedError):
        files.read_blocks(body[: data.draw(st.integers(last + 1, len(body) - 1))])


@pytest.mark.parametrize(("status", "data"), [(0, b""), (1, b"content"), (2, b""), (2, b"content")])
def test_a_piece_has_content_or_is_gone(status: int, data: bytes) -> None:
    head = files.PIECE.pack(0, 0, 0, len(data), status)
    with pytest.raises(MalformedError):
        files.read_blocks(files.TARGET.pack(1) + head + data)


def test_bodies_that_are_too_short_are_refused() -> None:
    for read, whole in (
        (files.read_open, files.OPEN.size),
        (files.read_state, files.STATE.size),
        (files.read_begin, files.BEGIN.size),
        (files.read_entries, files.ENTRIES.size),
        (files.read_want, files.TARGET.size),
        (files.read_want, files.TARGET.size + 2),
        (files.read_blocks, files.TARGET.size),
        (files.read_blocks, files.TARGET.size + 2),
    ):
        with pytest.raises(MalformedError):
            read(bytes(whole - 1))
