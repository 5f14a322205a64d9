"""Bodies of a resync session: what was said is read back, and what contradicts itself is refused."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.core import extents
from drsync.model.epoch import Epoch
from drsync.model.errors import MalformedError
from drsync.model.position import Position
from drsync.wire import control, resync
from drsync.wire.frames import BODY_BYTES_MAX, Decoder, FrameType, encode_parts
from drsync.wire.resync import GRANULE, BeginFlags, Block, BlockKind

U64 = st.integers(0, (1 << 64) - 1)
U32 = st.integers(0, (1 << 32) - 1)
IDS = st.binary(min_size=16, max_size=16)
EPOCHS = st.builds(Epoch, U64)
POSITIONS = st.builds(Position, EPOCHS, U64, IDS)
FIRSTS = st.integers(0, (1 << 47) - 1)
COUNTS = st.integers(1, resync.DIGESTS_MAX)
FLAGS = st.integers(0, 7).map(BeginFlags)
ZEROS = st.builds(
    lambda volume, first, granules: Block(volume, first, granules, BlockKind.ZEROS),
    U32,
    FIRSTS,
    st.integers(1, 1 << 30),
)
DATA = st.builds(
    lambda volume, first, digest, length: Block(
        volume, first, -(-length // GRANULE), BlockKind.DATA, digest, b"d" * length
    ),
    U32,
    FIRSTS,
    IDS,
    st.integers(1, 3 * GRANULE),
)


def test_a_granule_is_the_same_on_the_wire_and_in_the_rules() -> None:
    assert resync.GRANULE == extents.GRANULE


@pytest.mark.parametrize(
    ("encode", "read", "bodies"),
    [
        (
            resync.encode_begin,
            resync.read_begin,
            st.builds(resync.Begin, EPOCHS, IDS, IDS, IDS, U64, U32, FLAGS, POSITIONS),
        ),
        (resync.encode_ready, resync.read_ready, st.builds(resync.Ready, EPOCHS, IDS)),
        (
            resync.encode_want,
            resync.read_want,
            st.builds(resync.Want, EPOCHS, U32, FIRSTS, COUNTS),
        ),
        (resync.encode_round, resync.read_round, st.builds(resync.Round, EPOCHS, U64, U32, POSITIONS)),
        (resync.encode_end, resync.read_end, st.builds(resync.End, EPOCHS, IDS, U64, U64, POSITIONS, IDS)),
        (resync.encode_staged, resync.read_staged, st.builds(resync.Staged, EPOCHS, U64, U64, U64)),
        (resync.encode_done, resync.read_done, st.builds(resync.Done, EPOCHS, IDS, U64, U64)),
    ],
)
@given(data=st.data())
def test_what_has_a_fixed_layout_is_read_back(
    encode: Callable[[object], bytes],
    read: Callable[[bytes], object],
    bodies: st.SearchStrategy[object],
    data: st.DataObject,
) -> None:
    said = data.draw(bodies)
    body = encode(said)
    assert read(body + b"later fields") == said
    with pytest.raises(MalformedError):
        read(body[:-1])


def test_flags_of_later_versions_are_ignored() -> None:
    begin = resync.Begin(
        Epoch(7), b"g" * 16, b"m" * 16, b"s" * 16, 1, 0, BeginFlags(0xF2), Position(Epoch(7), 1, bytes(16))
    )
    assert resync.read_begin(resync.encode_begin(begin)).flags == BeginFlags.DIGESTS


@pytest.mark.parametrize(("first", "granules"), [(0, 0), (0, resync.DIGESTS_MAX + 1), ((1 << 48) - 1, 2)])
def test_digests_of_nothing_of_too_much_and_of_nowhere_are_refused(first: int, granules: int) -> None:
    body = resync.WANT.pack(7, 0, 0, first, granules)
    with pytest.raises(MalformedError):
        resync.read_want(body)
    with pytest.raises(MalformedError):
        resync.read_digests(body + bytes(32 * granules))


@given(EPOCHS, U32, FIRSTS, st.integers(1, 40))
def test_digests_are_read_back(epoch: Epoch, volume: int, first: int, granules: int) -> None:
    values = bytes(range(32)) * granules
    body = b"".join(resync.digests_parts(resync.Digests(epoch, volume, first, memoryview(values))))
    assert resync.read_digests(body) == resync.Digests(epoch, volume, first, memoryview(values))
    with pytest.raises(MalformedError):
        resync.read_digests(body[:-1])


@given(EPOCHS, st.lists(DATA | ZEROS, max_size=5))
def test_blocks_are_read_back(epoch: Epoch, blocks: list[Block]) -> None:
    body = b"".join(resync.blocks_parts(epoch, blocks))
    assert resync.read_blocks(body) == (epoch, blocks)


@given(st.lists(DATA | ZEROS, min_size=1, max_size=3), st.data())
def test_blocks_that_were_cut_off_are_refused(blocks: list[Block], data: st.DataObject) -> None:
    body = b"".join(resync.blocks_parts(Epoch(7), blocks))
    last = len(body) - resync.BLOCK.size - len(blocks[-1].data)
    with pytest.raises(MalformedError):
        resync.read_blocks(body[: data.draw(st.integers(last + 1, len(body) - 1))])


@pytest.mark.parametrize(
    ("kind", "granules", "length"),
    [
        (0, 1, 0),  # data that is none
        (0, 0, 1),
        (0, 1, GRANULE + 1),
        (0, 2, GRANULE),  # a whole granule is missing
        (0, 17, 17 * GRANULE),  # more than a frame carries
        (1, 1, 1),  # zeros with content
        (1, 0, 0),
        (2, 1, 1),  # pages without their mask
        (2, 2, 4),
        (2, 1, GRANULE),  # all of them and the mask: that is data
        (3, 1, 1),
    ],
)
def test_blocks_whose_content_does_not_fit_their_granules_are_refused(
    kind: int, granules: int, length: int
) -> None:
    head = resync.BLOCK.pack(0, kind, 5, granules, length, bytes(16))
    with pytest.raises(MalformedError):
        resync.read_blocks(resync.EPOCH.pack(7) + head + bytes(length))


def test_blocks_beyond_the_end_of_every_volume_are_refused() -> None:
    head = resync.BLOCK.pack(0, BlockKind.ZEROS, (1 << 48) - 1, 2, 0, bytes(16))
    with pytest.raises(MalformedError):
        resync.read_blocks(resync.EPOCH.pack(7) + head)


def test_the_fullest_frame_of_blocks_fits() -> None:
    full = [Block(0, index, 1, BlockKind.DATA, bytes(16), bytes(GRANULE)) for index in range(16)]
    zeros = [Block(1, index, 1, BlockKind.ZEROS) for index in range(resync.BLOCKS_MAX - len(full))]
    parts = resync.blocks_parts(Epoch(7), full + zeros)
    (frame,) = Decoder().feed(encode_parts(FrameType.BLOCKS, parts, stream=1))
    assert len(resync.read_blocks(frame.body)[1]) == resync.BLOCKS_MAX


@given(EPOCHS, st.text(max_size=20), st.text(max_size=50))
def test_a_refusal_is_read_back_without_what_harms_terminals(epoch: Epoch, code: str, text: str) -> None:
    found = resync.read_refuse(resync.encode_refuse(resync.Refuse(epoch, code, text, "a\x1b[2Jb")))
    assert found.epoch == epoch
    assert len(found.text) == len(text)
    assert all(character.isprintable() for character in found.code + found.text)
    assert found.remedy == "a?[2Jb"


def test_the_longest_refusal_fits() -> None:
    refusal = resync.Refuse(Epoch(7), "c" * 9999, "\U0001f4be" * 9999, "x" * 9999)
    body = resync.encode_refuse(refusal)
    assert len(body) <= BODY_BYTES_MAX[FrameType.RESYNC_REFUSE]
    assert len(resync.read_refuse(body).text) == resync.TEXT_MAX


@pytest.mark.parametrize(
    "words", [b"", b"[]", b"{", b'{"code":"a","text":3,"remedy":""}', b"\xff", b"[" * 9999]
)
def test_a_refusal_that_is_none_is_refused(words: bytes) -> None:
    with pytest.raises(MalformedError):
        resync.read_refuse(resync.EPOCH.pack(7) + words)
    with pytest.raises(MalformedError):
        resync.read_refuse(b"short")


@given(st.lists(st.tuples(U32, FIRSTS, st.integers(1, 9)), max_size=9))
def test_runs_are_read_back(raw: list[tuple[int, int, int]]) -> None:
    runs = [resync.WireRun(volume, first, first + length) for volume, first, length in raw]
    assert resync.runs_from_json(resync.runs_to_json(runs)) == runs


def test_another_set_of_the_same_size_has_another_hash() -> None:
    hashes = {resync.runs_hash(runs) for runs in ([], [(0, 1, 3)], [(0, 1, 2), (0, 3, 4)], [(1, 1, 3)])}
    assert len(hashes) == 4
    assert resync.runs_hash([(0, 1, 3)]).hex() == "6ff4262f63f9f3e1b9e12de77c4533fa"


def test_three_full_lists_of_runs_fit_into_one_answer() -> None:
    largest = [
        resync.WireRun((1 << 32) - 1, (1 << 40) + i, (1 << 40) + i + 1) for i in range(resync.RUNS_MAX)
    ]
    listed = resync.runs_to_json(largest)
    body = control.dump({"body": {"changed": listed, "staged": listed, "fresh": listed}})
    assert len(body) < BODY_BYTES_MAX[FrameType.RESPONSE] - 4096
    assert control.load(body)


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        [[0, 1]],
        [[0, 1, 2, 3]],
        [[0, 2, 2]],
        [[0, -1, 2]],
        [[0, 1, 1 << 60]],
        [[1 << 32, 1, 2]],
        [[0, 1, "2"]],
        [[0, 1, True]],
        [[0, 0, 1]] * (resync.RUNS_MAX + 1),
    ],
)
def test_runs_that_are_none_are_refused(value: object) -> None:
    with pytest.raises(MalformedError):
        resync.runs_from_json(value)
