"""A member, as the resync sessions that it is the target of need it: `resync_target.TargetEvents`."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from drsync.engine.copy import GroupCopy
from drsync.engine.fold import Folder
from drsync.engine.retention import Keeper
from drsync.engine.views import Views
from drsync.model import epoch as epochs
from drsync.model.charter import Charter
from drsync.model.copy import CopyState
from drsync.model.epoch import Epoch
from drsync.model.errors import DrsyncError, RefusedError
from drsync.model.group import WhenFull


class Hosted(Protocol):
    """The member, as far as it is needed here."""

    copy: GroupCopy
    views: Views
    folder: Folder
    keeper: Keeper

    @property
    def charter(self) -> Charter | None:
        """The newest charter seen."""
        ...

    @property
    def is_owner(self) -> bool:
        """Whether a term of ownership runs, or is about to."""
        ...

    def copy_troubled(self, error: DrsyncError) -> None:
        """The copy cannot be read or written."""
        ...


class ResyncHost:
    """See `TargetEvents`."""

    def __init__(
        self,
        member: Hosted,
        lock: asyncio.Lock,
        say: Callable[[str, str], None],
        give_up_view: Callable[[str, str], None],
    ) -> None:
        """`lock` serialises the member's requests; `say` tells events, `give_up_view` serves no longer."""
        self._member = member
        self._lock = lock
        self._say = say
        self._give_up_view = give_up_view

    def resync_told(self, event: str, reason: str) -> None:
        """See TargetEvents."""
        self._say(event, reason)

    def copy_troubled(self, error: DrsyncError) -> None:
        """See TargetEvents."""
        self._member.copy_troubled(error)

    def requests_held(self) -> asyncio.Lock:
        """See TargetEvents."""
        return self._lock

    @asynccontextmanager
    async def views_given_up(self) -> AsyncIterator[None]:
        """See TargetEvents."""
        member = self._member
        async with member.folder.lock:
            member.copy.holds.switched(self._say)
            for view_id in member.views.ids():
                member.views.release(view_id)
                self._give_up_view(view_id, "the images below it change (resync)")
            yield
            member.keeper.switched()  # at once: by its numbers the former log may say too much of the others

    def may_switch(self, epoch: Epoch) -> str:
        """See TargetEvents. A promise to somebody else, or a role, came in between (INV-03)."""
        member = self._member
        charter, copy = member.charter, member.copy
        if copy.state not in (CopyState.BLANK, CopyState.REPLICA, CopyState.SEALED):
            return f"it is {copy.state.value}"
        if member.is_owner:
            return "it owns the group"
        if copy.durable.promised != epoch or charter is None or charter.epoch != epoch:
            return f"it promised epoch {epochs.show(copy.durable.promised)}"
        if copy.me.center in charter.in_sync:
            return "it is in the in-sync set"
        return self._on_hold()

    def _on_hold(self) -> str:
        """By policy a checkpoint on hold does not go for a resync, which would replace what is below it."""
        copy = self._member.copy
        names = ", ".join(hold.name for hold in copy.holds.all)
        is_kept = bool(names) and copy.spec.policy.when_full is WhenFull.STALL
        return f"checkpoints are on hold ({names})" if is_kept else ""

    def require_no_holds(self) -> None:
        """Raises RefusedError: by policy what is on hold here stays (`when_full`)."""
        if why := self._on_hold():
            here, group = self._member.copy.me.center, self._member.copy.spec.name
            raise RefusedError(
                f"{here} cannot be resynced: {why}",
                code="on_hold",
                remedy=f"drsync hold release {group} NAME --at {here}",
            )

    def require_no_role(self, charter: Charter) -> None:
        """Raises RefusedError: this center owns the group, or its acknowledgments are waited for."""
        member = self._member
        here = member.copy.me.center
        if member.is_owner or charter.owner == here:
            raise RefusedError(f"{here} owns this epoch itself", code="forked")
        if here in charter.in_sync:
            raise RefusedError(f"{here} is in the in-sync set: take it out first", code="in_sync")
