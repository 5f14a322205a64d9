"""Sockets of an agent: one per owned group, one per open view."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from drsync.adapters.nbd.address import make_uri
from drsync.agent.front_end import BlockClient, BlockServer, FrontEnd
from drsync.engine.member import Member
from drsync.engine.views import GroupView, ViewDevice
from drsync.model import served
from drsync.model.errors import DrsyncError
from drsync.model.served import Served
from drsync.ports.volume import BlockDevice, Exports

if TYPE_CHECKING:
    from drsync.engine.term import OwnerTerm


class GroupExports:
    """The volumes of a group while this center owns it."""

    def __init__(self, member: Member) -> None:
        self._member = member

    def names(self) -> list[str]:
        """See Exports."""
        return [v.name for v in self._member.copy.spec.volumes if self._member.device(v.name) is not None]

    def describe(self, name: str) -> str:
        """See Exports."""
        term = self._member.term
        if term is None or name not in self.names():
            return ""
        return served.describe(name, self._member.copy.spec.name, Served.under(term.charter))

    def find(self, name: str) -> BlockDevice | None:
        """See Exports."""
        return self._member.device(name)


class ViewExports:
    """The volumes of a view; every connection of an export shares one private layer."""

    def __init__(self, view: GroupView) -> None:
        self._view = view
        self._devices: dict[str, ViewDevice] = {v.name: view.device(v) for v in view.spec.volumes}

    def names(self) -> list[str]:
        """See Exports."""
        return sorted(self._devices)

    def describe(self, name: str) -> str:
        """See Exports."""
        if name not in self._devices:
            return ""
        return f"volume {name} of group {self._view.spec.name} as it was at record {self._view.seq}"

    def find(self, name: str) -> BlockDevice | None:
        """See Exports."""
        return self._devices.get(name)


class Sockets:
    """Starts and stops the servers of one agent."""

    def __init__(self, front: FrontEnd, log: Callable[[str, str], None]) -> None:
        self._front = front
        self._servers: dict[str, BlockServer] = {}
        self._served: dict[str, OwnerTerm] = {}
        self._changing = asyncio.Lock()
        self._log = log

    async def serve_group(self, member: Member) -> None:
        """Serve the group if it is owned here, else drop its connections and its socket."""
        name = member.copy.spec.name
        async with self._changing:
            if member.term is None or self._served.get(name) is not member.term:
                # Also between two terms: what a client has open belongs to an ended one and never answers.
                self._served.pop(name, None)
                await self._stop(name)
            term = member.term
            if term is None or term.engine.is_closed:
                await self._stop(name)
            elif name not in self._servers:
                self._served[name] = term
                await self._start(name, GroupExports(member))

    async def serve_view(self, view: GroupView) -> dict[str, str]:
        """Serve a view; its URIs by volume name."""
        name = f"view-{view.id[:12]}"
        if name not in self._servers:
            await self._start(name, ViewExports(view))
        path = self._front.path(name)
        return {v.name: make_uri(v.name, path) for v in view.spec.volumes}

    async def connect(self, uri: str) -> BlockClient:
        """Use one of them, as an application would. Raises DrsyncError."""
        return await self._front.connect(uri)

    async def drop_view(self, view_id: str) -> list[str]:
        """Stop serving a view; what was removed."""
        name = f"view-{view_id[:12]}"
        return [str(self._front.path(name))] if await self._stop(name) else []

    def uris(self, member: Member) -> dict[str, str]:
        """Where the group's volumes are served; empty while it is not owned here."""
        name = member.copy.spec.name
        if name not in self._servers:
            return {}
        path = self._front.path(name)
        return {v.name: make_uri(v.name, path) for v in member.copy.spec.volumes}

    async def _start(self, name: str, exports: Exports) -> None:
        server = self._front.server(name, exports)
        try:
            await server.start()
        except (DrsyncError, OSError) as error:
            self._log(name, f"not served: {error}")
            return
        self._servers[name] = server

    async def _stop(self, name: str) -> bool:
        server = self._servers.pop(name, None)
        if server is None:
            return False
        await server.stop(answers=False)
        return True

    async def close(self) -> None:
        """Stop everything."""
        for name in list(self._servers):
            await self._stop(name)
