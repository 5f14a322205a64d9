"""Who writes and who watches: stubborn clients at every export ever seen, and samples of the status."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from drsync.adapters.api_client.doc import Doc
from drsync.adapters.nbd.client import NbdClient
from drsync.model.errors import DrsyncError
from tests.chaos.history import Attempt, Sample

BLOCK = 4096
MAGIC = b"chaos\0\0\1"
PERIOD_S = 0.01  # because two writers at each center leave the machine time for everybody else
RETRY_S = 0.05
CONNECT_S = 2.0
REQUEST_S = 6.0
LOOK_S = 0.15
CLIENTS = 2


def block(number: int) -> bytes:
    """The content of a write: every 16 bytes name it, so that a torn one is seen."""
    return (MAGIC + number.to_bytes(8, "big")) * (BLOCK // 16)


def number_in(content: bytes) -> int:
    """Which write a block holds; 0 for zeros, -1 for what is no whole write."""
    if not any(content):
        return 0
    number = int.from_bytes(content[8:16], "big")
    return number if content == block(number) else -1


@dataclass
class Crew:
    """Clients of one volume.

    They ask one socket for ever, also when its center owns the group no more: if two centers ever answered at
    the same time, they would notice. No write is repeated; one without an answer stays open.

    Attributes:
        volume: ``group/volume``.
        slots: blocks of it.
        attempts: everything they did.
        samples: what the coordinator said.
        uris: center -> where it serves the volume.
    """

    status: Callable[[], Awaitable[Doc | None]]
    why: Callable[[], Awaitable[tuple[str, ...]]]
    volume: str
    slots: int
    dice: random.Random
    attempts: list[Attempt] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    uris: dict[str, str] = field(default_factory=dict)
    is_paused: bool = False
    _next: int = 1

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._look(tasks)
                await asyncio.sleep(LOOK_S)

    async def _look(self, tasks: asyncio.TaskGroup) -> None:
        try:
            status = await self.status()
            lines = await self.why()
        except DrsyncError:
            return  # the coordinator is gone for a while; the next look tells
        if status is None:
            return
        group = next(iter(dict(status.table("groups")).values()))
        self.samples.append(Sample(time.monotonic(), group.flag("ready"), lines))
        for name, center in status.table("centers"):
            uri = center.doc("volumes").text(self.volume)
            if uri and name not in self.uris:
                self.uris[name] = uri
                for _ in range(CLIENTS):
                    tasks.create_task(self._ask_for_ever(name, uri))

    async def _ask_for_ever(self, center: str, uri: str) -> None:
        while True:
            try:
                client = await NbdClient.connect(uri, connect_seconds=CONNECT_S, request_seconds=REQUEST_S)
                try:
                    await self._write(client, center)
                finally:
                    client.abort()
            except DrsyncError:
                await asyncio.sleep(RETRY_S)

    async def _write(self, client: NbdClient, center: str) -> None:
        while True:
            if not self.is_paused:
                attempt = Attempt(self._next, self.dice.randrange(self.slots), center, time.monotonic())
                self._next += 1
                self.attempts.append(attempt)
                await client.write(attempt.slot * BLOCK, block(attempt.id), fua=attempt.id % 16 == 0)
                attempt.acknowledged = time.monotonic()
            await asyncio.sleep(PERIOD_S)

    # --- questions

    @property
    def acknowledged(self) -> int:
        """How many writes so far."""
        return sum(one.acknowledged is not None for one in self.attempts)

    async def until_writing(self, count: int, seconds: float) -> float:
        """Wait for `count` more acknowledgments; returns the seconds it took."""
        began, wanted = time.monotonic(), self.acknowledged + count
        while self.acknowledged < wanted:
            if time.monotonic() - began > seconds:
                last = self.samples[-1].lines if self.samples else ()
                raise AssertionError(
                    f"no {count} writes in {seconds:.0f} s; the status says: {last or 'nothing'}"
                )
            await asyncio.sleep(0.02)
        return time.monotonic() - began
