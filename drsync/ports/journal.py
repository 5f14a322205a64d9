"""The journal of one group at one center: an append-only log of batches, and its superblock.

One journal has one user at a time (the agent's event loop, in the main thread). In other threads only
`sync`, `index` and `mend` may run, each at most once at a time, and any number of `read`, `read_into`,
`expect`, `changed`, `layers` and `export_tail` of records that are neither trimmed nor cut meanwhile. After
any write or fsync error every further call raises `FailedCopyError`: a copy that may have lost data is never
retried into silence (P33). A full disk is no such error: a write that finds no space changes nothing, raises
`NoSpaceError`, and may be tried again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from drsync.delta.block_filter import BlockFilter
from drsync.delta.pieces import Piece
from drsync.model.errors import DrsyncError
from drsync.model.position import Position, Runs

Buffer: TypeAlias = bytes | bytearray | memoryview

Arrived: TypeAlias = Callable[[Sequence[int]], None]
"""Hears which of the places that were asked for are in memory, by their numbers from 0."""

Locator: TypeAlias = int
"""Where a payload byte lies in this journal: ``segment_number << 32 | byte offset in the segment file``.

Stable until the segment is trimmed or cut. Segment numbers start at 1, so a locator is never 0.
"""


@dataclass(frozen=True, slots=True)
class BatchPlace:
    """A stored batch: its records are `first_seq`..`last_seq`, its bytes start at `locator`."""

    first_seq: int
    last_seq: int
    locator: Locator
    length: int
    """Bytes of the batch on disk, header and padding included."""


@dataclass(frozen=True, slots=True)
class HeldSegment:
    """A full piece of the journal: trimming drops it as a whole.

    Attributes:
        last_seq: of its records.
        bytes: of disk that come back with it.
        newest_us: label of its newest batch or of the one after it: no record is newer; 0: not known.
    """

    last_seq: int
    bytes: int
    newest_us: int


EXPECTED_MAX = (
    32  # because they may lie in as many files, and half of what a journal keeps open must be enough
)


class Layer(Protocol):
    """What a stretch of records left in volumes: sorted pieces that don't overlap, by number.

    Good while its records are neither trimmed nor cut. May be used in any thread.
    """

    @property
    def base(self) -> Locator:
        """The locator that `at` and `record_at` of its pieces count from."""
        ...

    def filter(self) -> BlockFilter | None:
        """Which blocks it may hold pieces of; None: nobody knows. May read some 10 KiB: to be kept."""
        ...

    def select(self, volume: int, start: int, end: int) -> tuple[int, Sequence[Piece]]:
        """The pieces that hold any of bytes [start, end) of a volume, whole, and the number of the first.

        Raises:
            FailedCopyError: the journal cannot be read.
        """
        ...

    def piece(self, number: int) -> Piece:
        """One piece. Raises FailedCopyError."""
        ...


class Journal(Protocol):
    """Promises about batches. A batch is the encoded form of `drsync.delta.batch`."""

    @property
    def tip(self) -> Position:
        """Position after the last appended batch; ORIGIN when empty."""
        ...

    @property
    def first_seq(self) -> int:
        """First record still held; tip.seq + 1 when empty."""
        ...

    @property
    def durable_seq(self) -> int:
        """Last record that survives a host crash: everything up to it has been synced."""
        ...

    @property
    def runs(self) -> Runs:
        """Stretches of epochs held, oldest first."""
        ...

    @property
    def held_bytes(self) -> int:
        """Bytes of disk the journal occupies."""
        ...

    def held_bytes_after(self, seq: int) -> int:
        """Bytes of disk that stay occupied when everything up to record `seq` is dropped. Quick."""
        ...

    def sealed(self) -> Sequence[HeldSegment]:
        """All full segments, oldest first; the one that is written to is not among them. Quick."""
        ...

    def append(self, parts: Sequence[Buffer], first_seq: int, end: Position) -> Locator:
        """Append one encoded batch given as consecutive buffers; returns the locator of its first byte.

        When it returns the batch survives the death of this process, not of the host. The buffers may
        be reused. `first_seq` must be tip.seq + 1; `end` becomes the tip. The bytes are trusted to be a
        valid batch that continues the chain: the caller built or verified them.

        Raises:
            FailedCopyError: write error; the journal is failed.
            NoSpaceError: nothing was appended.
        """
        ...

    def make_room(self) -> None:
        """Reserve what appending needs next, after an append found no space.

        Raises:
            NoSpaceError: there is still none.
            FailedCopyError: another error; the journal is failed.
        """
        ...

    def hold_reserve(self, most_bytes: int) -> None:
        """How much space may be held ahead of appends; 0: as little as possible. To be told in each round.

        Changes nothing now; what is too much goes with the next `sync`.
        """
        ...

    def sync(self) -> int:
        """Make everything appended before the call durable; returns the new `durable_seq`.

        Blocks; meant for a thread. Directory entries of new segments are durable too when it returns.
        """
        ...

    @property
    def is_sync_brief(self) -> bool:
        """Whether syncs lately took no longer than a turn of a thread. Quick."""
        ...

    def sync_at_once(self) -> int | None:
        """Like `sync`, from the event loop; None, and nothing is done, unless that is brief.

        It is not while syncs take long, one is under way, or more than data is to be made durable.

        Raises:
            FailedCopyError: as `sync`; the journal is failed.
        """
        ...

    def begin_sync(self, told: Callable[[DrsyncError | None], None]) -> bool:
        """Begin what `sync` does, from the event loop, and go on.

        It cannot be where the system has no means, while a sync is under way, where nothing is to be made
        durable, or more than data. Whoever wants to cut or close meanwhile waits for it.

        Args:
            told: called once, in the running loop or by whoever waits in its thread, not before this returns:
                None, or a FailedCopyError, and the journal is failed.

        Returns:
            False where it cannot be: nothing was begun, and `told` is not called.
        """
        ...

    def read(self, locator: Locator, length: int) -> bytes:
        """`length` bytes at `locator`; they must lie in one batch.

        Raises:
            MalformedError: the place does not exist (trimmed, cut).
        """
        ...

    def read_into(self, locator: Locator, target: memoryview) -> None:
        """Like `read`, filling `target`."""
        ...

    def expect(self, places: Sequence[tuple[Locator, int]]) -> None:
        """These (locator, length) will be read next, in this order: the disk may fetch them at once.

        Changes nothing. At most `EXPECTED_MAX` of them.
        """
        ...

    def read_batches(self, after_seq: int, bytes_max: int) -> tuple[bytes, int]:
        """Whole batches that follow record `after_seq`, as stored, back to back, and the last seq in them.

        Returns at least one batch if there is one (even above `bytes_max`), else ``(b"", after_seq)``.
        `after_seq` must be a batch end or first_seq - 1.

        Raises:
            MalformedError: `after_seq` is before the first held record or inside a batch.
        """
        ...

    def places(self, after_seq: int) -> Iterator[BatchPlace]:
        """All batches that follow `after_seq`, in order."""
        ...

    def marks(self, after_seq: int) -> Iterator[bytes]:
        """Batches that hold one record after `after_seq`, neither WRITE nor ZERO: in order, for a start.

        Whole batches, or their first `drsync.delta.marks.MARK_BYTES_MAX` bytes. Of many heartbeats in one
        segment only some may be given, evenly spaced, and of checkpoints only the newest 20,000. Where
        segments are sealed it costs as much as there are marks.

        Raises:
            FailedCopyError: they cannot be read.
            MalformedError: the head of a batch is damaged.
        """
        ...

    def place_of(self, locator: Locator) -> BatchPlace:
        """The batch that holds a stored byte; what is stored of it is not looked at.

        Raises:
            MalformedError: the place does not exist (trimmed, cut).
        """
        ...

    def mend(self, batch: Buffer) -> BatchPlace:
        """Write a batch that is held once more, because the disk has changed it. Durable on return. Blocks.

        Neither length nor chain of the journal changes: `batch` must be the one that was appended, which its
        chain proves. A locator into it stays good.

        Raises:
            MalformedError: it is another batch, or it is not held; nothing was written.
            NoSpaceError: some of it may have been written; to be tried again.
            FailedCopyError: the journal is failed.
        """
        ...

    def changed(self, after_seq: int, through_seq: int) -> Mapping[int, list[tuple[int, int]]]:
        """What the WRITE and ZERO records in (`after_seq`, `through_seq`] change: by volume index, ascending.

        The ranges (offset, length in bytes) of a volume are sorted and neither overlap nor touch; a volume
        without any is left out. Neither end needs to be a batch end. Payloads are not read, so what
        costs time is the number of records; for many of them: in a thread.

        Raises:
            MalformedError: not all of these records are held.
            FailedCopyError: a record table is damaged or cannot be read.
        """
        ...

    def layers(self, after_seq: int, through_seq: int) -> Sequence[Layer]:
        """What the records in (`after_seq`, `through_seq`] left in the volumes, oldest layer first.

        Costs little where indexes are (see `index`), whatever the number of records. The oldest layer may
        hold records at or below `after_seq` too, which changes nothing for whoever looks through all layers
        at images that hold these. `through_seq` is a batch end.

        Header and table of a record have been verified when a layer names it, payloads only in the newest
        part of the journal: whoever reads a payload compares it with `payload hash`.

        Blocks: for a thread.

        Raises:
            MalformedError: not all of these records are held, or `through_seq` is no batch end.
            FailedCopyError: the journal is damaged or cannot be read.
        """
        ...

    def is_index_due(self, above_seq: int) -> bool:
        """Whether `index` has something to do. Quick."""
        ...

    def index(self, above_seq: int) -> bool:
        """Do some work ahead for `layers`: for one full segment that holds records above `above_seq`.

        Returns False when there was nothing to do. Blocks: for a thread. What fails here is of no importance:
        an index is made when it is needed.
        """
        ...

    def position_at(self, seq: int) -> Position | None:
        """The position whose last record is `seq`; None unless it is a held batch end, first_seq - 1 or 0."""
        ...

    def batch_end_at_or_below(self, seq: int) -> Position:
        """The highest held batch end <= seq (or the position before the first held record)."""
        ...

    def cut(self, after_seq: int) -> None:
        """Durably remove every record after the batch end `after_seq`; what was cut can never be read again.

        Raises:
            MalformedError: `after_seq` is no held batch end.
        """
        ...

    def export_tail(self, after_seq: int, name: str) -> str:
        """Durably copy the batches after `after_seq` aside as fork `name`; returns where. Idempotent."""
        ...

    def trim(self, through_seq: int) -> int:
        """Drop whole segments whose records are all <= `through_seq`; returns the new first_seq."""
        ...

    def close(self) -> None:
        """Release files. Does not sync."""
        ...


class Superblock(Protocol):
    """The small durable state of a copy: four copies in two files, written one after the other (F.2)."""

    def load(self) -> bytes | None:
        """The newest valid value; None only for a store that was never written.

        Raises:
            FailedCopyError: files exist but no copy is valid; never treated as fresh (P35).
        """
        ...

    def store(self, value: bytes) -> None:
        """Durable on return. Value up to 120 KiB. Blocks (fsync).

        Raises:
            FailedCopyError: never used again.
            NoSpaceError: the value before this one is what is stored.
        """
        ...


class Image(Protocol):
    """The bytes of a volume at a center. Reads beyond what was written are zeros."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def resize(self, size: int) -> None:
        """The volume has `size` bytes now. Quick, cannot fail, and keeps nothing: new bytes read as zeros.

        Never below what was written: whoever opens the image again must know a size that holds all of it.
        """
        ...

    def read_into(self, offset: int, target: memoryview) -> None:
        """Fill `target` from `offset`."""
        ...

    def read_cached(self, offset: int, target: memoryview) -> bool:
        """Like `read_into` where that waits for no disk; else False, and `target` holds anything.

        Raises:
            FailedCopyError: as `read_into`.
        """
        ...

    def will_need(self, offset: int, length: int) -> None:
        """This part will be read soon: the disk may begin. Changes nothing, and never fails."""
        ...

    def fetch(self, places: Sequence[tuple[int, int]], arrived: Arrived) -> bool:
        """Have these (offset, length) where `read_cached` finds them, without waiting; changes nothing.

        Args:
            places: parts of the image, not empty.
            arrived: called from the running loop with the numbers of places that are there, or cannot be
                had; may be called several times, names each place once, and not before this returns.

        Returns:
            False where that cannot be done: nothing was begun, and `arrived` is not called.
        """
        ...

    def extent(self, offset: int) -> tuple[int, bool]:
        """Where the stretch that holds `offset` ends, and whether it is a hole: not stored, all zeros.

        Never fails. May call data what is a hole, never the other way round. The next stretch may be of the
        same kind.
        """
        ...

    def write(self, offset: int, parts: Sequence[Buffer]) -> None:
        """Write consecutive buffers from `offset`.

        Raises:
            FailedCopyError: the image is failed.
            NoSpaceError: some of it may have been written; the same may be written again.
        """
        ...

    def zero(self, offset: int, length: int) -> None:
        """Make a range read as zeros, giving space back where the file system can."""
        ...

    def sync(self) -> None:
        """Everything written before is durable on return. Blocks."""
        ...

    def close(self) -> None:
        """Release the file."""
        ...
