"""Where it is kept how far a runbook is: an intent before every step, its outcome after it.

Every method is durable on return and blocks for one small commit, like those of `ports.evidence`.
"""

from typing import NamedTuple, Protocol

from drsync.model.runbook import Attempt, Run


class Place(NamedTuple):
    """Where a run may have left something: a center, and the name under which its agent registered it."""

    run: str
    center: str
    scope: str


class Runs(Protocol):
    """Runs and their steps; kept for ever, as evidence."""

    def begin(self, run: Run) -> None:
        """A run starts. Beginning one again changes nothing."""
        ...

    def find(self, run_id: str) -> Run | None:
        """A run."""
        ...

    def intend(self, run_id: str, attempt: Attempt) -> None:
        """About to perform a half of a step: whatever happens next, it may have happened."""
        ...

    def conclude(self, run_id: str, attempt: Attempt) -> None:
        """How that ended."""
        ...

    def attempts(self, run_id: str) -> list[Attempt]:
        """Everything that was tried, in order."""
        ...

    def owe(self, place: Place) -> None:
        """About to make something there: it must be taken away, whatever happens next."""
        ...

    def settle(self, place: Place) -> None:
        """The agent has proved that nothing of it is left there."""
        ...

    def owed(self) -> list[Place]:
        """Where nobody has proved it yet."""
        ...
