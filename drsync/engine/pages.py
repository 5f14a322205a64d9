"""Memory that begins where a page does, so that the disk can take what is written from it without a copy."""

import mmap
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

PIECE_BYTES: Final = 1 << 20  # because larger writes gain nothing and hold memory
KEPT_MAX: Final = 4  # because more are seldom in use at once, and new pages cost more than using them again

_kept: deque[mmap.mmap] = deque()
"""Threads take and give; each of these calls is one step for them."""


@contextmanager
def piece() -> Iterator[memoryview]:
    """`PIECE_BYTES` of memory that holds anything; nobody may use it afterwards."""
    try:
        memory = _kept.pop()
    except IndexError:
        memory = mmap.mmap(-1, PIECE_BYTES)
    try:
        yield memoryview(memory)
    finally:
        if len(_kept) < KEPT_MAX:
            _kept.append(memory)
