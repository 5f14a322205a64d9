"""Where a copy stands in a group's log, and the history that log belongs to."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from drsync.model.epoch import NEVER, Epoch

CHAIN_BYTES = 16
NO_CHAIN = bytes(CHAIN_BYTES)
"""The chain before the first record."""


class Position(NamedTuple):
    """A batch end. Two copies are equal up to a position only if all three fields are equal (P07).

    `seq` counts records from 1; 0 is the empty log. `chain` is the 16-byte running hash after `seq`.
    """

    epoch: Epoch
    seq: int
    chain: bytes


ORIGIN = Position(NEVER, 0, NO_CHAIN)


class Loss(StrEnum):
    """What an opening admitted to lose."""

    NONE = "none"
    VOLATILE = "volatile"  # appended but never flushed, after unclean restarts of all members
    FORCED = "forced"  # an operator accepted a loss statement


@dataclass(frozen=True, slots=True)
class EpochStart:
    """One entry of the epoch history: `epoch` continues the log after `fork_seq`.

    Attributes:
        epoch: the epoch that was opened.
        uuid: random hex of 32 digits; the same number with another uuid is evidence of split brain.
        fork_seq: last record of earlier epochs that belongs to this history (a batch end).
        fork_chain: chain at `fork_seq`.
        loss: what the opening admitted to lose.
        lost_at_least: records known to be lost (0 unless `loss` says otherwise).
    """

    epoch: Epoch
    uuid: str
    fork_seq: int
    fork_chain: bytes
    loss: Loss = Loss.NONE
    lost_at_least: int = 0


History = tuple[EpochStart, ...]
"""Oldest first. The end of an epoch is the *lowest* start of all later epochs (P11)."""


class EpochRun(NamedTuple):
    """A maximal stretch of one journal that bears one epoch: records `first_seq`..`last_seq`."""

    epoch: Epoch
    first_seq: int
    last_seq: int
    last_chain: bytes


Runs = tuple[EpochRun, ...]
"""What a journal holds, oldest first, as stretches of epochs. Contiguous from the first kept record."""
