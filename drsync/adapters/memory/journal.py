"""Journal and superblock that live in memory: reference and fake.

They keep the promises of `drsync.ports.journal`, and can be told to fail (`fail`) and to lose what was not
synced (`crash`). Both survive being closed, as a disk survives a process: `reopen` them.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from drsync.delta.batch import KIND_ZERO, peek, verify
from drsync.delta.changes import Changes
from drsync.delta.marks import MARK_BYTES_MAX, sole_kind
from drsync.delta.pieces import Newest, PieceTable
from drsync.model.errors import DrsyncError, FailedCopyError, MalformedError
from drsync.model.position import ORIGIN, EpochRun, Position, Runs
from drsync.ports.journal import BatchPlace, Buffer, HeldSegment, Locator

VALUE_BYTES_MAX = 120 << 10  # because the port promises that much and not more


class _Batch(NamedTuple):
    number: int
    first_seq: int
    end: Position
    data: bytes


class MemoryJournal:
    """`drsync.ports.journal.Journal` in memory. Each batch is a segment of its own.

    Args:
        start: position before the first record, for a journal that does not begin the log.

    Attributes:
        is_brief: `sync_at_once` syncs.
    """

    def __init__(self, start: Position = ORIGIN) -> None:
        self._batches: list[_Batch] = []
        self._prior = start
        self._number = 0
        self._durable_seq = start.seq
        self._failed = ""
        self._fail_in: dict[str, int] = {}
        self.is_brief = False
        self.forks: dict[str, tuple[Position, tuple[bytes, ...]]] = {}
        """Exported tails by name: the position before them and their batches."""

    # -- what tests do to it ---------------------------------------------------------------------------

    def fail(self, call: str, calls_before: int = 0) -> None:
        """Let a coming ``append``, ``sync`` or ``cut`` fail, after so many that still work."""
        self._fail_in[call] = calls_before

    def crash(self, kept: int = 0) -> None:
        """The host died: of the batches that were not synced only the first `kept` survive. Then `reopen`."""
        survivors = bisect_right(self._batches, self._durable_seq, key=_last_seq) + kept
        del self._batches[survivors:]
        self.close()

    def reopen(self) -> None:
        """A new process opened it: what is there is durable now, and old failures are forgotten."""
        self._failed = ""
        self._fail_in.clear()
        self._durable_seq = self.tip.seq

    # -- the port --------------------------------------------------------------------------------------

    @property
    def tip(self) -> Position:
        """See the port."""
        return self._batches[-1].end if self._batches else self._prior

    @property
    def first_seq(self) -> int:
        """See the port."""
        return self._prior.seq + 1

    @property
    def durable_seq(self) -> int:
        """See the port."""
        return self._durable_seq

    @property
    def runs(self) -> Runs:
        """See the port."""
        runs: list[EpochRun] = []
        for _, first_seq, end, _ in self._batches:
            if runs and runs[-1].epoch == end.epoch:
                runs[-1] = EpochRun(end.epoch, runs[-1].first_seq, end.seq, end.chain)
            else:
                runs.append(EpochRun(end.epoch, first_seq, end.seq, end.chain))
        return tuple(runs)

    @property
    def held_bytes(self) -> int:
        """See the port."""
        return sum(len(batch.data) for batch in self._batches)

    def held_bytes_after(self, seq: int) -> int:
        """See the port."""
        return sum(len(batch.data) for batch in self._batches if batch.end.seq > seq)

    def sealed(self) -> Sequence[HeldSegment]:
        """See the port."""
        return [
            HeldSegment(batch.end.seq, len(batch.data), peek(batch.data).time_us)
            for batch in self._batches[:-1]
        ]

    def append(self, parts: Sequence[Buffer], first_seq: int, end: Position) -> Locator:
        """See the port."""
        self._check("append")
        assert first_seq == self.tip.seq + 1, "batches follow each other without a gap"
        self._number += 1
        self._batches.append(_Batch(self._number, first_seq, end, b"".join(parts)))
        return self._number << 32

    def make_room(self) -> None:
        """See the port."""
        self._check("append")

    def hold_reserve(self, most_bytes: int) -> None:
        """See the port."""

    def sync(self) -> int:
        """See the port."""
        self._check("sync")
        self._durable_seq = self.tip.seq
        return self._durable_seq

    @property
    def is_sync_brief(self) -> bool:
        """See the port."""
        return self.is_brief

    def sync_at_once(self) -> int | None:
        """See the port."""
        return self.sync() if self.is_brief else None

    def begin_sync(self, told: Callable[[DrsyncError | None], None]) -> bool:
        """See the port."""
        del told
        return False

    def read(self, locator: Locator, length: int) -> bytes:
        """See the port."""
        self._check("read")
        index = bisect_left(self._batches, locator >> 32, key=_number)
        at = locator & 0xFFFFFFFF
        if index == len(self._batches) or self._batches[index].number != locator >> 32:
            raise MalformedError(f"locator {locator:#x}: not held (trimmed or cut)")
        data = self._batches[index].data[at : at + length]
        if len(data) != length:
            raise MalformedError(f"locator {locator:#x}: {length} bytes do not lie in one batch")
        return data

    def read_into(self, locator: Locator, target: memoryview) -> None:
        """See the port."""
        target[:] = self.read(locator, len(target))

    def expect(self, places: Sequence[tuple[Locator, int]]) -> None:
        """See the port."""

    def read_batches(self, after_seq: int, bytes_max: int) -> tuple[bytes, int]:
        """See the port."""
        self._check("read")
        found: list[bytes] = []
        size = 0
        for batch in self._batches[self._index_after(after_seq) :]:
            if found and size + len(batch.data) > bytes_max:
                break
            found.append(batch.data)
            size += len(batch.data)
            after_seq = batch.end.seq
        return b"".join(found), after_seq

    def places(self, after_seq: int) -> Iterator[BatchPlace]:
        """See the port."""
        self._check("read")
        for batch in self._batches[self._index_after(after_seq) :]:
            yield BatchPlace(batch.first_seq, batch.end.seq, batch.number << 32, len(batch.data))

    def marks(self, after_seq: int) -> Iterator[bytes]:
        """See the port."""
        self._check("read")
        for batch in self._batches:
            if batch.end.seq > after_seq and sole_kind(batch.data, 0, peek(batch.data)) > KIND_ZERO:
                yield batch.data[:MARK_BYTES_MAX]

    def place_of(self, locator: Locator) -> BatchPlace:
        """See the port."""
        self._check("read")
        index = bisect_left(self._batches, locator >> 32, key=_number)
        if index == len(self._batches) or self._batches[index].number != locator >> 32:
            raise MalformedError(f"locator {locator:#x}: not held (trimmed or cut)")
        batch = self._batches[index]
        return BatchPlace(batch.first_seq, batch.end.seq, batch.number << 32, len(batch.data))

    def mend(self, batch: Buffer) -> BatchPlace:
        """See the port."""
        self._check("mend")
        header = peek(batch)
        index = bisect_left(self._batches, header.last_seq, key=_last_seq)
        if index == len(self._batches):
            raise MalformedError(f"no batch of records {header.first_seq} to {header.last_seq} is held")
        held = self._batches[index]
        before = self.batch_end_at_or_below(held.first_seq - 1)
        if verify(batch, 0, header, before) != held.end or len(batch) != len(held.data):
            raise MalformedError(f"records {held.first_seq} to {held.end.seq}: another batch is held")
        self._batches[index] = _Batch(held.number, held.first_seq, held.end, bytes(batch))
        return BatchPlace(held.first_seq, held.end.seq, held.number << 32, len(held.data))

    def changed(self, after_seq: int, through_seq: int) -> Mapping[int, list[tuple[int, int]]]:
        """See the port."""
        self._check("read")
        if not self.first_seq - 1 <= after_seq <= through_seq <= self.tip.seq:
            raise MalformedError(
                f"seq {after_seq} to {through_seq}: held are {self.first_seq} to {self.tip.seq}"
            )
        changes = Changes()
        for batch in self._batches:
            first, end = max(after_seq + 1, batch.first_seq), min(through_seq, batch.end.seq) + 1
            if first < end:
                header = peek(batch.data)
                table = memoryview(batch.data)[header.table_start : header.payload_start]
                changes.add_table(table, first - batch.first_seq, end - batch.first_seq)
        return changes.ranges()

    def layers(self, after_seq: int, through_seq: int) -> Sequence[PieceTable]:
        """See the port. Each batch is a layer."""
        self._check("read")
        if not self.first_seq - 1 <= after_seq <= through_seq or self.position_at(through_seq) is None:
            raise MalformedError(
                f"seq {after_seq} to {through_seq}: held are {self.first_seq} to {self.tip.seq}"
            )
        found: list[PieceTable] = []
        prior = self._prior
        for batch in self._batches:
            if after_seq < batch.end.seq <= through_seq:
                header = peek(batch.data)
                try:
                    verify(batch.data, 0, header, prior)
                except MalformedError as error:
                    raise FailedCopyError(f"journal in memory, seq {header.first_seq}: {error}") from error
                newest = Newest()
                table = memoryview(batch.data)[header.table_start : header.payload_start]
                newest.add_table(table, header.payload_start, header.count)
                found.append(newest.finish(batch.number << 32))
            prior = batch.end
        return found

    def is_index_due(self, above_seq: int) -> bool:
        """See the port."""
        del above_seq
        return False

    def index(self, above_seq: int) -> bool:
        """See the port."""
        return self.is_index_due(above_seq)

    def position_at(self, seq: int) -> Position | None:
        """See the port."""
        found = self.batch_end_at_or_below(seq)
        if found.seq == seq:
            return found
        return ORIGIN if seq == 0 else None

    def batch_end_at_or_below(self, seq: int) -> Position:
        """See the port."""
        self._check("read")
        index = bisect_right(self._batches, seq, key=_last_seq)
        return self._batches[index - 1].end if index else self._prior

    def cut(self, after_seq: int) -> None:
        """See the port."""
        self._check("cut")
        del self._batches[self._index_after(after_seq) :]
        self._durable_seq = min(self._durable_seq, after_seq)

    def export_tail(self, after_seq: int, name: str) -> str:
        """See the port."""
        self._check("export")
        if name not in self.forks:
            tail = self._batches[self._index_after(after_seq) :]
            self.forks[name] = (self.batch_end_at_or_below(after_seq), tuple(batch.data for batch in tail))
        return f"memory/{name}"

    def trim(self, through_seq: int) -> int:
        """See the port."""
        self._check("trim")
        count = min(
            bisect_right(self._batches, min(through_seq, self._durable_seq), key=_last_seq),
            max(len(self._batches) - 1, 0),
        )
        if count:
            self._prior = self._batches[count - 1].end
            del self._batches[:count]
        return self.first_seq

    def close(self) -> None:
        """See the port."""
        self._failed = self._failed or "it was closed"

    def _index_after(self, after_seq: int) -> int:
        index = bisect_right(self._batches, after_seq, key=_last_seq)
        end = self._batches[index - 1].end if index else self._prior
        if end.seq != after_seq:
            raise MalformedError(f"seq {after_seq} is no batch end of {self.first_seq} to {self.tip.seq}")
        return index

    def _check(self, call: str) -> None:
        if not self._failed and call in self._fail_in:
            self._fail_in[call] -= 1
            if self._fail_in[call] < 0:
                self._failed = f"{call}: told to fail"
        if self._failed:
            raise FailedCopyError(f"journal in memory cannot be used: {self._failed}")


def _number(batch: _Batch) -> int:
    return batch.number


def _last_seq(batch: _Batch) -> int:
    return batch.end.seq


class MemorySuperblock:
    """`drsync.ports.journal.Superblock` in memory. Every value that was stored survives a crash."""

    def __init__(self) -> None:
        self._value: bytes | None = None
        self._fail_in: int | None = None
        self._failed = ""
        self.stores = 0
        """How often `store` succeeded."""

    def fail(self, calls_before: int = 0) -> None:
        """Let a coming `store` fail, after so many that still work."""
        self._fail_in = calls_before

    def damage(self) -> None:
        """Make every stored copy invalid."""
        self._failed = "no copy is valid"

    def reopen(self) -> None:
        """A new process opened it; damage remains."""
        self._fail_in = None

    def load(self) -> bytes | None:
        """See the port."""
        if self._failed:
            raise FailedCopyError(f"superblock: {self._failed}")
        return self._value

    def store(self, value: bytes) -> None:
        """See the port."""
        assert len(value) <= VALUE_BYTES_MAX
        if self._fail_in is not None:
            self._fail_in -= 1
            if self._fail_in < 0:
                raise FailedCopyError("superblock: told to fail")
        if self._failed:
            raise FailedCopyError(f"superblock: {self._failed}")
        self._value = bytes(value)
        self.stores += 1
