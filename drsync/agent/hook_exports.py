"""Where runbooks find the volumes that this agent serves: of an open view, or of a group that it owns."""

from collections.abc import Callable

from drsync.agent.exports import Sockets
from drsync.engine.member import Member
from drsync.model.errors import TransientError, UsageError
from drsync.ports.clock import Clock

SERVED_S = 5.0  # because sockets appear within a tenth of a second after an opening
POLL_S = 0.05


class HookExports:
    """Implements `hooks.Exports`."""

    def __init__(self, member: Callable[[str], Member], sockets: Sockets, clock: Clock, session: str) -> None:
        """`session`: of this process; `member` raises UsageError for a group that is not here."""
        self._member = member
        self._sockets = sockets
        self._clock = clock
        self._session = session

    async def uri(self, group_id: str, volume: str, view_id: str) -> str:
        """See Exports."""
        member = self._member(group_id)
        if all(known.name != volume for known in member.copy.spec.volumes):
            names = ", ".join(known.name for known in member.copy.spec.volumes)
            raise UsageError(
                f"{member.copy.spec.name} has no volume {volume}", remedy=f"Its volumes: {names}."
            )
        if view_id:
            return await self._of_view(member, volume, view_id)
        return await self._of_group(member, volume)

    async def _of_view(self, member: Member, volume: str, view_id: str) -> str:
        view = member.views.find(view_id)
        if view is None:
            raise UsageError(f"view {view_id[:32]} is not open here", code="unknown_view")
        return (await self._sockets.serve_view(view))[volume]

    async def _of_group(self, member: Member, volume: str) -> str:
        deadline = self._clock.now() + SERVED_S
        while True:
            uri = self._sockets.uris(member).get(volume, "")
            if uri:
                return uri
            if self._clock.now() > deadline:
                raise TransientError(f"{member.copy.me.center} does not serve {member.copy.spec.name}")
            await self._clock.sleep_until(self._clock.now() + POLL_S)

    def basis(self, group_id: str, view_id: str) -> str:
        """See Exports."""
        term = self._member(group_id).term
        epoch = 0 if term is None else term.charter.epoch
        return f"{self._session}/{view_id or epoch}"
