"""``GET /metrics`` over plain HTTP: no secrets, no changes, nothing else."""

import asyncio

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

from drsync.model.errors import TransientError

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FRESH_S = 1.0  # because reading holds the daemon up for milliseconds, and anybody who reaches it may ask
STOP_S = 1.0  # because a scrape that is under way is repeated anyway


class MetricsServer:
    """Serves one registry until it is closed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._runner: web.AppRunner | None = None
        self._body, self._read_at = b"", float("-inf")

    async def listen(self, host: str, port: int) -> str:
        """Serve; returns the address as ``host:port``.

        Raises:
            TransientError: the address cannot be used now.
        """
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_S)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            await self.close()
            reason = error.strerror or str(error)
            raise TransientError(f"cannot serve metrics on {host}:{port}: {reason}") from error
        address = self._runner.addresses[0]
        return f"{address[0]}:{address[1]}"

    async def close(self) -> None:
        """Serve no more."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        del request
        now = asyncio.get_running_loop().time()
        if now - self._read_at >= FRESH_S:
            self._body, self._read_at = generate_latest(self._registry), now
        return web.Response(body=self._body, headers={"Content-Type": CONTENT_TYPE})
