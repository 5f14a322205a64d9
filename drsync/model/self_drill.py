"""What a group wants of the checks that its centers do by themselves (decision 24)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MAX_TIME_S: Final = (
    3600.0  # because a view pins the copy, and an hour of a journal is what a quota has room for
)


class Check(StrEnum):
    """What is done with an opened point."""

    NONE = "none"  # nothing: points are proved by drills alone
    HASH = "hash"  # everything that is stored is read
    FILESYSTEM = "filesystem"  # the checker of the file system that is found on each volume
    PROGRAM = "program"  # the group's own


@dataclass(frozen=True, slots=True)
class SelfDrill:
    """The policy. Seconds and bytes.

    Attributes:
        check: what is done.
        every_s: one point of each stretch of so many seconds is checked.
        program: argv of `Check.PROGRAM`; the agent's configuration decides whether it may run.
        share: of time that checks may take, more than 0 and at most 1.
        rate: bytes read per second at most.
        max_time_s: a check takes no longer, and its view pins the copy no longer.
        max_age_s: people are told when the newest proof of a center is older; 0: nobody asks.
    """

    check: Check = Check.HASH
    every_s: float = 3600.0  # because a fault that is an hour old is found while its points can be opened
    program: tuple[str, ...] = ()
    share: float = 0.05  # because nobody should see it in a graph of a busy disk
    rate: int = 32 << 20  # because that is a tenth of a slow disk, and 3 % of a core
    max_time_s: float = 600.0  # because the images of a replica trail by as much, and so the view pins little
    max_age_s: float = 0.0
