"""A center gets its copy, though whoever told it of the group went away while the disk took its time."""

import asyncio
import threading
from pathlib import Path
from typing import TYPE_CHECKING, cast

from typing_extensions import override

from drsync.adapters.system.clock import SystemClock, SystemRandom
from drsync.agent.agent import Agent, Outside
from drsync.agent.copies import DiskCopies
from drsync.agent.copy_store import OsFiles
from drsync.agent.front_end import NbdFrontEnd
from drsync.agent.lines import LogLines
from drsync.agent.start_token import StartToken
from drsync.model.charter import Charter
from tests.engine.town import GROUP

if TYPE_CHECKING:
    from drsync.ports.transport import Accept, Link, LinkKind, Transport

LIMIT_S = 20.0
CHARTER = Charter(GROUP, version=1)


class SlowFiles(OsFiles):
    """A disk that stands still once the journal is locked, until it is told to go on."""

    def __init__(self) -> None:
        self.is_locked = threading.Event()
        self.may_go_on = threading.Event()

    @override
    def lock(self, fd: int) -> None:
        super().lock(fd)
        self.is_locked.set()
        assert self.may_go_on.wait(LIMIT_S)


class NoNetwork:
    """Reaches nobody."""

    async def connect(self, peer: str, kind: "LinkKind") -> "Link":
        del peer, kind
        never: asyncio.Future[Link] = asyncio.get_running_loop().create_future()
        return await never

    async def listen(self, accept: "Accept") -> str:
        del accept
        return "nowhere:0"

    async def close(self) -> None:
        """Nothing is open."""


def agent_on(files: SlowFiles, home: Path) -> Agent:
    return Agent(
        Outside(
            center="remote",
            cluster="ef" * 16,
            peers=(),
            boot_id="boot",
            transport=cast("Transport", NoNetwork()),
            clock=SystemClock(),
            dice=SystemRandom(),
            copies=DiskCopies(home, "ef" * 16, "remote", files),
            token=StartToken(home),
            front=NbdFrontEnd(home),
            make_trees=None,
            lines=LogLines("remote"),
            about={},
        )
    )


async def _live(agent: Agent, started: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as tasks:
        await agent.start(tasks)
        started.set()


async def test_link_ends_while_a_copy_is_created(tmp_path: Path) -> None:
    """The coordinator is cut off while the copy is created; when it is back it tells of the group again.

    The copy is created once and works: nobody finds its journal in use by an attempt that was given up.
    """
    files, started = SlowFiles(), asyncio.Event()
    agent = agent_on(files, tmp_path)
    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as tasks:
        life = tasks.create_task(_live(agent, started))
        await started.wait()
        told = tasks.create_task(agent.adopt(CHARTER))
        await asyncio.to_thread(files.is_locked.wait, LIMIT_S)
        told.cancel()
        await asyncio.wait([told])
        again = tasks.create_task(agent.adopt(CHARTER))
        await asyncio.sleep(0)
        files.may_go_on.set()
        member = await again
        assert agent.members() == [member]
        assert not agent.broken()
        assert member.charter == CHARTER
        life.cancel()
    await agent.close()
