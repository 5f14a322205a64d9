"""The stupid twin of a journal: full lists of records, and every small story of openings and losses."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from itertools import product
from typing import NamedTuple

from drsync.core.lineage import append_start
from drsync.model.copy import CopyState, Statement
from drsync.model.epoch import Epoch
from drsync.model.position import NO_CHAIN, ORIGIN, EpochRun, EpochStart, History, Loss, Position, Runs


class Rec(NamedTuple):
    """A record. An epoch writes each position at most once, so these two numbers say which one it is."""

    epoch: Epoch
    seq: int


Log = tuple[Rec, ...]


def written(*stretches: tuple[int, int]) -> Log:
    """A log of (epoch, number of records) after one another."""
    epochs = [epoch for epoch, count in stretches for _ in range(count)]
    return tuple(Rec(Epoch(epoch), seq) for seq, epoch in enumerate(epochs, start=1))


@cache
def chain_of(log: Log) -> bytes:
    """The chain after the last record."""
    if not log:
        return NO_CHAIN
    return blake2b(chain_of(log[:-1]) + repr(log[-1]).encode(), digest_size=16).digest()


def tip_of(log: Log) -> Position:
    return Position(log[-1].epoch, len(log), chain_of(log)) if log else ORIGIN


@cache
def runs_of(log: Log, first_seq: int = 1) -> Runs:
    """What a journal that starts at `first_seq` says about the log."""
    runs: list[EpochRun] = []
    for rec in log[first_seq - 1 :]:
        start = runs.pop().first_seq if runs and runs[-1].epoch == rec.epoch else rec.seq
        runs.append(EpochRun(rec.epoch, start, rec.seq, chain_of(log[: rec.seq])))
    return tuple(runs)


def shared(one: Sequence[Rec], other: Sequence[Rec]) -> int:
    """How many records two logs have in common, by looking at all of them."""
    count = 0
    for mine, yours in zip(one, other, strict=False):
        if mine != yours:
            break
        count += 1
    return count


def word(
    log: Log,
    center: str = "b",
    *,
    state: CopyState = CopyState.REPLICA,
    promised: int = 0,
    follow: int = 0,
    trimmed: int = 0,
    durable: int | None = None,
    applied: int = 0,
    commit: int = 0,
    unclean: bool = False,
    amnesic: bool = False,
    session: str = "1",
    incarnation: str = "i",
) -> Statement:
    """A member's statement about `log`."""
    return Statement(
        center=center,
        session=session,
        incarnation=incarnation,
        state=state,
        promised=Epoch(promised),
        follow=Epoch(follow),
        first_seq=trimmed + 1,
        runs=runs_of(log, trimmed + 1),
        appended=len(log),
        durable=len(log) if durable is None else durable,
        applied=applied,
        commit=commit,
        tip=tip_of(log),
        unclean=unclean,
        amnesic=amnesic,
    )


def start(epoch: int, fork_seq: int, loss: Loss = Loss.NONE, chain: bytes = NO_CHAIN) -> EpochStart:
    return EpochStart(Epoch(epoch), f"u{epoch}", fork_seq, chain, loss)


@dataclass(frozen=True)
class Story:
    """What really happened: each epoch's opening, and the full log its owner ended with.

    Attributes:
        starts: every opening, nothing left out.
        logs: log of each epoch's owner; the last one is the log of the present owner.
        histories: what the charter said in each epoch.
    """

    starts: tuple[EpochStart, ...] = ()
    logs: tuple[Log, ...] = ()
    histories: tuple[History, ...] = ()

    def opened(self, epoch: int, fork_seq: int, loss: Loss, count: int) -> "Story":
        """The story after one more opening at `fork_seq` and `count` writes."""
        before = self.logs[-1][:fork_seq] if self.logs else ()
        opening = start(epoch, fork_seq, loss, chain_of(before))
        new = tuple(Rec(Epoch(epoch), fork_seq + n) for n in range(1, count + 1))
        history = append_start(self.histories[-1] if self.histories else (), opening)
        return Story((*self.starts, opening), (*self.logs, before + new), (*self.histories, history))

    @property
    def log(self) -> Log:
        return self.logs[-1]

    @property
    def history(self) -> History:
        return self.histories[-1]

    @property
    def epoch(self) -> Epoch:
        return self.starts[-1].epoch

    def member_logs(self) -> Iterator[tuple[int, Log]]:
        """Every log a member may be left with, and which of the epochs it follows at most."""
        found: dict[Log, int] = {}
        for n, log in enumerate(self.logs):
            for length in range(len(log) + 1):
                found.setdefault(log[:length], n)
        for log, n in found.items():
            yield n, log

    def was_maybe_acknowledged(self, rec: Rec) -> bool:
        """Whether a record that is gone may have been: the opening that cut it off admitted a loss."""
        later = [opening for opening in self.starts if opening.epoch > rec.epoch]
        cutting = next((opening for opening in later if opening.fork_seq < rec.seq), None)
        return cutting is not None and cutting.loss is not Loss.NONE


def stories(openings: int, records: int, losses: Sequence[Loss] = (Loss.NONE, Loss.FORCED)) -> list[Story]:
    """All stories of up to so many openings whose logs hold up to so many records."""
    found = [Story().opened(1, 0, Loss.NONE, count) for count in range(records + 1)]
    last = found
    for epoch in range(2, openings + 1):
        last = [
            story.opened(epoch, fork_seq, loss, count)
            for story, loss in product(last, losses)
            for fork_seq in range(len(story.log) + 1)
            for count in range(records - fork_seq + 1)
        ]
        found = [*found, *last]
    return found
