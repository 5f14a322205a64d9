"""A disk image to seed from, as that of a virtual machine: sparse; pages of a database, text, noise.

Slots of 16 MiB in an image of which five eighths are used: 45 % pages of a database (a head, rows of text,
ids, free space), 15 % text, 30 % noise, 10 % zeros that are stored. The same number gives the same bytes.
"""

import random
from array import array
from collections.abc import Iterator
from itertools import accumulate
from operator import itemgetter

from _machine import MIB

PAGE = 4096
SLOT_MIB = 16
USED = (5, 8)  # five eighths of an image
SHARE = 100  # one page in so many changes
WORDS = 4096
TABLE = 1 << 16  # places in a table of words by their frequency: two bytes choose one
ROWS_BYTES, IDS_BYTES, HEAD_BYTES = 2816, 512, 24  # of a page of a database
KINDS, WEIGHTS = ("pages", "text", "noise", "zeros"), (45, 15, 30, 10)


class Content:
    """Bytes of each kind."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        letters = "etaoinshrdlucmfwypvbgkqjxz"
        weights = [1 / (place + 2) for place in range(len(letters))]
        words = [
            "".join(self.dice.choices(letters, weights, k=self.dice.randrange(3, 8))).ljust(8).encode()
            for _ in range(WORDS)
        ]
        words[:2] = [b"\n  INFO ", b"\n2026-01"]
        sums = list(accumulate((place + 1) ** -0.85 for place in range(WORDS)))
        table, word = list[bytes](), 0
        for place in range(TABLE):
            while sums[word] / sums[-1] < (place + 0.5) / TABLE:
                word += 1
            table.append(words[word])
        self._table = table

    def text(self, length: int) -> bytes:
        """Words of eight bytes; `length` is a multiple of sixteen. zstd makes a third of it."""
        chosen = array("H", self.dice.randbytes(length // 4))
        return b"".join(itemgetter(*chosen)(self._table))

    def pages(self, length: int) -> bytes:
        """Pages of a database."""
        dice, rows = self.dice, self.text(length // PAGE * ROWS_BYTES)
        gap, rest = bytes(64 - HEAD_BYTES), bytes(PAGE - 64 - ROWS_BYTES - IDS_BYTES)
        return b"".join(
            part
            for at in range(0, len(rows), ROWS_BYTES)
            for part in (
                dice.randbytes(HEAD_BYTES), gap, rows[at : at + ROWS_BYTES], dice.randbytes(IDS_BYTES), rest
            )
        )  # fmt: skip

    def of(self, kind: str, length: int) -> bytes:
        """Bytes of a kind."""
        match kind:
            case "pages":
                return self.pages(length)
            case "text":
                return self.text(length)
            case "noise":
                return self.dice.randbytes(length)
            case _:
                return bytes(length)


def slots(mib: int, seed: int) -> list[tuple[int, str]]:
    """The slots in use of an image of that size, in order: first byte and kind."""
    dice = random.Random(seed)
    places = list(range(mib // SLOT_MIB))
    dice.shuffle(places)
    used = sorted(places[: len(places) * USED[0] // USED[1]])
    return [(place * SLOT_MIB * MIB, dice.choices(KINDS, WEIGHTS)[0]) for place in used]


def image(mib: int, seed: int) -> Iterator[tuple[int, bytes]]:
    """What is stored in an image, a mebibyte at a time; holes between."""
    content = Content(seed)
    for first, kind in slots(mib, seed):
        for at in range(first, first + SLOT_MIB * MIB, MIB):
            yield at, content.of(kind, MIB)


def changes(mib: int, seed: int, image_seed: int) -> Iterator[tuple[int, bytes]]:
    """One page in a hundred of the whole size, scattered over what is stored; a third of them is noise."""
    content = Content(seed)
    stored = [at for first, _ in slots(mib, image_seed) for at in range(first, first + SLOT_MIB * MIB, PAGE)]
    for place, at in enumerate(sorted(content.dice.sample(stored, mib * MIB // PAGE // SHARE))):
        yield at, content.of("pages" if place % 3 else "noise", PAGE)
