"""Words of what is promised to users and how well it is kept: heartbeats, standings, stretches of time."""

from dataclasses import dataclass
from enum import StrEnum

from drsync.model.epoch import NEVER, Epoch


@dataclass(frozen=True, slots=True)
class Beat:
    """A heartbeat record as it was found in a copy.

    Attributes:
        seq: its record.
        time_us: the label its owner gave it: microseconds since 1970, counted by the owner's steady clock
            since the opening, so that a corrected wall clock does not bend it.
        epoch: in which it was written.
    """

    seq: int
    time_us: int
    epoch: Epoch


NO_BEAT = Beat(0, 0, NEVER)
"""No heartbeat was found."""


class Standing(StrEnum):
    """A figure beside its target."""

    OK = "ok"  # at most half of the target
    SOFT = "soft"  # above half of it
    OVER = "over"
    UNKNOWN = "unknown"  # nobody can say; counts as over


class Lack(StrEnum):
    """What a group lacked for a stretch of time."""

    DOWN = "down"  # it took no writes
    UNKNOWN = "unknown"  # nobody watched, and nobody proved afterwards that it took writes; counts as down
    UNPROTECTED = "unprotected"  # it took writes, and no second copy could take over within the RPO target
    RPO = "rpo"  # a center was over its RPO target, or nobody could say


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of time in which a group lacked something. Labels of the coordinator's clock.

    Attributes:
        lack: what.
        from_us, to_us: from when until when.
        center: the center it is about; empty: the group.
        cause: one sentence.
        operation: id of the operation that explains it; empty when none does.
        is_planned: a person had announced it before it began.
    """

    lack: Lack
    from_us: int
    to_us: int
    center: str = ""
    cause: str = ""
    operation: str = ""
    is_planned: bool = False

    @property
    def seconds(self) -> float:
        """How long."""
        return (self.to_us - self.from_us) / 1e6
