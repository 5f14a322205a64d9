"""One member of the simulated group: its log, what survives which crash, and its statement.

Only state and its bookkeeping live here; what a member may do with it is asked of the rules by the world.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from drsync.core.store_trust import Remembered
from drsync.model.charter import Charter
from drsync.model.copy import CopyState, Statement
from drsync.model.epoch import NEVER, Epoch
from drsync.model.position import NO_CHAIN, ORIGIN, EpochRun, History, Position, Runs

if TYPE_CHECKING:
    from drsync.core.group_log import GroupLog
    from drsync.core.ownership import InSync


class Rec(NamedTuple):
    """A record; here every batch has one."""

    epoch: Epoch
    seq: int
    value: int
    chain: bytes


def record(epoch: Epoch, seq: int, value: int, before: bytes) -> Rec:
    """A record with its chain."""
    text = b"%d %d %d" % (epoch, seq, value)
    return Rec(epoch, seq, value, blake2b(before + text, digest_size=16).digest())


class Log:
    """An append-only list of records that knows its runs."""

    def __init__(self, recs: Sequence[Rec] = ()) -> None:
        self.recs: list[Rec] = []
        self._runs: list[EpochRun] = []
        self.extend(recs)

    def __len__(self) -> int:
        return len(self.recs)

    def extend(self, recs: Sequence[Rec]) -> None:
        """Append records in order."""
        for rec in recs:
            assert rec.seq == len(self.recs) + 1
            self.recs.append(rec)
            if self._runs and self._runs[-1].epoch == rec.epoch:
                self._runs[-1] = self._runs[-1]._replace(last_seq=rec.seq, last_chain=rec.chain)
            else:
                self._runs.append(EpochRun(rec.epoch, rec.seq, rec.seq, rec.chain))

    def cut(self, keep: int) -> list[Rec]:
        """Drop everything after record `keep`; returns it."""
        gone = self.recs[keep:]
        del self.recs[keep:]
        while self._runs and self._runs[-1].last_seq > keep:
            run = self._runs.pop()
            if run.first_seq <= keep:
                self._runs.append(run._replace(last_seq=keep, last_chain=self.recs[-1].chain))
        return gone

    def copy(self) -> "Log":
        """An independent copy."""
        other = Log()
        other.recs, other._runs = list(self.recs), list(self._runs)
        return other

    def runs(self) -> Runs:
        """Stretches of epochs."""
        return tuple(self._runs)

    def chain_at(self, seq: int) -> bytes:
        """The chain after record `seq`."""
        return self.recs[seq - 1].chain if seq else NO_CHAIN

    @property
    def tip(self) -> Position:
        """The last position."""
        return Position(*self.recs[-1][:2], self.recs[-1].chain) if self.recs else ORIGIN


@dataclass
class Disk:
    """What survives a crash of the process. The log beyond `durable` does not survive one of the host."""

    log: Log = field(default_factory=Log)
    durable: int = 0
    known: int = 0  # highest commit heard
    promised: Epoch = NEVER
    follow: Epoch = NEVER
    history: History = ()
    image: tuple[int, bytes] = (0, NO_CHAIN)  # records applied, and the chain there
    unclean: bool = False
    amnesic: bool = False
    session: str = ""
    token: int = 0
    charter: Charter | None = None
    memory: dict[str, Remembered] = field(default_factory=dict)
    bound: tuple[float, Epoch] = (0.0, NEVER)
    forks: list[list[Rec]] = field(default_factory=list)

    def copy(self) -> "Disk":
        """A snapshot."""
        kept = dict(vars(self), log=self.log.copy(), memory=dict(self.memory), forks=list(self.forks))
        return Disk(**kept)


class Member:
    """A center's copy: its disk, and the memory of its process."""

    def __init__(self, name: str, session: str) -> None:
        self.name = name
        self.is_up = True
        self.is_host_down = False
        self.disk = Disk(session=session)
        self.start()

    def start(self) -> None:
        """A process starts: everything but the disk is fresh."""
        self.state = CopyState.REPLICA
        self.inbox: list[Rec] = []
        self.counts: GroupLog | None = None
        self.in_sync: InSync | None = None
        self.connected: dict[str, str] = {}  # as the owner: member -> session it connected in
        self.epoch = NEVER
        self.lease = self.failsafe = 0.0
        self.is_checked = False  # the store compared the token since this start

    @property
    def charter(self) -> Charter:
        """The newest charter this member has seen."""
        assert self.disk.charter is not None
        return self.disk.charter

    @property
    def is_owner(self) -> bool:
        """Whether it has opened and not stepped down, frozen or not."""
        return self.state in {CopyState.OWNER, CopyState.FROZEN}

    def step_down(self) -> None:
        """It is no owner any more."""
        self.state = CopyState.REPLICA
        self.counts = self.in_sync = None
        self.lease = self.failsafe = 0.0

    def statement(self) -> Statement:
        """Its word about its copy."""
        disk = self.disk
        state = self.state
        if state is CopyState.REPLICA and disk.promised > disk.follow:
            state = CopyState.SEALED
        return Statement(
            center=self.name,
            session=disk.session,
            incarnation=self.name,
            state=state,
            promised=disk.promised,
            follow=disk.follow,
            runs=disk.log.runs(),
            appended=len(disk.log),
            durable=disk.durable,
            applied=disk.image[0],
            commit=disk.known,
            tip=disk.log.tip,
            unclean=disk.unclean,
            amnesic=disk.amnesic,
            token=disk.token,
        )
