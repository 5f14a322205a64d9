"""What a resync session needs of whoever keeps dirty sets, cursors and pins."""

from collections.abc import Mapping
from typing import Protocol

from drsync.core import dirty
from drsync.core.dirty import DirtySet
from drsync.wire.stream import ToldCursor


class Marks(Protocol):
    """Dirty sets, cursors and pins of one copy, by center."""

    def of(self, center: str) -> DirtySet:
        """What the center may lack that the journal no longer holds."""
        ...

    async def store(self, center: str, marked: DirtySet) -> None:
        """Durable on return; only then may records go that it stands for. Raises DrsyncError."""
        ...

    def cursor(self, center: str) -> int:
        """The center itself confirmed our log up to here, durably; 0 when nothing is known."""
        ...

    async def met(self, center: str, incarnation: str, seq: int) -> None:
        """The center itself states that it holds our log up to `seq`, which may be below its cursor.

        Durable on return, with the marks that this makes superfluous gone (`core.dirty.reached`).
        Raises DrsyncError.
        """
        ...

    def confirmed(self, center: str, incarnation: str, seq: int) -> None:
        """The center itself acknowledged our log up to `seq` as durable; to be stored within a second."""
        ...

    def confirmed_by_all(self, durable: int) -> int:
        """Every member has the log durably up to here; `durable` is our own position."""
        ...

    def to_tell(self, durable: int) -> Mapping[str, ToldCursor]:
        """What an owner that holds its log durably up to `durable` says of all members."""
        ...

    def pin(self, center: str, seq: int | None) -> None:
        """Records after `seq` stay in the journal for a session with the center; None: it is over."""
        ...

    async def set_bytes(self, center: str, through: int) -> int | None:
        """Of the granules that a session would send which began at record `through`; None: nobody knows."""
        ...


class PlainMarks:
    """Marks in memory only, of a copy that trims nothing which a member may lack: for towns and tests."""

    def __init__(self) -> None:
        self._sets: dict[str, DirtySet] = {}
        self._cursors: dict[str, int] = {}
        self.pins: dict[str, int] = {}

    def of(self, center: str) -> DirtySet:
        """See Marks."""
        return self._sets.get(center, DirtySet())

    async def store(self, center: str, marked: DirtySet) -> None:
        """See Marks."""
        self._sets[center] = marked

    def cursor(self, center: str) -> int:
        """See Marks."""
        return self._cursors.get(center, 0)

    async def met(self, center: str, incarnation: str, seq: int) -> None:
        """See Marks."""
        del incarnation
        self._cursors[center] = seq
        self._sets[center] = dirty.reached(self.of(center), seq)

    def confirmed(self, center: str, incarnation: str, seq: int) -> None:
        """See Marks."""
        del incarnation
        self._cursors[center] = max(self.cursor(center), seq)

    def confirmed_by_all(self, durable: int) -> int:
        """See Marks."""
        return min([durable, *self._cursors.values()])

    def to_tell(self, durable: int) -> Mapping[str, ToldCursor]:
        """See Marks."""
        del durable
        return {center: ToldCursor("", seq, is_fresh=True) for center, seq in self._cursors.items()}

    def pin(self, center: str, seq: int | None) -> None:
        """See Marks."""
        if seq is None:
            self.pins.pop(center, None)
        else:
            self.pins[center] = seq

    async def set_bytes(self, center: str, through: int) -> int | None:
        """See Marks."""
        del center, through
        return None
