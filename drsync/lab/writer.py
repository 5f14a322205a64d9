"""A small application: writes to the ledger all the time, and follows the owner when it moves."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import pairwise

from drsync.adapters.nbd.client import NbdClient
from drsync.lab.ledger import RECORD_BYTES, RUN_BYTES, record, slot_of
from drsync.model.errors import DrsyncError, TransientError

PERIOD_S = 0.01  # because a pause is then measured to a hundredth of a second, and the disk hardly notices
FUA_EVERY = 16  # because a database makes one write in so many durable
RETRY_S = 0.02
CONNECT_SECONDS = 2.0
REQUEST_SECONDS = 10.0  # because a planned pause may be so long, and an owner that is paused never answers

FindUri = Callable[[], Awaitable[str]]
"""Asks where the ledger is served now; empty while nobody serves it."""


@dataclass(frozen=True, slots=True)
class Pause:
    """A stretch without an acknowledgment, in seconds of the monotonic clock."""

    began: float
    ended: float

    @property
    def seconds(self) -> float:
        """How long."""
        return self.ended - self.began


class LedgerWriter:
    """Writes from `run` on until it is cancelled."""

    def __init__(self, find_uri: FindUri) -> None:
        self.run_id = secrets.token_bytes(RUN_BYTES)
        self.acknowledged = 0
        self.attempted = 0
        self.trouble = ""
        self._find_uri = find_uri
        self.uri = ""
        self._acks: list[tuple[float, str]] = []
        self._moved = asyncio.Condition()

    async def run(self) -> None:
        """Connect, write, and again when the connection is lost."""
        while True:
            try:
                if uri := await self._find_uri():
                    await self._write_there(uri)
            except DrsyncError as error:
                self.trouble = str(error)
            await asyncio.sleep(RETRY_S)

    async def _write_there(self, uri: str) -> None:
        client = await NbdClient.connect(
            uri, connect_seconds=CONNECT_SECONDS, request_seconds=REQUEST_SECONDS
        )
        try:
            slots = client.size // RECORD_BYTES
            due = time.monotonic()
            while True:
                await self._write_next(client, uri, slots)
                due = max(due + PERIOD_S, time.monotonic())
                await asyncio.sleep(due - time.monotonic())
        finally:
            client.abort()  # a request that is still open must not be executed after its repetition elsewhere

    async def _write_next(self, client: NbdClient, uri: str, slots: int) -> None:
        number = self.acknowledged + 1
        self.attempted = number
        content = record(self.run_id, number)
        offset = slot_of(number, slots) * RECORD_BYTES
        await client.write(offset, content, fua=number % FUA_EVERY == 0)
        self.acknowledged = number
        self.uri = uri
        self._acks.append((time.monotonic(), uri))
        async with self._moved:
            self._moved.notify_all()

    async def write_since(self, instant: float, seconds: float, not_at: str = "") -> float:
        """The instant of the first acknowledgment after `instant` from another place than `not_at`.

        Raises:
            TransientError: none came within `seconds` from now.
        """

        def found() -> float | None:
            return next((at for at, uri in self._acks if at > instant and uri != not_at), None)

        try:
            async with asyncio.timeout(seconds), self._moved:
                await self._moved.wait_for(lambda: found() is not None)
        except TimeoutError:
            raise TransientError(
                f"no write was acknowledged for {seconds:.0f} s; the last trouble: {self.trouble or 'none'}"
            ) from None
        at = found()
        assert at is not None
        return at

    def longest_pause(self, since: float) -> Pause:
        """The longest stretch between two acknowledgments that ended after `since`."""
        instants = [instant for instant, _ in self._acks]
        pauses = [Pause(*pair) for pair in pairwise(instants) if pair[1] > since]
        return max(pauses, key=lambda pause: pause.seconds, default=Pause(since, since))
