"""A charter store in memory that can lose answers: the reference and the fake."""

from collections.abc import Callable
from enum import StrEnum

from drsync.model.charter import Charter
from drsync.model.errors import TransientError
from drsync.ports.charter_store import CasOutcome, CasResult

Guard = Callable[[Charter | None, Charter], str | None]
"""Why the present charter may not become the new one, None when it may."""


class Mishap(StrEnum):
    """What happens to the next compare-and-set."""

    NONE = "none"
    LANDS_UNHEARD = "lands_unheard"  # in force, but the answer is lost
    NEVER_LANDS = "never_lands"  # not in force, and the answer is lost
    LANDS_LATER = "lands_later"  # the answer is lost; in force after `deliver_late`


class MemoryCharterStore:
    """Linearizable while nothing is injected.

    Attributes:
        mishaps: what happens to the next changes, first in first out.
        is_down: reading raises, changing is UNKNOWN and does not land.
        guard: see the type.
    """

    def __init__(self) -> None:
        self.mishaps: list[Mishap] = []
        self.is_down = False
        self.guard: Guard = lambda _current, _new: None
        self._charters: dict[str, Charter] = {}
        self._history: dict[str, list[Charter]] = {}
        self._late: list[tuple[int, Charter]] = []

    async def read(self, group_id: str) -> Charter | None:
        """The charter in force."""
        if self.is_down:
            raise TransientError("the charter store cannot be reached")
        return self._charters.get(group_id)

    def history(self, group_id: str) -> list[Charter]:
        """Every charter the group ever had, oldest first."""
        return list(self._history.get(group_id, ()))

    async def compare_and_set(self, expected_version: int, charter: Charter) -> CasResult:
        """See the port; expected version 0 creates."""
        assert charter.version == expected_version + 1, (charter.version, expected_version)
        mishap = self.mishaps.pop(0) if self.mishaps else Mishap.NONE
        if self.is_down or mishap is Mishap.NEVER_LANDS:
            return CasResult(CasOutcome.UNKNOWN, None, "no answer")
        if mishap is Mishap.LANDS_LATER:
            self._late.append((expected_version, charter))
            return CasResult(CasOutcome.UNKNOWN, None, "no answer")
        result = self._swap(expected_version, charter)
        return CasResult(CasOutcome.UNKNOWN, None, "no answer") if mishap is Mishap.LANDS_UNHEARD else result

    def deliver_late(self) -> None:
        """What was on its way arrives now, and lands if its version still fits."""
        late, self._late = self._late, []
        for expected_version, charter in late:
            self._swap(expected_version, charter)

    def _swap(self, expected_version: int, charter: Charter) -> CasResult:
        current = self._charters.get(charter.group.id)
        version = current.version if current else 0
        if version != expected_version:
            return CasResult(
                CasOutcome.LOST, current, f"the charter has version {version}, not {expected_version}"
            )
        objection = self.guard(current, charter)
        if objection is not None:
            return CasResult(CasOutcome.LOST, current, objection)
        self._charters[charter.group.id] = charter
        self._history.setdefault(charter.group.id, []).append(charter)
        return CasResult(CasOutcome.DONE, charter)
