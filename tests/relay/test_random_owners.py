"""Owners change at random under load; what was acknowledged is there, and nothing older comes after it."""

import asyncio
import errno
import random
from collections import deque
from pathlib import Path

import pytest

from drsync.adapters.nbd.client import NbdClient
from drsync.ports.volume import COMPLETE_OK, Completion, Extent
from drsync.relay.telling import Event
from tests.relay.owners import SIZE, Owner, attached

PAGE = 4096
CLIENTS = 3
DEPTH = 8
CHANGES = 12
TICK_S = 0.002
Write = tuple[int, bytes]


class Log:
    """What the group has agreed on: every write in order, whoever the owner is."""

    def __init__(self) -> None:
        self.data = bytearray(SIZE)
        self.epoch = 0


class Term:
    """An owner's device in one epoch: takes writes at once, commits and answers them some time later.

    When it ends, some of what was taken and not answered is in the log all the same.
    """

    def __init__(self, log: Log, dice: random.Random) -> None:
        log.epoch += 1
        self.size = SIZE
        self.is_read_only = False
        self.epoch = log.epoch
        self._log = log
        self._dice = dice
        self._queued: list[tuple[Write | None, bytes]] = []
        self._taken: deque[tuple[Write | None, bytes, Completion]] = deque()
        self._parked: list[Completion] = []
        self.is_in_trouble = False

    def write(self, offset: int, data: memoryview, cookie: bytes, *, fua: bool) -> None:
        self._queued.append(((offset, bytes(data)), cookie))

    def zero(self, offset: int, length: int, cookie: bytes, *, fua: bool, is_trim: bool) -> None:
        self._queued.append(((offset, bytes(length)), cookie))

    def flush(self, cookie: bytes) -> None:
        self._queued.append((None, cookie))

    def submit(self, completion: Completion) -> None:
        self._taken.extend((write, cookie, completion) for write, cookie in self._queued)
        self._queued.clear()

    def read_into(self, offset: int, target: memoryview) -> int:
        if self.is_in_trouble:
            return errno.EIO
        if self._dice.random() < 0.2:
            return errno.EAGAIN
        target[:] = self._log.data[offset : offset + len(target)]
        return COMPLETE_OK

    def park(self, completion: Completion) -> None:
        self._parked.append(completion)

    def extents(self, offset: int, length: int, most: int) -> list[Extent]:
        del offset, most
        return [(length, False)]

    def tick(self) -> None:
        """Commit and answer some, from the front; let parked reads try again."""
        for _ in range(self._dice.randrange(len(self._taken) + 1)):
            self._commit(is_answered=True)
        parked, self._parked = self._parked, []
        for completion in parked:
            completion.resume()

    def end(self) -> None:
        for _ in range(self._dice.randrange(len(self._taken) + 1)):
            self._commit(is_answered=False)
        self._taken.clear()

    def _commit(self, *, is_answered: bool) -> None:
        assert self.epoch == self._log.epoch
        write, cookie, completion = self._taken.popleft()
        if write is not None:
            offset, data = write
            self._log.data[offset : offset + len(data)] = data
        if is_answered:
            completion.complete([cookie], COMPLETE_OK)


class Application:
    """Writes numbers to pages of its own, and reads them back at once: never an error, never an older one."""

    def __init__(self, uri: str, pages: range) -> None:
        self._uri = uri
        self._pages = pages
        self.newest = dict.fromkeys(pages, 0)
        self.must_stop = False

    async def run(self) -> None:
        client = await NbdClient.connect(self._uri)
        async with asyncio.TaskGroup() as tasks:
            for lane in range(DEPTH):
                tasks.create_task(self._lane(client, self._pages[lane::DEPTH]))
        await client.flush()
        await client.close()

    async def _lane(self, client: NbdClient, pages: range) -> None:
        number = 0
        while not self.must_stop:
            for page in pages:
                number += 1
                await client.write(page * PAGE, number.to_bytes(8) * (PAGE // 8), fua=number % 5 == 0)
                self.newest[page] = number
                if number % 3 == 0:
                    assert (await client.read(page * PAGE, PAGE))[:8] == number.to_bytes(8)


class Group:
    """Centers of which one owns the log; it works all the time."""

    def __init__(self, folder: Path, dice: random.Random) -> None:
        self.log = Log()
        self._dice = dice
        self.term = Term(self.log, dice)
        self.centers = [Owner(folder, name, self.term) for name in ("production", "same_city", "remote")]
        self.owner = self.centers[0]

    async def run(self) -> None:
        while True:
            self.term.tick()
            await asyncio.sleep(TICK_S)

    async def end(self) -> None:
        """The term is over: what is unanswered may be in the log or not."""
        self.term.end()
        await self.owner.end()

    async def open(self) -> None:
        """Somebody owns it in a new epoch."""
        self.owner, self.term = self._dice.choice(self.centers), Term(self.log, self._dice)
        self.owner.device = self.term
        await self.owner.open(self.term.epoch)

    def break_connections(self) -> None:
        """Only the lines break; what has arrived is still executed."""
        assert self.owner.server is not None
        for connection in self.owner.server._everyone():
            if self._dice.random() < 0.5:
                connection.abort()


@pytest.mark.parametrize("seed", range(4))
async def test_no_error_no_loss_and_nothing_older_comes_back(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    group = Group(tmp_path, dice)
    await group.owner.open(group.term.epoch)
    async with asyncio.TaskGroup() as tasks:
        working = tasks.create_task(group.run())
        async with attached(tmp_path, *group.centers) as relay:
            share = SIZE // PAGE // CLIENTS
            people = [Application(relay.uri, range(n * share, (n + 1) * share)) for n in range(CLIENTS)]
            async with asyncio.TaskGroup() as lanes:
                for application in people:
                    lanes.create_task(application.run())
                for _ in range(CHANGES):
                    await asyncio.sleep(dice.uniform(0.01, 0.08))
                    match dice.randrange(4):
                        case 0:
                            group.break_connections()
                        case 1:
                            group.term.is_in_trouble = True
                        case _:
                            await group.end()
                            await asyncio.sleep(dice.uniform(0.0, 0.05))
                            await group.open()
                if group.term.is_in_trouble:
                    await group.end()
                    await group.open()
                for application in people:
                    application.must_stop = True
            for application in people:
                for page, number in application.newest.items():
                    assert group.log.data[page * PAGE : page * PAGE + 8] == number.to_bytes(8), page
                assert sum(application.newest.values()) > len(application.newest)
            assert not relay.count(Event.BROKEN) + relay.count(Event.GIVING_UP)
        working.cancel()
    await group.owner.end()
