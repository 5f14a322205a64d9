"""What travels between members and stores of the world. Frozen values only."""

from typing import NamedTuple

from drsync.core.compare import ConnectPlan
from drsync.model.charter import Charter
from drsync.model.copy import Statement
from drsync.model.epoch import Epoch
from drsync.model.position import History
from drsync.sim.miniature.member import Rec


class Connect(NamedTuple):
    """The owner's plan for a member, and the statement it was computed from."""

    epoch: Epoch
    history: History
    word: Statement
    plan: ConnectPlan
    charter: Charter


class Append(NamedTuple):
    """Records after `base`, where the chain is `chain`."""

    epoch: Epoch
    base: int
    chain: bytes
    recs: tuple[Rec, ...]
    commit: int
    charter: Charter


class Acknowledge(NamedTuple):
    """How far a member has the log in `epoch`."""

    epoch: Epoch
    word: Statement
    appended: int
    durable: int


class Reject(NamedTuple):
    """The member promised a higher epoch."""

    epoch: Epoch


class Renew(NamedTuple):
    """The owner asks the store for a lease."""

    sent_at: int
    epoch: Epoch


class LeaseReply(NamedTuple):
    """The store granted it."""

    sent_at: int
    epoch: Epoch


Message = Connect | Append | Acknowledge | Reject | Renew | LeaseReply
