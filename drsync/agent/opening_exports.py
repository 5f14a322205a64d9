"""The volumes of an opening: under names that nobody takes for production, at a socket of their own."""

from drsync.adapters.nbd.address import make_uri
from drsync.agent.front_end import BlockServer, FrontEnd
from drsync.engine.views import GroupView, ViewDevice
from drsync.model.errors import DrsyncError, TransientError
from drsync.model.opening import Opening
from drsync.ports.volume import BlockDevice


class OpeningExports:
    """One export per volume; every connection of an export shares one private layer."""

    def __init__(self, view: GroupView, opening: Opening) -> None:
        self._view = view
        self._opening = opening
        self._devices: dict[str, ViewDevice] = {self.name(v.name): view.device(v) for v in view.spec.volumes}

    def name(self, volume: str) -> str:
        """What a volume is called here: ``ledger.at-1234``, or with ``fork`` for ``at``."""
        return f"{volume}.{'fork' if self._opening.fork else 'at'}-{self._opening.seq}"

    @property
    def volumes(self) -> dict[str, str]:
        """Export names by volume name."""
        return {volume.name: self.name(volume.name) for volume in self._view.spec.volumes}

    def names(self) -> list[str]:
        """See Exports."""
        return sorted(self._devices)

    def describe(self, name: str) -> str:
        """See Exports."""
        if name not in self._devices:
            return ""
        volume = next(volume for volume, export in self.volumes.items() if export == name)
        what = f"fork {self._opening.fork}" if self._opening.fork else f"record {self._opening.seq}"
        private = "writes are private" if self._opening.quota_bytes else "read-only"
        return f"NOT production: volume {volume} of group {self._view.spec.name} at {what}, {private}"

    def find(self, name: str) -> BlockDevice | None:
        """See Exports."""
        return self._devices.get(name)


class Doors:
    """The sockets of openings, by their ids."""

    def __init__(self, front: FrontEnd) -> None:
        self._front = front
        self._servers: dict[str, BlockServer] = {}

    async def open(self, opening: Opening, exports: OpeningExports) -> dict[str, str]:
        """Serve; uris by volume name. Raises TransientError: it cannot be served here and now."""
        server = self._front.server(opening.id, exports)
        try:
            await server.start()
        except (DrsyncError, OSError) as error:
            raise TransientError(f"{opening.center} cannot serve {opening.name}: {error}") from error
        self._servers[opening.id] = server
        path = self._front.path(opening.id)
        return {volume: make_uri(export, path) for volume, export in exports.volumes.items()}

    async def shut(self, opening_id: str) -> None:
        """Drop every client; nothing is served there any more."""
        server = self._servers.pop(opening_id, None)
        if server is not None:
            await server.stop(answers=False)

    async def close(self) -> None:
        """All of them."""
        for opening_id in list(self._servers):
            await self.shut(opening_id)
