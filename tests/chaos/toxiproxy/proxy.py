"""A proxy: a listening port, its connections, and the toxics that work on them."""

import asyncio
import contextlib
import random
import socket
import struct
from collections import deque
from collections.abc import Callable, Mapping

from tests.chaos.toxiproxy.toxics import STREAMS, Course, Fate, InvalidError, Toxic, made

PIECE_BYTES = 64 << 10
RESET = struct.pack("ii", 1, 0)
WAKE_S = 0.05  # because toxics are added while a connection is idle


def host_port(address: str) -> tuple[str, int]:
    """``host:port`` as two values. Raises InvalidError."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) >= 1 << 16:
        raise InvalidError(f"not an address: {address!r}")
    return host.strip("[]") or "127.0.0.1", int(port)


class Direction:
    """Bytes on their way from `source` to `sink`."""

    def __init__(self, course: Course, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        self.course = course
        self.source, self.sink = source, sink
        self._queue: deque[tuple[float, bytes]] = deque()
        self._queued = 0
        self._changed = asyncio.Event()
        self._has_ended = False

    async def run(self) -> Fate:
        """Until the source ends or a toxic ends it; how it ended."""
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(self._write())
            fate = await self._read()
            if fate is Fate.RESET:
                writing.cancel()
            else:
                self._has_ended = True
                self._changed.set()
        return fate

    async def _read(self) -> Fate:
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            ends_at, fate = self.course.ends_at(now)
            if now >= ends_at:
                return fate
            if self._queued > self.course.queue_bytes(now):
                await self._pause(min(ends_at, now + WAKE_S))
                continue
            piece = await self._next_piece(min(ends_at, now + WAKE_S))
            if piece is None:
                continue
            if not piece:
                return Fate.PASS
            fate, parts = self.course.take(piece, loop.time())
            self._queue.extend(parts)
            self._queued += sum(len(part) for _, part in parts)
            self._changed.set()
            if fate is Fate.CLOSE:
                return fate

    async def _next_piece(self, until: float) -> bytes | None:
        """What has come; None when nothing came so far."""
        try:
            async with asyncio.timeout_at(until):
                return await self.source.read(PIECE_BYTES)
        except TimeoutError:
            return None

    async def _pause(self, until: float) -> None:
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._changed.wait()

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while self._queue or not self._has_ended:
            if not self._queue:
                self._changed.clear()
                await self._changed.wait()
                continue
            due, part = self._queue[0]
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            self._queue.popleft()
            self._queued -= len(part)
            self._changed.set()
            self.sink.write(part)
            await self.sink.drain()


class Connection:
    """A client, the server behind the proxy, and both directions between them."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self.near, self.far = near, far

    def close(self) -> None:
        """Close both ends; what is written already still arrives."""
        for end in (self.near, self.far):
            end.close()

    def abort(self, *, is_reset: bool) -> None:
        """Drop both ends, with a reset if wanted."""
        for end in (self.near, self.far):
            if is_reset and (raw := end.get_extra_info("socket")) is not None:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            end.transport.abort()

    async def carry(self, direction: Direction) -> None:
        """One direction to its end; then the other side hears of it."""
        fate = await direction.run()
        loop = asyncio.get_running_loop()
        if fate is Fate.RESET:
            self.abort(is_reset=True)
            return
        await asyncio.sleep(direction.course.closing_delay(loop.time()))
        if fate is Fate.CLOSE:
            self.close()
        elif direction.sink.can_write_eof():
            direction.sink.write_eof()


class Proxy:
    """One proxy of the server."""

    def __init__(self, name: str, listen: str, upstream: str, dice: Callable[[], random.Random]) -> None:
        self.name, self.listen, self.upstream = name, listen, upstream
        self.toxics: dict[str, list[Toxic]] = {stream: [] for stream in STREAMS}
        self.connections: set[Connection] = set()
        self._dice = dice
        self._server: asyncio.Server | None = None

    @property
    def is_enabled(self) -> bool:
        """Whether it listens."""
        return self._server is not None

    def shown(self) -> dict[str, object]:
        """As the API shows it."""
        return {
            "name": self.name,
            "listen": self.listen,
            "upstream": self.upstream,
            "enabled": self.is_enabled,
            "toxics": [toxic.shown() for toxic in self.all_toxics()],
        }

    async def enable(self) -> None:
        """Listen; a port 0 becomes a real one and stays. Raises OSError."""
        if self._server is None:
            host, port = host_port(self.listen)
            self._server = await asyncio.start_server(self._serve, host, port)
            self.listen = f"{host}:{self._server.sockets[0].getsockname()[1]}"

    async def disable(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self.connections):
            connection.abort(is_reset=False)

    def all_toxics(self) -> list[Toxic]:
        """Of both directions."""
        return [toxic for stream in STREAMS for toxic in self.toxics[stream]]

    def toxic(self, name: str) -> Toxic | None:
        """By name."""
        return next((toxic for toxic in self.all_toxics() if toxic.name == name), None)

    def add(self, body: Mapping[str, object]) -> Toxic:
        """A new toxic; works on open connections as well. Raises InvalidError."""
        toxic = made(body)
        self.toxics[toxic.stream].append(toxic)
        return toxic

    def remove(self, toxic: Toxic) -> None:
        """Take a toxic away. Connections whose bytes had vanished are closed: they cannot go on."""
        self.toxics[toxic.stream].remove(toxic)
        if toxic.type == "timeout":
            for connection in list(self.connections):
                connection.abort(is_reset=False)

    async def _serve(self, reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        try:
            far_reader, far = await asyncio.open_connection(*host_port(self.upstream))
        except OSError:
            near.transport.abort()
            return
        connection = Connection(near, far)
        self.connections.add(connection)
        loop = asyncio.get_running_loop()
        ways = ((reader, far, "upstream"), (far_reader, near, "downstream"))
        try:
            async with asyncio.TaskGroup() as tasks:
                for source, sink, stream in ways:
                    course = Course(self.toxics[stream], self._dice(), loop.time())
                    tasks.create_task(connection.carry(Direction(course, source, sink)))
        except* OSError:
            pass  # one end is gone; the other one hears of it below
        finally:
            connection.close()
            self.connections.discard(connection)
