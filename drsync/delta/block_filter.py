"""Which blocks of a group a layer may hold pieces of: some bits a piece, which never deny one that is there.

A Bloom filter with two bits a key; pure. Most pieces are a few blocks of 4 KiB, each of which is a key. A
larger piece is noted in larger blocks, so that none has many keys; a question then asks once for each size
that occurs.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from drsync.delta.pieces import Piece

BLOCK_BITS: Final = 12
LEVEL_BITS: Final = 4  # each size of blocks is so much larger than the one before
LEVELS: Final = 6  # because blocks of 4 GiB are the last, and no piece is longer
KEYS_MAX: Final = 16  # of a piece, beside one more where it does not begin with a block
BITS_A_KEY: Final = 16  # because then one question in 70 is asked in vain
SIZE_BITS_MIN: Final = 10
SIZE_BITS_MAX: Final = 24  # because 2 MiB are enough for the largest segment of smallest records

_WORD: Final = (1 << 64) - 1
_FIRST: Final = 0x9E3779B97F4A7C15  # odd numbers whose products spread over all high bits (Knuth, TAOCP 6.4)
_SECOND: Final = 0xC2B2AE3D27D4EB4F
_NEXT_BLOCK: Final = LEVELS << 16  # between the keys of neighbours
_ONE: Final = ord("1")


@dataclass(frozen=True, slots=True)
class BlockFilter:
    """A filter.

    Attributes:
        size_bits: it has 2 to the power of this bits.
        levels: which sizes of blocks occur: bit *n* for blocks of 4 KiB times 16 to the power of *n*.
        bits: the bits.
    """

    size_bits: int
    levels: int
    bits: bytes

    def may_hold(self, volume: int, start: int, end: int) -> bool:
        """Whether there may be a piece with any of bytes [start, end) of a volume."""
        for key in keys(self.levels, volume, start, end):
            first, second = places(key, self.size_bits)
            if self.bits[first >> 3] >> (first & 7) & 1 and self.bits[second >> 3] >> (second & 7) & 1:
                return True
        return False


def keys(levels: int, volume: int, start: int, end: int) -> Iterator[int]:
    """What to ask for about bytes [start, end) of a volume."""
    for level in range(LEVELS):
        if levels >> level & 1:
            shift = BLOCK_BITS + LEVEL_BITS * level
            for block in range(start >> shift, ((end - 1) >> shift) + 1):
                yield _key(volume, level, block)


def places(key: int, size_bits: int) -> tuple[int, int]:
    """The two bits of a key."""
    shift = 64 - size_bits
    return (key * _FIRST & _WORD) >> shift, (key * _SECOND & _WORD) >> shift


def _key(volume: int, level: int, block: int) -> int:
    return (block * LEVELS + level) << 16 | volume


def build(pieces: Iterable[tuple[int, Iterable[Piece]]]) -> BlockFilter:
    """The filter of the pieces of some volumes."""
    found: set[int] = set()
    levels = 0
    for volume, rows in pieces:
        for offset, _hash, length, *_ in rows:
            level, blocks = 0, length >> BLOCK_BITS
            while blocks > KEYS_MAX:
                level, blocks = level + 1, blocks >> LEVEL_BITS
            levels |= 1 << level
            shift = BLOCK_BITS + LEVEL_BITS * level
            first = _key(volume, level, offset >> shift)
            last = _key(volume, level, (offset + length - 1) >> shift)
            if first == last:
                found.add(first)
            else:
                found.update(range(first, last + 1, _NEXT_BLOCK))
    size_bits = min(max((BITS_A_KEY * len(found) - 1).bit_length(), SIZE_BITS_MIN), SIZE_BITS_MAX)
    return BlockFilter(size_bits, levels, _bits(found, size_bits))


def _bits(found: set[int], size_bits: int) -> bytes:
    """Both bits of each key; the most of what an index costs, so `places` is written out."""
    shift = 64 - size_bits
    digits = bytearray(b"0") * (1 << size_bits)  # in base 2: setting one is quicker than setting a bit
    for key in found:  # in any order: the bits are the same
        digits[(key * _FIRST & _WORD) >> shift] = _ONE
        digits[(key * _SECOND & _WORD) >> shift] = _ONE
    digits.reverse()
    return int(digits, 2).to_bytes(1 << size_bits >> 3, "little")
