"""A coordinator and centers that only pretend: one device, and operations that just happen."""

from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from drsync.adapters.memory.volume import MemoryDevice, MemoryExports
from drsync.adapters.nbd.address import make_uri
from drsync.adapters.nbd.server import Server
from drsync.config.load import read_group
from drsync.lab.layout import CENTER_NAMES, DISK, GROUP, LEDGER, PRODUCTION
from drsync.ports.volume import BlockDevice

Json = dict[str, object]
OPERATION = "0f" * 16


@dataclass
class FakeWorld:
    """What the coordinator would say, and a ledger that is served where the owner is.

    Attributes:
        loses: slots that are wiped when the owner changes by failover.
        verdict, content: of every drill.
        refuses: the kind of operation that is refused.
    """

    folder: Path
    owner: str = ""
    in_sync: tuple[str, ...] = ("production", "same_city")
    connected: set[str] = field(default_factory=lambda: set(CENTER_NAMES))
    ledger: MemoryDevice = field(default_factory=lambda: MemoryDevice(1 << 20, keeps_record=False))
    loses: range = range(0)
    verdict: str = "passed"
    content: str = "equal"
    refuses: str = ""
    asked: list[tuple[str, Json]] = field(default_factory=list)
    has_group: bool = True
    disk: MemoryDevice | None = None
    _server: Server | None = None
    _last: Json = field(default_factory=dict)

    def application(self) -> web.Application:
        """The HTTP side."""
        app = web.Application()
        app.router.add_get("/v1/status", self._status)
        app.router.add_post("/v1/groups", self._apply)
        app.router.add_post("/v1/groups/{group}/{kind}", self._start)
        app.router.add_get("/v1/operations/{id}", self._operation)
        app.router.add_get("/v1/drills/{id}", self._drill)
        app.router.add_get("/v1/drills/{id}/report.html", self._page)
        return app

    async def serve_at(self, center: str) -> None:
        """Make a center the owner; the old one's socket disappears."""
        if self._server is not None:
            await self._server.stop()
        self.owner = center
        self._server = Server(MemoryExports(self._devices()), self.folder / f"{center}.sock")
        await self._server.start()

    async def stop(self) -> None:
        """Serve nothing."""
        if self._server is not None:
            await self._server.stop()

    def status(self) -> Json:
        """GET /v1/status."""
        centers: Json = {
            name: {
                "connected": name in self.connected,
                "volumes": {
                    f"{GROUP}/{volume}": make_uri(volume, self.folder / f"{name}.sock")
                    for volume in (self._devices() if name == self.owner and self.has_group else ())
                },
            }
            for name in CENTER_NAMES
        }
        members: Json = {
            name: {
                "role": "owner" if name == self.owner else "replica",
                "position": 7,
                "lag_bytes": 0,
                "lag_seconds": 0.0,
                "rpo_actual_s": 0.1,
                "sent_bytes": 4096,
            }
            for name in CENTER_NAMES
        }
        group: Json = {
            "owner": self.owner,
            "epoch": 1,
            "in_sync": list(self.in_sync),
            "ready": True,
            "objectives": {"rpo_s": 15.0, "rto_s": 60.0},
            "centers": members,
        }
        return {"centers": centers, "groups": {GROUP: group} if self.has_group else {}}

    def _devices(self) -> dict[str, BlockDevice]:
        devices: dict[str, BlockDevice] = {LEDGER: self.ledger}
        if self.disk is not None:
            devices[DISK] = self.disk
        return devices

    async def _apply(self, request: web.Request) -> web.Response:
        body: Json = await request.json()
        self.asked.append(("apply", body))
        group = read_group(body)
        sizes = {volume.name: volume.size for volume in group.volumes}
        self.disk = MemoryDevice(sizes[DISK])
        self.ledger = MemoryDevice(sizes[LEDGER], keeps_record=False)
        self.has_group = True
        await self.serve_at(group.preferred_owner)
        return web.json_response({}, status=201)

    async def _status(self, request: web.Request) -> web.Response:
        del request
        return web.json_response(self.status())

    async def _start(self, request: web.Request) -> web.Response:
        kind = request.match_info["kind"]
        body: Json = await request.json()
        self.asked.append((kind, body))
        self._last = {"id": OPERATION, "kind": kind, "state": "done", "steps": [_step(1, "group.seal")]}
        if kind == self.refuses:
            error = {"code": "loss", "message": "acknowledged writes would be lost", "remedy": "", "exit": 3}
            self._last |= {"state": "refused", "error": error}
        elif kind == "drill":
            self._last["result"] = {"center": body["at"]}
        else:
            if kind == "failover":
                self.connected.discard(PRODUCTION)
                self._last["loss"] = {"target": body["to"], "loss": "none", "position": 7}
                for slot in self.loses:
                    self.ledger.data[slot * 4096 : slot * 4096 + 4096] = bytes(4096)
            else:
                self.connected.add(PRODUCTION)
            await self.serve_at(str(body["to"]))
        return web.json_response({"operation": OPERATION}, status=202)

    async def _operation(self, request: web.Request) -> web.Response:
        del request
        return web.json_response(self._last)

    async def _drill(self, request: web.Request) -> web.Response:
        del request
        return web.json_response(
            {
                "verdict": self.verdict,
                "content": self.content,
                "position": 7,
                "rto_s": 0.2,
                "owner": self.owner,
            }
        )

    async def _page(self, request: web.Request) -> web.Response:
        del request
        return web.Response(body=b"<html>", content_type="text/html")


def _step(n: int, name: str) -> Json:
    return {
        "n": n,
        "name": name,
        "center": "same_city",
        "seconds": 0.01,
        "outcome": "done",
        "detail": "\x1b[2J",
    }
