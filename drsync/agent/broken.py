"""Copies that could not be opened: they say so, take part in nothing, and stay as they are.

A broken copy must not take the other groups of its center with it, and nobody may mistake it for a blank one.
"""

from dataclasses import dataclass

from drsync.engine.copy import Self
from drsync.engine.durable import Durable
from drsync.model.charter import Charter
from drsync.model.copy import CopyState, Statement
from drsync.model.errors import DrsyncError, FailedCopyError, NoSpaceError, StartDamageError
from drsync.ports.copy_store import CopyStore


@dataclass(slots=True)
class BrokenCopy:
    """One of them.

    Attributes:
        charter: newest one seen.
        statement: what it says of itself: FAILED, with its promise if that could be read, and no position.
        reason: why it could not be opened.
        damage: what batches of another center would mend; None where a person has to look at it.
    """

    charter: Charter
    statement: Statement
    reason: str
    damage: StartDamageError | None = None

    def error(self) -> FailedCopyError:
        """What everybody is told who wants to use it."""
        if self.damage is not None:
            asked = "the records are asked for at the other centers"
            return FailedCopyError(
                f"the copy at {self.statement.center} is damaged: {self.reason}; {asked}",
                code=self.damage.code,
                remedy="wait until one of them gives them; if none has them: drsync journal check",
            )
        return FailedCopyError(
            f"the copy at {self.statement.center} has failed: {self.reason}",
            remedy="look at it with drsync journal check; to start afresh, move its folder away and restart",
        )


def broken_copy(me: Self, store: CopyStore, charter: Charter, error: DrsyncError) -> BrokenCopy:
    """What is left of a copy that could not be opened because of `error`."""
    try:
        raw = store.superblock().load()
        durable = Durable.decode(raw) if raw is not None else Durable("", me.boot_id)
    except DrsyncError:
        durable = Durable("", me.boot_id)
    statement = Statement(
        center=me.center,
        session=me.session,
        incarnation=durable.incarnation,
        state=CopyState.FAILED,
        promised=durable.promised,
        follow=durable.follow,
    )
    damage = error if isinstance(error, StartDamageError) else None
    return BrokenCopy(charter, statement, str(error), damage)


def may_be_created_again(store: CopyStore, error: DrsyncError) -> bool:
    """A full disk kept a copy from being created, or from ending its switch: it is tried again.

    Nothing was ever in the one, and everything that the other needs is there.
    """
    if not isinstance(error, NoSpaceError):
        return False
    try:
        raw = store.superblock().load()
        found = Durable.decode(raw) if raw is not None else None
    except DrsyncError:
        return False
    return found is None or found.charter is None or found.switch is not None
