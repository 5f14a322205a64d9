"""What a resync session puts aside beside a copy until the switch: blocks, what is known of them, the redo.

One thread uses a stage at a time, but `verify` may run beside `put` and `zero`. Nothing in it is part of the
copy before a switch was recorded, so whatever is wrong with it costs time and no data: it is dropped, and the
session begins anew.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from drsync.core.extents import Extents
from drsync.model.epoch import Epoch
from drsync.model.errors import DrsyncError
from drsync.model.position import Position
from drsync.ports.journal import Buffer, Journal


class FailedStageError(DrsyncError):
    """What was put aside cannot be read or is not what was put there; says where. The copy is as it was."""

    code = "stage_failed"


@dataclass(frozen=True, slots=True)
class StageInfo:
    """What a stage is for.

    Attributes:
        session: 32 hex digits, of the source.
        generation: of the marks that this session clears, at the source.
        epoch: that the source owns.
        rounds: how often the session began anew.
        p0: redo is what comes after this.
        base: the tip of the copy's own log, to which what is put aside is the difference.
        fork: the copy's own log was the source's up to here.
        is_everything: what is not put aside is zeros.
    """

    session: str
    generation: int
    epoch: Epoch
    rounds: int
    p0: Position
    base: Position
    fork: int = 0
    is_everything: bool = False


class StagedRun(NamedTuple):
    """Granules `first` up to and without `end` of a volume, put aside as bytes or as zeros."""

    volume: int
    first: int
    end: int
    is_zeros: bool


class Stage(Protocol):
    """A stage. Blocking calls say so; an error other than NoSpaceError is the end of the stage."""

    @property
    def session(self) -> StageInfo:
        """What it is for, as of the round."""
        ...

    @property
    def staged(self) -> Extents:
        """What is put aside durably, in all rounds."""
        ...

    @property
    def fresh(self) -> Extents:
        """What is put aside durably in this round."""
        ...

    def put(self, volume: int, offset: int, data: Buffer) -> None:
        """Put whole granules aside; the last of a volume may be short. Durable after the next `sync`.

        Raises:
            NoSpaceError: the disk is full.
            FailedStageError: it cannot be written.
        """
        ...

    def zero(self, volume: int, first: int, end: int) -> None:
        """Granules `first` up to and without `end` are zeros. Durable after the next `sync`."""
        ...

    def begin_round(self, session: StageInfo) -> None:
        """A later p0: the redo is forgotten, `fresh` is empty, what is staged stays. Durable. Blocks.

        Raises:
            NoSpaceError: the disk is full.
            FailedStageError: it cannot be written.
        """
        ...

    def forget_redo(self) -> None:
        """The source sends all of it again, from p0 on; blocks stay as they are. Blocks.

        Raises:
            NoSpaceError: the disk is full.
            FailedStageError: it cannot be removed.
        """
        ...

    def redo(self) -> Journal:
        """The redo, begun at p0 when there is none yet in this process; what a former one left is forgotten.

        Blocks. Raises as `Journal.append`.
        """
        ...

    def sync(self) -> None:
        """Everything before is durable: blocks, then what is known of them, then the redo. Blocks.

        Raises:
            NoSpaceError: the disk is full.
            FailedStageError: it cannot be written.
        """
        ...

    def shape(self) -> bool:
        """Bring what was put aside to the form of images, durably: their size, zeros beside its bytes.

        Everything must be synced. Whether that is done: where a file system knows no holes it is not. Blocks.

        Raises:
            NoSpaceError: the disk is full.
            FailedStageError: it cannot be written.
        """
        ...

    def compare(self, volume: int, read_into: Callable[[int, memoryview], None]) -> None:
        """Compare an image with what was put aside of its volume, as `shape` left it. Blocks.

        Raises:
            FailedStageError: names the first place that differs.
            DrsyncError: what `read_into` raises.
        """
        ...

    def verify(self) -> None:
        """Read back everything that is staged, and compare. Blocks, for as long as reading takes.

        What this process has read back since it was put aside is not read again, so that a part can be done
        while more is awaited.

        Raises:
            FailedStageError: names the first place that is not what was put there.
        """
        ...

    def read_into(self, volume: int, offset: int, target: memoryview) -> None:
        """Bytes that were put aside; compared with what was put there when whole granules are read.

        Raises:
            FailedStageError: they cannot be read, or are others.
        """
        ...

    def entries(self) -> Iterator[StagedRun]:
        """What is staged durably, in order; each granule once, as it was put last."""
        ...

    def close(self) -> None:
        """Release files; nothing is lost that was synced."""
        ...

    def drop(self) -> None:
        """Remove it. Blocks; may be called again. Raises FailedStageError."""
        ...
