"""NBD sockets of an agent: one per owned group, one per open view."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from drsync.adapters.nbd.address import make_uri
from drsync.adapters.nbd.server import Server
from drsync.engine.member import Member
from drsync.engine.views import GroupView, ViewDevice
from drsync.model.errors import DrsyncError
from drsync.ports.volume import BlockDevice

if TYPE_CHECKING:
    from drsync.engine.term import OwnerTerm


class GroupExports:
    """The volumes of a group while this center owns it."""

    def __init__(self, member: Member) -> None:
        self._member = member

    def names(self) -> list[str]:
        """See Exports."""
        return [v.name for v in self._member.copy.spec.volumes if self._member.device(v.name) is not None]

    def find(self, name: str) -> BlockDevice | None:
        """See Exports."""
        return self._member.device(name)


class ViewExports:
    """The volumes of a view; every connection of an export shares one private layer."""

    def __init__(self, view: GroupView) -> None:
        self._devices: dict[str, ViewDevice] = {v.name: view.device(v) for v in view.spec.volumes}

    def names(self) -> list[str]:
        """See Exports."""
        return sorted(self._devices)

    def find(self, name: str) -> BlockDevice | None:
        """See Exports."""
        return self._devices.get(name)


class Sockets:
    """Starts and stops servers under ``<run dir>/nbd/``."""

    def __init__(self, run_dir: Path, log: Callable[[str, str], None]) -> None:
        self._directory = run_dir / "nbd"
        self._directory.mkdir(parents=True, exist_ok=True)
        self._servers: dict[str, Server] = {}
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
                await self._start(name, Server(GroupExports(member), self._directory / f"{name}.sock"))

    async def serve_view(self, view: GroupView) -> dict[str, str]:
        """Serve a view; its URIs by volume name."""
        name = f"view-{view.id[:12]}"
        path = self._directory / f"{name}.sock"
        if name not in self._servers:
            await self._start(name, Server(ViewExports(view), path))
        return {v.name: make_uri(v.name, path) for v in view.spec.volumes}

    async def drop_view(self, view_id: str) -> list[str]:
        """Stop serving a view; what was removed."""
        name = f"view-{view_id[:12]}"
        path = self._directory / f"{name}.sock"
        return [str(path)] if await self._stop(name) else []

    def uris(self, member: Member) -> dict[str, str]:
        """Where the group's volumes are served; empty while it is not owned here."""
        name = member.copy.spec.name
        if name not in self._servers:
            return {}
        path = self._directory / f"{name}.sock"
        return {v.name: make_uri(v.name, path) for v in member.copy.spec.volumes}

    async def _start(self, name: str, server: Server) -> None:
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
