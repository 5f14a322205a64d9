"""A forwarder that lets so many bytes pass per second each way: a line of known rate."""

import asyncio
import contextlib

from drsync.lab.ports import HOST

SLICE_S = 0.01


class Throttle:
    """Listens on `port` and forwards to `target`."""

    def __init__(self, target: int, rate: float) -> None:
        self.port = 0
        self._target = target
        self._rate = rate
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            far_reader, far_writer = await asyncio.open_connection(HOST, self._target)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pump(reader, far_writer))
                tasks.create_task(self._pump(far_reader, writer))
        except* (OSError, asyncio.CancelledError):
            pass  # one end is gone
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        loop, free_at = asyncio.get_running_loop(), 0.0
        while data := await source.read(max(4096, int(self._rate * SLICE_S))):
            free_at = max(free_at, loop.time()) + len(data) / self._rate
            await asyncio.sleep(free_at - loop.time())
            sink.write(data)
            await sink.drain()
        with contextlib.suppress(OSError):
            sink.write_eof()
