"""What a member states about its copy of a group."""

from dataclasses import dataclass
from enum import StrEnum

from drsync.model.epoch import NEVER, Epoch
from drsync.model.fileset import FileSetWord
from drsync.model.position import ORIGIN, Position, Runs


class CopyState(StrEnum):
    """Coarse state of a center's copy (F.12); consistency and currency are separate facts."""

    BLANK = "blank"
    REPLICA = "replica"
    SEALED = "sealed"
    OWNER = "owner"
    FROZEN = "frozen"
    FORKED = "forked"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Statement:
    """A member's word about its copy, durable where it must be before it is spoken.

    Attributes:
        center: who speaks.
        session: random per process start; acknowledgments belong to it.
        incarnation: random per formatted store.
        state: coarse state.
        promised: lowest epoch it still accepts records of; durable.
        follow: epoch whose history it has adopted; durable.
        first_seq: first record still in its journal (1 + trimmed).
        runs: epochs in its journal.
        appended, durable, applied: positions as sequence numbers; applied <= durable <= appended.
        commit: highest commit it has heard of.
        tip: position of its last appended record.
        unclean: its host restarted uncleanly and it has not caught up since.
        amnesic: it was noticed to have gone back in time.
        token: start counter compared with the store's memory.
        files: what it holds of each tree.
        no_space: why it cannot take everything now: its disk is full; empty otherwise.
        resync: what a session that brings it level by blocks has done so far; empty without one.
    """

    center: str
    session: str
    incarnation: str
    state: CopyState = CopyState.BLANK
    promised: Epoch = NEVER
    follow: Epoch = NEVER
    first_seq: int = 1
    runs: Runs = ()
    appended: int = 0
    durable: int = 0
    applied: int = 0
    commit: int = 0
    tip: Position = ORIGIN
    unclean: bool = False
    amnesic: bool = False
    token: int = 0
    files: tuple[FileSetWord, ...] = ()
    no_space: str = ""
    resync: str = ""
