from struct import pack
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drsync.delta.batch import BATCH_BYTES_MAX
from drsync.model.errors import MalformedError
from drsync.wire.compression import RAW_LENGTH, compress, decompress
from drsync.wire.data import BATCHES_HEADER_BYTES
from drsync.wire.frames import (
    BODY_BYTES_MAX,
    COMPRESSED,
    CONTROL_BODY_BYTES_MAX,
    CRITICAL,
    DATA_BODY_BYTES_MAX,
    HEADER_BYTES,
    MORE,
    Buffer,
    Decoder,
    Frame,
    FrameType,
    encode,
    encode_parts,
    frame_header,
)

KINDS = st.sampled_from(FrameType)
FRAMES = st.builds(
    Frame,
    KINDS,
    st.sampled_from([0, CRITICAL, MORE, CRITICAL | MORE]),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
    st.binary(max_size=200),
)


def wire(frame: Frame) -> bytes:
    return encode(frame.type, frame.body, stream=frame.stream, id=frame.id, flags=frame.flags)


def raw_header(length: int, number: int, flags: int = 0) -> bytes:
    """A header with any fields and a right checksum."""
    head = pack("<IHHIQ", length, number, flags, 0, 0)
    return head + pack("<I", crc32(head))


@given(st.lists(FRAMES, max_size=6), st.lists(st.integers(1, 700), min_size=1, max_size=20))
def test_frames_survive_any_cutting_of_the_stream(frames: list[Frame], cuts: list[int]) -> None:
    stream = b"".join(map(wire, frames))
    decoder = Decoder()
    read: list[Frame] = []
    at = 0
    while at < len(stream):
        for cut in cuts:
            read += decoder.feed(stream[at : at + cut])
            at += cut
    assert read == frames
    assert decoder.pending_bytes == 0


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=64), max_size=8))
def test_random_bytes_are_malformed_or_incomplete_and_nothing_else(pieces: list[bytes]) -> None:
    decoder = Decoder()
    try:
        for piece in pieces:
            decoder.feed(piece)
    except MalformedError:
        return
    assert decoder.pending_bytes < HEADER_BYTES


@given(FRAMES, st.integers(0, HEADER_BYTES * 8 - 1))
def test_any_flipped_bit_of_a_header_is_noticed(frame: Frame, bit: int) -> None:
    damaged = bytearray(wire(frame))
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(MalformedError, match="frame header: crc"):
        Decoder().feed(bytes(damaged))


@pytest.mark.parametrize("kind", FrameType)
def test_every_type_has_a_limit_and_one_byte_more_is_refused_by_the_header_alone(kind: FrameType) -> None:
    limit = BODY_BYTES_MAX[kind]
    decoder = Decoder()
    assert decoder.feed(raw_header(limit, kind)) == []
    with pytest.raises(MalformedError, match=f"length {limit + 1} of type {int(kind)} is above the limit"):
        Decoder().feed(raw_header(limit + 1, kind))


def test_the_largest_batch_fits_into_a_frame_with_what_stands_before_it() -> None:
    assert BATCH_BYTES_MAX + BATCHES_HEADER_BYTES <= DATA_BODY_BYTES_MAX
    body = bytes(DATA_BODY_BYTES_MAX)
    (frame,) = Decoder().feed(encode(FrameType.BATCHES, body))
    assert frame.body == body


def test_a_side_may_lower_every_limit() -> None:
    with pytest.raises(MalformedError, match="limit 1000"):
        Decoder(1000).feed(raw_header(1001, FrameType.BATCHES))
    with pytest.raises(MalformedError, match="limit 256"):
        Decoder(1000).feed(raw_header(257, FrameType.PING))


def test_a_stranger_may_say_nothing_but_hello() -> None:
    decoder = Decoder(first=(FrameType.HELLO,))
    with pytest.raises(MalformedError, match="type 3 came before HELLO"):
        decoder.feed(raw_header(100, FrameType.REQUEST))
    decoder = Decoder(first=(FrameType.HELLO,))
    both = encode(FrameType.HELLO, b"{}") + encode(FrameType.REQUEST, b"{}")
    assert [frame.type for frame in decoder.feed(both)] == [FrameType.HELLO, FrameType.REQUEST]


def test_unknown_types_are_skipped_unless_they_are_critical() -> None:
    decoder = Decoder()
    unknown = raw_header(5, 999, 0x8000) + b"later"
    (frame,) = decoder.feed(unknown + encode(FrameType.PING, id=7))
    assert frame.id == 7
    assert decoder.skipped == 1
    with pytest.raises(MalformedError, match="type 999 is unknown here and critical"):
        decoder.feed(raw_header(5, 999, CRITICAL))
    with pytest.raises(MalformedError, match="length"):
        Decoder().feed(raw_header(CONTROL_BODY_BYTES_MAX + 1, 999))


def test_unknown_flags_of_a_known_type_are_refused() -> None:
    with pytest.raises(MalformedError, match="flags 0x0100 of type 6"):
        Decoder().feed(raw_header(0, FrameType.PING, 0x0100))


def test_a_frame_in_single_bytes_is_kept_in_one_buffer() -> None:
    decoder = Decoder()
    stream = encode(FrameType.REQUEST, bytes(5000))
    read = [frame for at in range(len(stream)) for frame in decoder.feed(stream[at : at + 1])]
    assert [len(frame.body) for frame in read] == [5000]


@pytest.mark.parametrize("step", [32768, 5000, 600])
def test_large_frames_in_pieces_of_a_channel_are_whole(step: int) -> None:
    bodies = [bytes([n]) * (300_000 + n) for n in range(3)]
    stream = b"".join(encode(FrameType.BATCHES, body) for body in bodies)
    decoder = Decoder()
    read = [f for at in range(0, len(stream), step) for f in decoder.feed(stream[at : at + step])]
    assert [frame.body for frame in read] == bodies


def test_parts_are_joined_behind_the_header() -> None:
    parts: list[Buffer] = [b"ab", bytearray(b"cd"), memoryview(b"ef")]
    assert encode_parts(FrameType.BATCHES, parts, stream=3) == encode(FrameType.BATCHES, b"abcdef", stream=3)
    assert frame_header(FrameType.BATCHES, 6, stream=3) == encode(FrameType.BATCHES, b"abcdef", stream=3)[:24]


@given(st.binary(max_size=5000))
def test_compressed_bodies_come_back(body: bytes) -> None:
    assert decompress(compress(body), len(body)) == body
    frame = encode(FrameType.BATCHES, compress(body), flags=COMPRESSED)
    (read,) = Decoder(may_compress=True).feed(frame)
    assert read == Frame(FrameType.BATCHES, 0, 0, 0, body)
    with pytest.raises(MalformedError, match="not agreed"):
        Decoder().feed(frame)


@given(st.binary(max_size=100))
def test_random_compressed_bodies_are_malformed_or_small(body: bytes) -> None:
    try:
        assert len(decompress(body, 1000)) <= 1000
    except MalformedError:
        return


def test_a_bomb_is_refused_by_its_stated_length_or_stopped_at_it() -> None:
    bomb = compress(bytes(64 << 20))
    with pytest.raises(MalformedError, match="above the limit"):
        decompress(bomb, DATA_BODY_BYTES_MAX)
    lying = RAW_LENGTH.pack(1000) + bomb[RAW_LENGTH.size :]
    with pytest.raises(MalformedError, match="is not what follows"):
        decompress(lying, DATA_BODY_BYTES_MAX)
    with pytest.raises(MalformedError, match="raw length is missing"):
        decompress(b"abc", 10)
