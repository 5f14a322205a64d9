"""What people asked for and what became of it: operations, their steps, and events."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from drsync.model.epoch import NEVER, Epoch

Facts = Mapping[str, object]
"""Named facts that go to people and tools as JSON: text, numbers, lists and mappings of them."""


class OperationKind(StrEnum):
    """Which procedure."""

    OPEN = "open"
    SWITCHOVER = "switchover"
    FAILOVER = "failover"
    DRILL = "drill"


class OperationState(StrEnum):
    """How far it is; only RUNNING changes."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"


class StepOutcome(StrEnum):
    """How a step ended."""

    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Step:
    """A finished step.

    Attributes:
        n: 1, 2, 3 … within the operation.
        name: what was done, e.g. ``group.seal``.
        center: where; empty for the charter store.
        started_us: wall clock label.
        seconds: by the monotonic clock.
        outcome: how it ended.
        detail: one sentence.
    """

    n: int
    name: str
    center: str
    started_us: int
    seconds: float
    outcome: StepOutcome
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an operation did not end well; `exit` is the exit code of a command that waits for it."""

    code: str
    message: str
    remedy: str
    exit: int


@dataclass(frozen=True, slots=True)
class Operation:
    """Something that somebody asked for.

    Attributes:
        id: random, 32 hex digits; equal to the intent's for procedures that record one.
        kind: which procedure.
        group: name of the group.
        target: center it is about.
        actor: who asked.
        reason: why, in the asker's words.
        started_us, ended_us: wall clock labels; 0 while it runs.
        state: how far it is.
        loss: the loss statement, if one was made.
        result: what was reached.
        error: why not.
        steps: finished steps, in order.
    """

    id: str
    kind: OperationKind
    group: str
    target: str
    actor: str
    reason: str
    started_us: int
    ended_us: int = 0
    state: OperationState = OperationState.RUNNING
    loss: Facts | None = None
    result: Facts = field(default_factory=dict)
    error: Fault | None = None
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth knowing that happened; kept for ever.

    Attributes:
        kind: past participle with its object, e.g. ``agent_connected``.
        text: one sentence for people.
        group, center: what it is about; may be empty.
        epoch: of the group at that moment.
        at_us: wall clock label.
        n: number given by the store, rising; 0 before that.
    """

    kind: str
    text: str
    group: str = ""
    center: str = ""
    epoch: Epoch = NEVER
    at_us: int = 0
    n: int = 0
