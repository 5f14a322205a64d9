"""A batch says exactly what was put into it, and the smallest damage shows."""

from typing import TypeAlias
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.delta import batch as b
from drsync.delta.batch import BatchBuilder, EncodedBatch, Kind
from drsync.model.epoch import Epoch
from drsync.model.errors import MalformedError
from drsync.model.position import NO_CHAIN, ORIGIN, Position

Recipe: TypeAlias = tuple[str | Kind, int, int, bytes | int, int]
"""Kind, volume, offset, payload (or the length of a ZERO), flags."""

U64 = st.integers(0, 2**64 - 1)
FLAGS = st.integers(0, b.FLAGS_KNOWN)
VOLUMES = st.integers(0, 2**16 - 1)
WRITES = st.tuples(st.just("write"), VOLUMES, U64, st.binary(max_size=300), FLAGS)
ZEROS = st.tuples(st.just("zero"), VOLUMES, U64, st.integers(0, 2**32 - 1), FLAGS)
KINDS = st.sampled_from([kind for kind in Kind if kind not in (Kind.WRITE, Kind.ZERO)])
CONTROLS = st.tuples(KINDS, VOLUMES, U64, st.binary(max_size=100), FLAGS)
RECORDS = st.lists(st.one_of(WRITES, ZEROS, CONTROLS), min_size=1, max_size=20)
PREVIOUS = st.builds(
    Position,
    st.integers(0, 2**63).map(Epoch),
    st.integers(0, 2**63),
    st.binary(min_size=16, max_size=16),
)


def build(records: list[Recipe], previous: Position, time_us: int = 0) -> EncodedBatch:
    builder = BatchBuilder()
    builder.reset(Epoch(previous.epoch + 1), previous.seq + 1, previous.chain)
    for kind, volume, offset, content, flags in records:
        if isinstance(content, int):
            builder.add_zero(volume, offset, content, flags)
        elif isinstance(kind, Kind):
            builder.add_control(kind, content, volume, offset, flags)
        else:
            builder.add_write(volume, offset, memoryview(content), flags)
    return builder.finish(time_us)


def joined(batch: EncodedBatch) -> bytes:
    return b"".join(batch.parts)


EVERY_KIND: list[Recipe] = [
    ("write", 3, 4096, b"abcde", b.FLAG_FUA),
    ("zero", 3, 1 << 40, 1 << 20, b.FLAG_TRIM_ORIGIN),
    (Kind.CHECKPOINT, 0, 0, b'{"name": "noon"}', b.FLAG_APP_CONSISTENT),
    (Kind.NOOP, 0, 0, b"", 0),
]


@given(RECORDS, PREVIOUS, U64)
def test_what_went_in_comes_out(records: list[Recipe], previous: Position, time_us: int) -> None:
    batch = build(records, previous, time_us)
    data = joined(batch)

    header = b.peek(data)
    assert b.verify(data, 0, header, previous) == batch.end
    assert len(data) == batch.length == header.length
    assert len(data) % b.ALIGNMENT == 0
    assert (header.first_seq, header.last_seq, header.time_us) == (batch.first_seq, batch.last_seq, time_us)
    assert header.payload_start == batch.payload_start
    assert data[header.table_start : header.payload_start] == batch.table
    for record, (kind, volume, offset, content, flags) in zip(
        b.records(data, 0, header), records, strict=True
    ):
        assert (record[4], record[0], record[7]) == (volume, offset, flags)
        if kind == "zero":
            assert (record[5], record[2]) == (Kind.ZERO, content)
        else:
            assert record[5] == (Kind.WRITE if kind == "write" else kind)
            start = header.payload_start + record[3]
            assert data[start : start + record[2]] == content


@given(st.lists(RECORDS, min_size=1, max_size=4))
def test_batches_that_lie_back_to_back_are_told_apart(many: list[list[Recipe]]) -> None:
    previous = ORIGIN
    data = b""
    for records in many:
        batch = build(records, previous)
        data += joined(batch)
        previous = batch.end

    found = b.split(data)

    assert len(found) == len(many)
    end = ORIGIN
    for at, header in found:
        end = b.verify(data, at, header, end)
    assert end == previous
    with pytest.raises(MalformedError):
        b.split(data[:-1])


def test_every_flipped_bit_is_noticed() -> None:
    data = joined(build(EVERY_KIND, ORIGIN, 7))
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << (bit % 8)
        with pytest.raises(MalformedError):
            b.verify(damaged, 0, b.peek(damaged), ORIGIN)


@given(RECORDS, st.data())
def test_a_flipped_bit_anywhere_is_noticed(records: list[Recipe], data: st.DataObject) -> None:
    damaged = bytearray(joined(build(records, ORIGIN)))
    bit = data.draw(st.integers(0, 8 * len(damaged) - 1))
    damaged[bit // 8] ^= 1 << (bit % 8)
    with pytest.raises(MalformedError):
        b.verify(damaged, 0, b.peek(damaged), ORIGIN)


@given(st.binary(max_size=400))
def test_noise_is_refused_in_words(noise: bytes) -> None:
    with pytest.raises(MalformedError, match="batch at byte 0"):
        b.peek(noise)


@pytest.mark.parametrize("length", [0, 1, 127, 128, 200])
def test_a_batch_that_is_cut_short_is_refused(length: int) -> None:
    data = joined(build(EVERY_KIND, ORIGIN))[:length]
    with pytest.raises(MalformedError, match="bytes left"):
        b.verify(data, 0, b.peek(data), ORIGIN)


def test_a_batch_continues_one_position_and_no_other() -> None:
    previous = Position(Epoch(5), 10, b"x" * 16)
    data = joined(build(EVERY_KIND, previous))
    header = b.peek(data)
    assert b.verify(data, 0, header, previous).epoch == 6
    for other in (
        previous._replace(seq=9),
        previous._replace(seq=11),
        previous._replace(chain=b"y" * 16),
        previous._replace(epoch=Epoch(7)),
    ):
        with pytest.raises(MalformedError, match="does not continue"):
            b.verify(data, 0, header, other)


def test_the_label_of_time_and_the_epoch_are_part_of_the_chain() -> None:
    ends = {build(EVERY_KIND, Position(Epoch(epoch), 0, NO_CHAIN), time).end.chain
            for epoch in (1, 2) for time in (1, 2)}  # fmt: skip
    assert len(ends) == 4


def test_a_builder_knows_when_it_is_full() -> None:
    builder = BatchBuilder()
    builder.reset(Epoch(1), 1, NO_CHAIN)
    assert builder.fits(b.PAYLOAD_BYTES_MAX)
    assert not builder.fits(b.PAYLOAD_BYTES_MAX + 1)
    builder.add_write(0, 0, memoryview(bytes(b.PAYLOAD_BYTES_MAX)), 0)
    assert builder.fits(0)
    assert not builder.fits(1)
    for _ in range(b.RECORDS_MAX - 1):
        builder.add_zero(0, 0, 4096, 0)
    assert not builder.fits(0)

    batch = builder.finish(0)

    assert batch.length == b.BATCH_BYTES_MAX
    assert b.verify(joined(batch), 0, b.peek(joined(batch)), ORIGIN) == batch.end


def test_a_builder_is_used_again_without_touching_the_batch_before() -> None:
    builder = BatchBuilder()
    builder.reset(Epoch(1), 1, NO_CHAIN)
    builder.add_write(0, 0, memoryview(b"first"), 0)
    first = builder.finish(1)
    before = joined(first)

    builder.reset(Epoch(1), 2, first.end.chain)
    builder.add_write(0, 0, memoryview(b"second"), 0)
    assert (builder.count, builder.payload_bytes) == (1, 6)
    second = builder.finish(2)

    assert joined(first) == before
    assert b.verify(joined(second), 0, b.peek(joined(second)), first.end) == second.end


@pytest.mark.parametrize(
    ("field", "offset", "value"),
    [
        ("header_len", 4, 136),
        ("flags", 6, 1),
        ("codec", 84, b.CODEC_ZSTD),
        ("stored_len", 80, 1),
        ("count", 32, 0),
        ("table_len", 36, 33),
        ("stored_len", 40, 0),
        ("epoch", 8, 0),
        ("first_seq", 16, 0),
    ],
)
def test_a_field_out_of_its_limits_is_named(field: str, offset: int, value: int) -> None:
    records: list[Recipe] = [("write", 0, 0, b"payload", 0)]
    data = bytearray(joined(build(records, ORIGIN)))
    data[offset] = value
    data[124:128] = crc32(data[:124]).to_bytes(4, "little")
    with pytest.raises(MalformedError, match=field):
        b.peek(data)
