"""A wire that tests can cut: TCP forwarded by this process, one proxy for each dialer and target."""

import asyncio
import contextlib
from enum import Enum, auto

HOST = "127.0.0.1"
PIECE_BYTES = 256 << 10
PIECE_BYTES_MIN = 4 << 10  # of a throttled wire; else a piece is what it carries in 20 ms


class Wire(Enum):
    """What happens to bytes."""

    PASS = auto()
    HOLD = auto()
    """Nothing arrives, everything arrives later: a cable that is put back before anybody gives up."""
    DROP = auto()
    """Sockets stay open, bytes vanish in both directions: a firewall that swallows. Reset when it passes."""
    REFUSE = auto()
    """Connections are reset, new ones as well."""


class _Connection:
    """Two sockets and what flows between them."""

    def __init__(self, near: asyncio.StreamWriter) -> None:
        self.near = near
        self.far: asyncio.StreamWriter | None = None
        self.has_lost_bytes = False

    def abort(self) -> None:
        for end in (self.near, self.far):
            if end is not None:
                end.transport.abort()


class Proxy:
    """Listens on a port of its own and forwards to `target`.

    `delay_s` is added to each piece, each way; `rate` is what each connection carries each way, bytes/s, 0
    for as much as there is. Of the next `flips` pieces one bit is changed. `carried`: bytes that passed.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.delay_s = 0.0
        self.rate = 0.0
        self.flips = 0
        self.carried = 0
        self._wire = Wire.PASS
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.switch(Wire.REFUSE)
        while self._connections:
            await asyncio.sleep(0.01)
        await self._server.wait_closed()

    def switch(self, wire: Wire) -> None:
        """Change what happens from now on. Whoever lost bytes cannot go on and is reset."""
        was, self._wire = self._wire, wire
        if wire is Wire.HOLD:
            self._flowing.clear()
        else:
            self._flowing.set()
        for connection in list(self._connections):
            is_torn = was is Wire.DROP and connection.has_lost_bytes and wire is not Wire.DROP
            if wire is Wire.REFUSE or is_torn:
                connection.abort()

    async def _serve(self, reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        connection = _Connection(near)
        self._connections.add(connection)
        try:
            if self._wire is Wire.DROP:
                connection.has_lost_bytes = True
                await self._swallow(reader)
            elif self._wire is not Wire.REFUSE:
                far_reader, connection.far = await asyncio.open_connection(HOST, self.target)
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._pump(connection, reader, connection.far))
                    tasks.create_task(self._pump(connection, far_reader, near))
        except* OSError:
            pass  # one end is gone; the other one is told below
        finally:
            connection.abort()
            self._connections.discard(connection)

    async def _pump(
        self, connection: _Connection, source: asyncio.StreamReader, sink: asyncio.StreamWriter
    ) -> None:
        free_at = 0.0
        while data := await source.read(self._piece_bytes()):
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            if self.rate:
                now = asyncio.get_running_loop().time()
                free_at = max(free_at, now) + len(data) / self.rate
                await asyncio.sleep(free_at - now)
            await self._flowing.wait()
            if self._wire is Wire.DROP:
                connection.has_lost_bytes = True
                continue
            if self.flips:
                self.flips -= 1
                data = data[:-1] + bytes([data[-1] ^ 1])
            self.carried += len(data)
            sink.write(data)
            await sink.drain()
        while self._wire is Wire.DROP:
            connection.has_lost_bytes = True  # the goodbye is lost as well
            await asyncio.sleep(0.05)
        await self._flowing.wait()
        with contextlib.suppress(OSError):
            sink.write_eof()

    def _piece_bytes(self) -> int:
        return min(PIECE_BYTES, max(PIECE_BYTES_MIN, int(self.rate * 0.02))) if self.rate else PIECE_BYTES

    async def _swallow(self, reader: asyncio.StreamReader) -> None:
        while await reader.read(PIECE_BYTES):
            pass
