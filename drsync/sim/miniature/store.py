"""The simulated charter store: one charter, one lease, and the doubts after a start."""

from typing import TYPE_CHECKING

from drsync.core.lease import LeaseBook
from drsync.core.store_trust import Heard
from drsync.model.charter import Charter
from drsync.sim.miniature.rules import Rules

if TYPE_CHECKING:
    from drsync.core.observation import LastKnown
    from drsync.model.epoch import Epoch

NAMES = ("A", "B", "C")
"""Centers: A and B share a city, C is remote."""


class Store:
    """One store generation. `name` is its place in the network."""

    def __init__(self, name: str, charter: Charter, now: int, rules: Rules) -> None:
        self.name = name
        self.rules = rules
        self.is_up = True
        self.is_lost = False
        self.is_stale = False  # found out to be an old copy
        self.charter = charter
        self.tokens: dict[str, int] = {}
        self.book = LeaseBook.started(charter, now)
        self.in_sync_before: dict[Epoch, frozenset[str]] = {}  # epoch -> the set it was opened from
        self.delayed: list[tuple[int, Charter]] = []
        self.heard: dict[str, Heard] = {}
        self.db_mark = self.run_mark = "1"
        self.last_known: LastKnown | None = None

    def own(self) -> Heard:
        """What this store knows."""
        return Heard(self.charter.generation, self.charter.version, self.charter.epoch)

    def ready(self) -> str:
        """Empty when it may act."""
        if not self.is_up:
            return "down"
        if self.is_stale:
            return "an old copy"
        waiting = self.rules.store_ready(self.db_mark, self.run_mark, self.heard, NAMES, self.own())
        if not waiting:
            self.run_mark = self.db_mark
        return waiting

    def restart(self, now: int, *, is_known_good: bool) -> None:
        """The process starts; without its mark in the run directory it cannot be sure of itself."""
        if self.is_lost:
            return
        self.is_up = True
        self.book = self.rules.lease_started(self.charter, now)
        self.last_known = None
        self.heard = {}
        if not is_known_good:
            self.run_mark = ""

    def execute(self, expected: int, charter: Charter, now: int) -> bool:
        """Compare and set."""
        if self.ready() or self.charter.version != expected:
            return False
        if not self.book.may_change_owner(self.charter, charter, now):
            return False
        if charter.epoch != self.charter.epoch:
            self.last_known = None
            self.in_sync_before[charter.epoch] = self.charter.in_sync
        self.charter = charter
        return True
