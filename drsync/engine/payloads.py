"""Payloads of records that lie in a journal and not yet in an image: compared with their hashes when read.

The record tables are kept as they were when the batches were appended or verified, 32 bytes a record. So
nothing but payloads is read back, and a disk that changes any of them is noticed before a byte of it is
given to anybody. The whole record is read where only a part of it is wanted.
"""

from bisect import bisect_right
from struct import Struct
from typing import Final, TypeVar

from xxhash import xxh3_64_intdigest

from drsync.delta.batch import KIND_ZERO, RECORD, RECORD_BYTES
from drsync.model.errors import DamagedError, FailedCopyError
from drsync.ports.journal import Journal, Locator

KEPT_MAX: Final = 4  # records, because one is at most 1 MiB, and neighbours lie in few
VERIFIED_MAX: Final = 65_536  # records read in parts, because they cost 8 MB
_LENGTH: Final = Struct("<I")
_LENGTH_AT: Final = 16  # of length in `RECORD`
_PLACE: Final = Struct("<I")
_PLACE_AT: Final = 20  # of payload_off in `RECORD`

T = TypeVar("T")


class Payloads:
    """Records by the place of their payloads. In other threads only `read_into` with `kept`."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._tables: list[bytes] = []
        self._starts: list[Locator] = []
        self._verified: dict[Locator, None] = {}

    def __len__(self) -> int:
        """Batches noted."""
        return len(self._starts)

    def note(self, table: bytes, payload: Locator) -> None:
        """A batch that follows all others: its record table and the locator of its payload area."""
        self._tables.append(table)  # first: whoever finds its place in another thread finds it too
        self._starts.append(payload)

    def forget(self, count: int) -> None:
        """Nobody will read the first `count` batches here any more."""
        if count:
            del self._starts[:count]
            del self._tables[:count]

    def forget_last(self) -> None:
        """The batch that was noted last is not taken."""
        del self._starts[-1]  # first: no other thread finds what is half gone
        del self._tables[-1]

    def clear(self) -> None:
        """Forget all."""
        self.forget(len(self._starts))
        self._verified.clear()

    def read(self, locator: Locator, length: int) -> bytes:
        """See `read_into`."""
        target = bytearray(length)
        self.read_into(locator, memoryview(target))
        return bytes(target)

    def read_into(
        self, locator: Locator, target: memoryview, kept: dict[Locator, memoryview] | None = None
    ) -> None:
        """Fill `target` with payload at `locator`, of one batch.

        A record that is read in parts is remembered as verified for a while; with `kept` it is read once, and
        what was verified is what is given.

        Raises:
            DamagedError: a record has changed since it was written.
            FailedCopyError: the journal cannot be read.
        """
        index = bisect_right(self._starts, locator) - 1
        if index < 0:
            raise _unknown(locator)
        table, start = self._tables[index], self._starts[index]
        at = done = locator - start
        end = at + len(target)
        # Mostly all records of a batch are of one size, and one is wanted: that costs half as much.
        first = _LENGTH.unpack_from(table, _LENGTH_AT)[0]
        number = at // first if first else 0
        if number * RECORD_BYTES < len(table):
            _, hashed, length, low, _, kind, _, _ = RECORD.unpack_from(table, number * RECORD_BYTES)
            if low == at and length == end - at and kind != KIND_ZERO:
                self._journal.read_into(locator, target)
                verify_payload(locator, target, hashed)
                return
        number = _record_at(table, at)
        is_filled = False
        while done < end:
            if number * RECORD_BYTES >= len(table):
                raise _unknown(start + done)
            _, hashed, length, low, _, kind, _, _ = RECORD.unpack_from(table, number * RECORD_BYTES)
            number += 1
            if kind == KIND_ZERO or not length:
                continue
            high = low + length
            if not low <= done < high:
                raise _unknown(start + done)
            if low >= at and high <= end:
                if not is_filled:  # at once as far as it goes: records are smaller than what is read, mostly
                    self._journal.read_into(start + low, target[low - at :])
                    is_filled = True
                verify_payload(start + low, target[low - at : high - at], hashed)
            else:
                stop = min(high, end)
                self._read_part(start + low, length, hashed, done - low, target[done - at : stop - at], kept)
            done = min(high, end)

    def _read_part(
        self,
        record: Locator,
        length: int,
        hashed: int,
        skip: int,
        target: memoryview,
        kept: dict[Locator, memoryview] | None,
    ) -> None:
        """Fill `target` from byte `skip` of a record on."""
        if kept is None and record in self._verified:
            self._journal.read_into(record + skip, target)
            return
        data = kept.get(record) if kept is not None else None
        if data is None:
            data = memoryview(bytearray(length))
            self._journal.read_into(record, data)
            verify_payload(record, data, hashed)
            if kept is not None:
                _keep(kept, record, data, KEPT_MAX)
            else:
                _keep(self._verified, record, None, VERIFIED_MAX)
        target[:] = data[skip : skip + len(target)]


def _keep(kept: dict[Locator, T], record: Locator, value: T, most: int) -> None:
    kept[record] = value
    if len(kept) > most:
        del kept[next(iter(kept))]


def _record_at(table: bytes, at: int) -> int:
    """The record that holds byte `at` of the payload area: the last one that begins there or before."""
    low, high = 0, len(table) // RECORD_BYTES
    while high - low > 1:
        middle = (low + high) // 2
        if _PLACE.unpack_from(table, middle * RECORD_BYTES + _PLACE_AT)[0] <= at:
            low = middle
        else:
            high = middle
    return low


def verify_payload(record: Locator, data: memoryview, hashed: int) -> None:
    """Compare what was read of the journal with the hash of its record. Raises DamagedError."""
    found = xxh3_64_intdigest(data)
    if found != hashed:
        raise DamagedError(
            f"the journal is damaged: segment {record >> 32}, byte {record & 0xFFFFFFFF}: "
            f"{len(data)} bytes of payload have hash {found:016x}, {hashed:016x} was written",
            record,
        )


def _unknown(locator: Locator) -> FailedCopyError:
    return FailedCopyError(f"no record is known at segment {locator >> 32}, byte {locator & 0xFFFFFFFF}")
