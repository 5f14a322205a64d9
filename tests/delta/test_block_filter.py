"""A filter never denies what is there, and seldom claims what is not."""

import random

from hypothesis import given
from hypothesis import strategies as st

from drsync.delta.block_filter import (
    BLOCK_BITS,
    KEYS_MAX,
    LEVEL_BITS,
    LEVELS,
    SIZE_BITS_MAX,
    BlockFilter,
    build,
    keys,
    places,
)

PIECES = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 65_535]),
        st.integers(0, 1 << 44),
        st.one_of(st.integers(1, 9000), st.integers(1, (1 << 32) - 1)),
    ),
    max_size=40,
)


def made(pieces: list[tuple[int, int, int]]) -> BlockFilter:
    return build([(volume, [(offset, 0, length, 0, 0, 0)]) for volume, offset, length in pieces])


@given(PIECES, st.data())
def test_no_piece_is_denied(pieces: list[tuple[int, int, int]], data: st.DataObject) -> None:
    found = made(pieces)
    assert len(found.bits) * 8 == 1 << found.size_bits <= 1 << SIZE_BITS_MAX
    for volume, offset, length in pieces:
        inside = data.draw(st.integers(offset, offset + length - 1))
        assert found.may_hold(volume, inside, inside + 1)
        assert found.may_hold(volume, max(inside - 5000, 0), inside + 5000)


@given(PIECES)
def test_its_bits_are_those_that_are_asked_for(pieces: list[tuple[int, int, int]]) -> None:
    found = made(pieces)
    expected = 0
    for volume, offset, length in pieces:
        level = next(n for n in range(LEVELS) if length >> (BLOCK_BITS + LEVEL_BITS * n) <= KEYS_MAX)
        for key in keys(1 << level, volume, offset, offset + length):
            for place in places(key, found.size_bits):
                expected |= 1 << place
    assert int.from_bytes(found.bits, "little") == expected


def test_few_questions_are_asked_in_vain() -> None:
    dice = random.Random(1)
    found = made([(0, dice.randrange(1 << 24) * 4096, 4096) for _ in range(16_000)])
    claimed = sum(
        found.may_hold(0, at, at + 1) for at in (dice.randrange(1 << 40) << 12 for _ in range(4000))
    )
    assert claimed < 4000 // 40
    assert len(found.bits) <= 4 * 16_000


def test_nothing_is_in_an_empty_one() -> None:
    assert not made([]).may_hold(0, 0, 1 << 20)


def test_a_piece_of_any_length_takes_few_bits() -> None:
    found = made([(1, 4095, (1 << 32) - 1)])
    assert len(found.bits) == 128
    assert found.may_hold(1, 1 << 31, (1 << 31) + 1)
    assert not found.may_hold(2, 1 << 31, (1 << 31) + 1)
