"""The record of a procedure while it runs: numbered steps with where, when, how long and how it ended."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from drsync.core.loss import LossStatement
from drsync.model.errors import DrsyncError
from drsync.model.operation import Step, StepOutcome
from drsync.ports.clock import Clock


class Progress(Protocol):
    """Is told how a procedure gets on. Must not block for longer than a small commit."""

    def stepped(self, step: Step) -> None:
        """A step has ended."""
        ...

    def stated(self, loss: LossStatement) -> None:
        """What going on would give up; always before it is committed."""
        ...

    def waiting(self, reason: str, until: float | None) -> None:
        """Nothing to do for now; `until` in seconds of the clock. An empty reason: it goes on."""
        ...


class StepLog:
    """Numbers and times the steps of one procedure."""

    def __init__(self, clock: Clock, told: Callable[[Step], None], done_before: int = 0) -> None:
        """Go on counting after `done_before` steps of an earlier runner."""
        self._clock = clock
        self._told = told
        self._n = done_before
        self._wait: tuple[float, int, str] | None = None

    @contextmanager
    def step(self, name: str, center: str = "") -> Iterator["Note"]:
        """Time the block; a DrsyncError makes the step failed and goes on upwards."""
        self.end_wait()
        note, began, label = Note(), self._clock.now(), self._clock.wall_us()
        try:
            yield note
        except DrsyncError as error:
            self._tell(name, center, label, began, StepOutcome.FAILED, str(error))
            raise
        self._tell(name, center, label, began, note.outcome, note.detail)

    def adopt(self, step: Step) -> None:
        """A step of a procedure within this one, numbered anew."""
        self._n += 1
        self._told(replace(step, n=self._n))

    def wait(self, reason: str) -> None:
        """Waiting goes on, or begins; however long it takes it is one step, with the last reason."""
        if self._wait is None:
            self._wait = (self._clock.now(), self._clock.wall_us(), reason)
        else:
            self._wait = (*self._wait[:2], reason)

    def end_wait(self) -> None:
        """Waiting is over."""
        if self._wait is not None:
            (began, label, reason), self._wait = self._wait, None
            self._tell("wait", "", label, began, StepOutcome.DONE, reason)

    def _tell(
        self, name: str, center: str, label: int, began: float, outcome: StepOutcome, detail: str
    ) -> None:
        self._n += 1
        self._told(Step(self._n, name, center, label, self._clock.now() - began, outcome, detail))


class Note:
    """What a step wants to say about itself when it ends."""

    __slots__ = ("detail", "outcome")

    def __init__(self) -> None:
        self.detail = ""
        self.outcome = StepOutcome.DONE

    def fail(self, detail: str) -> None:
        """It did not do what it should, but that is no error."""
        self.outcome, self.detail = StepOutcome.FAILED, detail

    def skip(self, detail: str) -> None:
        """There was nothing to do, or it cannot be done here."""
        self.outcome, self.detail = StepOutcome.SKIPPED, detail
