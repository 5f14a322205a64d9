"""The digest of what is stored: the same for a hole and for zeros, another one for every other difference."""

import random

from blake3 import blake3

from drsync.delta.stored import GRAIN, StoredHash

SIZE = 5 * GRAIN + 4096


def digest(content: bytes, skipped: frozenset[int] = frozenset(), *, index: int = 0) -> str:
    """Of one volume; grains in `skipped` are holes that nobody reads."""
    made = StoredHash()
    made.begin(index, len(content))
    for offset in range(0, len(content), GRAIN):
        if offset // GRAIN not in skipped:
            made.add(offset, content[offset : offset + GRAIN])
    return made.digest()


def test_a_hole_and_written_zeros_are_the_same() -> None:
    content = bytearray(SIZE)
    content[GRAIN : GRAIN + 5] = b"hello"
    assert digest(bytes(content)) == digest(bytes(content), frozenset({0, 2, 5}))


def test_every_changed_byte_every_move_and_every_size_is_seen() -> None:
    dice = random.Random(7)
    content = bytearray(dice.randbytes(SIZE))
    seen = {digest(bytes(content)), digest(bytes(content), index=1), digest(bytes(content) + bytes(4096))}
    for at in (0, GRAIN - 1, GRAIN, SIZE - 1):
        changed = bytearray(content)
        changed[at] ^= 1
        seen.add(digest(bytes(changed)))
    moved = bytes(content[GRAIN : 2 * GRAIN]) + bytes(content[:GRAIN]) + bytes(content[2 * GRAIN :])
    seen.add(digest(moved))
    assert len(seen) == 8


def test_the_form_is_as_it_is_written_down() -> None:
    content = bytes(GRAIN) + b"x" * 4096
    words = b"volume" + (3).to_bytes(8, "big") + len(content).to_bytes(8, "big")
    expected = blake3(words + GRAIN.to_bytes(8, "big") + b"x" * 4096).hexdigest()
    assert digest(content, index=3) == f"stored1:{expected}"
