"""Where it is kept what was asked for, what was done, and what was found. Append-only for people.

Every method is durable on return and blocks for one small commit (tens of microseconds to a few
milliseconds, one fsync): cheap enough to be called between the steps of a procedure.
"""

from typing import Protocol

from drsync.model.drill import DrillReport, OpenView
from drsync.model.operation import Event, Operation, Step


class Evidence(Protocol):
    """Kept for ever unless a person removes it."""

    def begin(self, operation: Operation) -> None:
        """An operation starts (or goes on after a restart: same id, steps are kept)."""
        ...

    def step(self, operation_id: str, step: Step) -> None:
        """A step has ended. Repeating a step number replaces nothing and is an error."""
        ...

    def end(self, operation: Operation) -> None:
        """An operation has ended: state, result, loss and error are final."""
        ...

    def operation(self, operation_id: str) -> Operation | None:
        """An operation with its steps, None when there is none of that id."""
        ...

    def unfinished(self) -> list[Operation]:
        """Operations that were running when the process ended."""
        ...

    def record(self, event: Event) -> Event:
        """Something happened; returned with its number."""
        ...

    def open_view(self, view: OpenView) -> None:
        """About to ask for a view: whatever happens next, it must be closed."""
        ...

    def close_view(self, view: OpenView) -> None:
        """The agent said that the view is gone."""
        ...

    def open_views(self) -> list[OpenView]:
        """Views that nobody has proved to be gone."""
        ...

    def keep_drill(self, report: DrillReport) -> None:
        """A drill has ended."""
        ...
