"""What a relay says of itself, as it changes: a line for people, or an object for machines."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum


class Event(StrEnum):
    """What has changed."""

    SERVING = "serving"  # clients can connect
    ATTACHED = "attached"  # requests go to an owner
    GROWN = "grown"  # the volume is larger; clients that connect anew see it
    WAITING = "waiting"  # there is none; requests wait
    GIVING_UP = "giving_up"  # they have waited too long and are answered EIO
    BROKEN = "broken"  # acknowledged writes may be lost; present clients get EIO
    LOSS = "loss"  # the same, and present clients go on, as the operator wanted
    MENDED = "mended"  # these have all left; clients may come again
    COORDINATOR = "coordinator"  # it is not reached, or is again
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class Said:
    """One change.

    Attributes:
        event: what it is.
        text: one line for people.
        facts: the same for machines; values as JSON has them.
        is_bad: somebody should look.
    """

    event: Event
    text: str
    facts: dict[str, object] = field(default_factory=dict)
    is_bad: bool = False


Tell = Callable[[Said], None]
