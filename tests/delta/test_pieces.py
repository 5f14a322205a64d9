"""What is newest, as pieces: the same as bytes painted one after the other."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.delta import pieces as module
from drsync.delta.batch import BatchBuilder, Kind
from drsync.delta.pieces import Newest, Piece
from drsync.model.epoch import Epoch

SIZE = 64
Change = tuple[int, int, int, bool]
"""Volume, offset, length; whether it is zeros."""
some = st.tuples(st.integers(0, 2), st.integers(0, SIZE - 1), st.integers(1, SIZE), st.booleans())
even = st.tuples(st.integers(0, 1), st.integers(0, 7).map(lambda n: n * 8), st.just(8), st.booleans())


@given(st.one_of(st.lists(some, max_size=40), st.lists(even, max_size=40)), st.sampled_from([3, 10_000]))
def test_pieces_are_the_newest_bytes(changes: list[Change], pending: int) -> None:
    newest = Newest()
    painted: dict[tuple[int, int], tuple[int, int]] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PENDING_MAX", pending)
        for number, (volume, offset, length, is_zero) in enumerate(changes):
            builder = BatchBuilder()
            builder.reset(Epoch(1), number + 1, bytes(16))
            builder.add_control(Kind.NOOP, b"something else")
            if is_zero:
                builder.add_zero(volume, offset, length, 0)
            else:
                builder.add_write(volume, offset, memoryview(bytes(length)), 0)
            batch = builder.finish(0)
            newest.add_table(batch.table, 1000 * (number + 1), 2)
            for i in range(length):
                at = 0 if is_zero else 1000 * (number + 1) + len(b"something else")
                painted[volume, offset + i] = at, i if at else 0
    table = newest.finish(7 << 32)

    found: dict[tuple[int, int], tuple[int, int]] = {}
    for volume, (first, end) in table.volumes.items():
        rows = [table.piece(number) for number in range(first, end)]
        assert rows
        assert all(a[0] + a[2] <= b[0] for a, b in pairwise(rows))
        for offset, _hash, length, at, record_at, record_length in rows:
            assert length > 0
            assert at - record_at + length <= record_length if at else not record_at
            for i in range(length):
                found[volume, offset + i] = record_at, at - record_at + i if at else 0
    assert found == painted
    assert table.base == 7 << 32


@given(st.lists(some, max_size=40), st.integers(0, SIZE), st.integers(1, SIZE))
def test_a_range_is_given_the_pieces_that_touch_it(changes: list[Change], start: int, length: int) -> None:
    newest = Newest()
    for number, (volume, offset, size, _) in enumerate(changes):
        builder = BatchBuilder()
        builder.reset(Epoch(1), number + 1, bytes(16))
        builder.add_write(volume, offset, memoryview(bytes(size)), 0)
        newest.add_table(builder.finish(0).table, 1000, 1)
    table = newest.finish(0)
    for volume in range(4):
        low, high = table.volumes.get(volume, (0, 0))
        all_pieces = [table.piece(number) for number in range(low, high)]
        wanted = [piece for piece in all_pieces if _touches(piece, start, start + length)]
        first, found = table.select(volume, start, start + length)
        assert list(found) == wanted
        assert [table.piece(first + i) for i in range(len(wanted))] == wanted


def _touches(piece: Piece, start: int, end: int) -> bool:
    return piece[0] < end and piece[0] + piece[2] > start
