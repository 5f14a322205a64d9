"""Payloads that are read back: what was written is given, or nothing."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.delta.batch import BatchBuilder
from drsync.engine.payloads import Payloads
from drsync.model.epoch import Epoch
from drsync.model.errors import DamagedError, FailedCopyError

ZEROS = 0
record_lengths = st.lists(st.integers(0, 40), min_size=1, max_size=6)  # 0: a ZERO


class Heap:
    """Stored bytes; the only part of a journal that is used."""

    def __init__(self) -> None:
        self.data = bytearray(100)
        self.reads = 0

    def read_into(self, locator: int, target: memoryview) -> None:
        self.reads += 1
        target[:] = self.data[locator : locator + len(target)]


def stored(heap: Heap, batches: list[list[int]]) -> tuple[Payloads, list[tuple[int, int]]]:
    """Batches of records of these lengths; where their payload areas begin and end."""
    payloads = Payloads(heap)  # type: ignore[arg-type]
    areas: list[tuple[int, int]] = []
    builder, fill = BatchBuilder(), 1
    for lengths in batches:
        builder.reset(Epoch(1), 1, bytes(16))
        for length in lengths:
            if length == ZEROS:
                builder.add_zero(0, 0, 4096, 0)
            else:
                fill += 1
                builder.add_write(0, 0, memoryview(bytes([fill % 256]) * length), 0)
        batch = builder.finish(0)
        at = len(heap.data)
        heap.data += b"".join(batch.parts)
        payloads.note(batch.table, at + batch.payload_start)
        areas.append((at + batch.payload_start, at + batch.payload_start + sum(lengths)))
    return payloads, areas


def records(area: tuple[int, int], lengths: list[int]) -> list[tuple[int, int]]:
    ends = [area[0] + sum(lengths[:i]) for i in range(len(lengths) + 1)]
    return [(low, high) for low, high in pairwise(ends) if low < high]


@given(st.lists(record_lengths, min_size=1, max_size=4), st.data(), st.booleans())
def test_what_was_written_is_given_or_nothing(
    batches: list[list[int]], data: st.DataObject, is_kept: bool
) -> None:
    heap = Heap()
    payloads, areas = stored(heap, batches)
    number = data.draw(st.integers(0, len(batches) - 1))
    low, high = areas[number]
    if low == high:
        return
    start = data.draw(st.integers(low, high - 1))
    end = data.draw(st.integers(start + 1, high))
    before = bytes(heap.data)
    hit = data.draw(st.integers(low, high - 1))
    heap.data[hit] ^= 1 << data.draw(st.integers(0, 7))
    places = records(areas[number], batches[number])
    damaged = [a for a, b in places if a <= hit < b and a < end and start < b]
    target = bytearray(end - start)
    kept: dict[int, memoryview] | None = {} if is_kept else None
    if damaged:
        with pytest.raises(DamagedError) as raised:
            payloads.read_into(start, memoryview(target), kept)
        assert [raised.value.locator] == damaged
    else:
        payloads.read_into(start, memoryview(target), kept)
        assert target == before[start:end]


def test_a_record_read_in_parts_is_read_as_a_whole_once() -> None:
    heap = Heap()
    payloads, ((low, _),) = stored(heap, [[30]])
    kept: dict[int, memoryview] = {}
    for at in range(0, 30, 10):
        payloads.read_into(low + at, memoryview(bytearray(10)), kept)
    assert heap.reads == 1, "what was verified is what is given"
    heap.reads = 0
    for at in range(0, 30, 10):
        payloads.read(low + at, 10)
    assert heap.reads == 1 + 2, "once to be verified, and then its parts alone"


def test_what_was_forgotten_is_not_given() -> None:
    heap = Heap()
    payloads, ((low, _), (later, _)) = stored(heap, [[8], [8]])
    payloads.forget(1)
    assert payloads.read(later, 8) == bytes([3]) * 8
    with pytest.raises(FailedCopyError, match="no record is known"):
        payloads.read(low, 8)
