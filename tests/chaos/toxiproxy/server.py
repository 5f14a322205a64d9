"""The HTTP API of Toxiproxy: proxies, toxics, reset, version. One process, any number of proxies."""

import argparse
import asyncio
import json
import random
import signal
import sys
from collections.abc import Awaitable, Callable
from itertools import count

from aiohttp import web

from tests.chaos.toxiproxy.proxy import Proxy, host_port
from tests.chaos.toxiproxy.toxics import InvalidError, Toxic

VERSION = "2.9.0"  # of the API that is spoken
HOST = "127.0.0.1"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class NotFoundError(Exception):
    """No such proxy or toxic (status 404)."""


class ExistsError(Exception):
    """The name is taken (status 409)."""


STATUS: dict[type[Exception], int] = {InvalidError: 400, NotFoundError: 404, ExistsError: 409}


class Desk:
    """Answers requests."""

    def __init__(self, seed: int) -> None:
        self.proxies: dict[str, Proxy] = {}
        self._seed = seed
        self._numbers = count()

    def dice(self) -> random.Random:
        """Of the next connection's direction."""
        return random.Random(f"{self._seed}/{next(self._numbers)}")

    def application(self) -> web.Application:
        """All routes."""
        app = web.Application(middlewares=[answer_errors])
        one, toxics = "/proxies/{proxy}", "/proxies/{proxy}/toxics"
        app.add_routes(
            [
                web.get("/version", self.version),
                web.post("/reset", self.reset),
                web.get("/proxies", self.index),
                web.post("/proxies", self.create),
                web.post("/populate", self.populate),
                web.get(one, self.show),
                web.post(one, self.change),
                web.patch(one, self.change),
                web.delete(one, self.delete),
                web.get(toxics, self.toxics),
                web.post(toxics, self.add_toxic),
                web.get(toxics + "/{toxic}", self.show_toxic),
                web.post(toxics + "/{toxic}", self.change_toxic),
                web.patch(toxics + "/{toxic}", self.change_toxic),
                web.delete(toxics + "/{toxic}", self.delete_toxic),
            ]
        )
        app.on_shutdown.append(self._close)
        return app

    async def _close(self, _app: web.Application) -> None:
        for proxy in self.proxies.values():
            await proxy.disable()

    async def version(self, _request: web.Request) -> web.Response:
        """GET /version."""
        return web.json_response({"version": VERSION})

    async def reset(self, _request: web.Request) -> web.Response:
        """POST /reset: enable every proxy, remove every toxic."""
        for proxy in self.proxies.values():
            for toxic in proxy.all_toxics():
                proxy.remove(toxic)
            await proxy.enable()
        return web.Response(status=204)

    async def index(self, _request: web.Request) -> web.Response:
        """GET /proxies."""
        return web.json_response({name: proxy.shown() for name, proxy in self.proxies.items()})

    async def create(self, request: web.Request) -> web.Response:
        """POST /proxies."""
        proxy = await self._create(await body_of(request))
        return web.json_response(proxy.shown(), status=201)

    async def populate(self, request: web.Request) -> web.Response:
        """POST /populate: create or replace several."""
        wanted = json.loads(await request.text())
        if not isinstance(wanted, list):
            raise InvalidError("a list of proxies is wanted")
        made = []
        for body in wanted:
            old = self.proxies.pop(str(body.get("name")), None)
            if old is not None:
                await old.disable()
            made.append(await self._create(body))
        return web.json_response({"proxies": [proxy.shown() for proxy in made]}, status=201)

    async def _create(self, body: dict[str, object]) -> Proxy:
        name, upstream = str(body.get("name") or ""), str(body.get("upstream") or "")
        if not name or not upstream:
            raise InvalidError("missing required field: name, upstream")
        if name in self.proxies:
            raise ExistsError("proxy already exists")
        host_port(upstream)
        proxy = Proxy(name, str(body.get("listen") or f"{HOST}:0"), upstream, self.dice)
        if body.get("enabled", True):
            await proxy.enable()
        self.proxies[name] = proxy
        return proxy

    async def show(self, request: web.Request) -> web.Response:
        """GET /proxies/{proxy}."""
        return web.json_response(self._proxy(request).shown())

    async def change(self, request: web.Request) -> web.Response:
        """POST /proxies/{proxy}: listen, upstream, enabled."""
        proxy, body = self._proxy(request), await body_of(request)
        listen, upstream = (
            str(body.get("listen") or proxy.listen),
            str(body.get("upstream") or proxy.upstream),
        )
        is_enabled = bool(body.get("enabled", proxy.is_enabled))
        has_moved = (listen, upstream) != (proxy.listen, proxy.upstream)
        if has_moved or not is_enabled:
            await proxy.disable()
        proxy.listen, proxy.upstream = listen, upstream
        if is_enabled:
            await proxy.enable()
        return web.json_response(proxy.shown())

    async def delete(self, request: web.Request) -> web.Response:
        """DELETE /proxies/{proxy}."""
        proxy = self._proxy(request)
        await proxy.disable()
        del self.proxies[proxy.name]
        return web.Response(status=204)

    async def toxics(self, request: web.Request) -> web.Response:
        """GET /proxies/{proxy}/toxics."""
        return web.json_response([toxic.shown() for toxic in self._proxy(request).all_toxics()])

    async def add_toxic(self, request: web.Request) -> web.Response:
        """POST /proxies/{proxy}/toxics."""
        proxy, body = self._proxy(request), await body_of(request)
        wanted = str(body.get("name") or f"{body.get('type')}_{body.get('stream') or 'downstream'}")
        if proxy.toxic(wanted) is not None:
            raise ExistsError("toxic already exists")
        return web.json_response(proxy.add(body).shown())

    async def show_toxic(self, request: web.Request) -> web.Response:
        """GET /proxies/{proxy}/toxics/{toxic}."""
        return web.json_response(self._toxic(request)[1].shown())

    async def change_toxic(self, request: web.Request) -> web.Response:
        """POST /proxies/{proxy}/toxics/{toxic}: attributes, toxicity."""
        _, toxic = self._toxic(request)
        toxic.update(await body_of(request))
        return web.json_response(toxic.shown())

    async def delete_toxic(self, request: web.Request) -> web.Response:
        """DELETE /proxies/{proxy}/toxics/{toxic}."""
        proxy, toxic = self._toxic(request)
        proxy.remove(toxic)
        return web.Response(status=204)

    def _proxy(self, request: web.Request) -> Proxy:
        proxy = self.proxies.get(request.match_info["proxy"])
        if proxy is None:
            raise NotFoundError("proxy not found")
        return proxy

    def _toxic(self, request: web.Request) -> tuple[Proxy, Toxic]:
        proxy = self._proxy(request)
        toxic = proxy.toxic(request.match_info["toxic"])
        if toxic is None:
            raise NotFoundError("toxic not found")
        return proxy, toxic


async def body_of(request: web.Request) -> dict[str, object]:
    """The JSON object of a request. Raises InvalidError."""
    try:
        body = json.loads(await request.text() or "{}")
    except ValueError as error:
        raise InvalidError(f"bad request body: {error}") from error
    if not isinstance(body, dict):
        raise InvalidError("bad request body: an object is wanted")
    return body


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors as the API shows them."""
    try:
        return await handler(request)
    except (InvalidError, NotFoundError, ExistsError, OSError) as error:
        code = STATUS.get(type(error), 500)
        return web.json_response({"error": str(error), "status": code}, status=code)


async def serve(port: int, seed: int) -> None:
    """Until SIGTERM; says on its first line where it listens."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.AppRunner(Desk(seed).application(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, HOST, port)
    await site.start()
    sys.stdout.write(json.dumps({"url": f"http://{HOST}:{runner.addresses[0][1]}"}) + "\n")
    sys.stdout.flush()
    await stop.wait()
    await runner.cleanup()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.toxiproxy", description=__doc__)
    parser.add_argument("--port", type=int, default=8474, help="of the API; 0 takes a free one")
    parser.add_argument("--seed", type=int, default=0, help="of jitter and toxicity")
    given = parser.parse_args()
    asyncio.run(serve(given.port, given.seed))
