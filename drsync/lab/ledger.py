"""What the demo's writer writes, and what must be found of it afterwards. Pure functions on bytes.

Write number `n` goes to slot ``n mod slots``. A write is repeated until it is acknowledged before the next
one starts, so everything up to the last acknowledged number is acknowledged, and at most one number is open.
"""

import struct
from dataclasses import dataclass

RECORD_BYTES = 4096  # because block devices are written in such pieces
MAGIC = b"drsync ledger 1\n"
_HEAD = struct.Struct("<16s16sQ24x")
RUN_BYTES = 16


@dataclass(frozen=True, slots=True)
class Readback:
    """What was found of the acknowledged writes.

    Attributes:
        acknowledged: writes that were acknowledged before the volume was read.
        slots: slots that were compared; each holds the newest of its writes.
        lost: numbers of acknowledged writes whose slot holds something older or something else.
    """

    acknowledged: int
    slots: int
    lost: tuple[int, ...]


def record(run: bytes, number: int) -> bytes:
    """The content of a write; every 64 bytes name the run and the number, so that a torn one is seen."""
    return _HEAD.pack(MAGIC, run, number) * (RECORD_BYTES // _HEAD.size)


def slot_of(number: int, slots: int) -> int:
    """Where a write goes."""
    return number % slots


def compare(content: bytes, run: bytes, acknowledged: int, attempted: int) -> Readback:
    """What of the writes 1 … `acknowledged` is in `content`.

    A slot may also hold a later write up to `attempted`: those that were under way while it was read.
    """
    slots = len(content) // RECORD_BYTES
    newest = range(max(1, acknowledged - slots + 1), acknowledged + 1)
    lost = tuple(
        number
        for number in newest
        if not any(_holds(content, run, later, slots) for later in range(number, attempted + 1, slots))
    )
    return Readback(acknowledged, len(newest), lost)


def _holds(content: bytes, run: bytes, number: int, slots: int) -> bool:
    at = slot_of(number, slots) * RECORD_BYTES
    return content[at : at + RECORD_BYTES] == record(run, number)
