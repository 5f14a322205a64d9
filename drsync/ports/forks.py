"""Forks of a copy: records that the group gave up, kept aside as journals of their own."""

from dataclasses import dataclass
from typing import Protocol

from drsync.model.position import Position
from drsync.ports.journal import Journal


@dataclass(frozen=True, slots=True)
class ForkInfo:
    """What is kept.

    Attributes:
        name: as `Journal.export_tail` was told.
        path: where its files are, for people.
        prior: the position after which it begins: up to there it is the group's own log.
        tip: its last position.
        batches, bytes: how much; bytes on disk.
        first_us, last_us: labels of its first and last batch; 0: it has none.
        damage: what cannot be read of it; empty when it is whole.
    """

    name: str
    path: str
    prior: Position
    tip: Position
    batches: int = 0
    bytes: int = 0
    first_us: int = 0
    last_us: int = 0
    damage: str = ""

    @property
    def records(self) -> int:
        """How many it has."""
        return self.tip.seq - self.prior.seq


class Forks(Protocol):
    """All forks of one copy. Every method blocks."""

    def names(self) -> list[str]:
        """In order. Raises FailedCopyError: the directory cannot be read."""
        ...

    def describe(self, name: str) -> ForkInfo:
        """Raises UsageError: there is none of that name; FailedCopyError: it cannot be read."""
        ...

    def open(self, name: str) -> Journal:
        """For reading only: whatever would change it raises RefusedError. Raises as `describe`."""
        ...

    def discard(self, name: str) -> None:
        """Remove it for good; durable on return. Raises as `describe`."""
        ...
