"""The charter: the small compare-and-set value that says who owns a group."""

from dataclasses import dataclass
from enum import StrEnum

from drsync.model.epoch import NEVER, Epoch
from drsync.model.group import GroupSpec
from drsync.model.position import History, Loss

CHARTER_BYTES_MAX = 64 * 1024  # because it is read and cached by every member; about 300 openings fit


class IntentKind(StrEnum):
    """What a procedure is about to do."""

    OPEN = "open"  # (re)open at a center without loss: first opening, restart, re-grant after an abort
    SWITCHOVER = "switchover"
    FAILOVER = "failover"


@dataclass(frozen=True, slots=True)
class Intent:
    """A procedure in progress, recorded before anything is touched.

    Attributes:
        id: random, 32 hex digits; idempotency key of every step.
        kind: which procedure.
        target: center that shall own the group.
        from_version: charter version it was planned on.
        actor: who asked.
        reason: why, in the asker's words.
        accept_loss: the operator accepted the loss statement.
        started_us: wall clock label, microseconds.
    """

    id: str
    kind: IntentKind
    target: str
    from_version: int
    actor: str
    reason: str
    accept_loss: bool = False
    started_us: int = 0


@dataclass(frozen=True, slots=True)
class Charter:
    """Who owns a group, in which epoch, with whom in sync, and how it came to that.

    Attributes:
        group: what the group is made of.
        version: +1 at every change; the store compares it.
        generation: of the charter store.
        owner: center; empty before the first opening.
        owner_session: the owner process (random per start) this epoch was granted to.
        epoch: NEVER before the first opening.
        in_sync: centers whose acknowledgment every write waits for.
        history: epoch history of the log.
        intent: the procedure in progress, if any.
    """

    group: GroupSpec
    version: int = 1
    generation: int = 0
    owner: str = ""
    owner_session: str = ""
    epoch: Epoch = NEVER
    in_sync: frozenset[str] = frozenset()
    history: History = ()
    intent: Intent | None = None

    @property
    def is_forced(self) -> bool:
        """Whether the present epoch was opened with an accepted loss."""
        return bool(self.history) and self.history[-1].loss is Loss.FORCED
