"""What a group wants done so that a checkpoint suits its application (decision 27)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

FREEZE_S_MAX: Final = (
    10.0  # because applications, cluster managers and their probes give up after a few times this
)
HOOKS_S_MAX: Final = 120.0  # because who holds an application still for longer has an outage
STEPS_MAX: Final = 16  # because each is a pause that somebody has to understand at night


class StepKind(StrEnum):
    """What a step does."""

    FSFREEZE = "fsfreeze"  # freezes the file system that is mounted there
    POSTGRESQL = "postgresql"  # has a server write out what it holds (CHECKPOINT)
    PROGRAM = "program"  # runs the group's own


class OnFailure(StrEnum):
    """What becomes of a checkpoint whose hooks failed."""

    CRASH_CONSISTENT = "crash-consistent"  # it is written, as any other
    NONE = "none"  # it is not written


@dataclass(frozen=True, slots=True)
class QuietStep:
    """One step; `name` is a mount point, or what the agent's configuration calls it."""

    kind: StepKind
    name: str

    @property
    def words(self) -> str:
        """For people."""
        return f"{self.kind.value} {self.name}"


@dataclass(frozen=True, slots=True)
class Consistency:
    """The policy. Seconds.

    Attributes:
        before: what makes the application quiet; file systems are frozen last, whatever the order.
        after: what lets it go on; runs whatever happened before.
        every_s: the owner makes such a checkpoint by itself each so often; 0: only when it is asked to.
        max_freeze_s: no file system stays frozen for longer.
        timeout_s: for the steps before together, and again for the steps after.
        on_failure: what becomes of a checkpoint whose steps failed.
        max_age_s: people are told when the newest such point is older; 0: twice `every_s`.
    """

    before: tuple[QuietStep, ...] = ()
    after: tuple[QuietStep, ...] = ()
    every_s: float = 0.0
    max_freeze_s: float = (
        2.0  # because a client that waits for so long retries, and one that waits longer fails
    )
    timeout_s: float = 30.0  # because a CHECKPOINT of a busy server takes seconds
    on_failure: OnFailure = OnFailure.CRASH_CONSISTENT
    max_age_s: float = 0.0

    @property
    def late_after_s(self) -> float:
        """People are told when the newest such point is older than this; 0: nobody asks."""
        return self.max_age_s or 2 * self.every_s
