"""A session that comes back on another connection: nothing of the older connection is executed any more."""

import asyncio
from collections.abc import Callable

import pytest

from drsync.adapters.memory.volume import MemoryDevice
from drsync.adapters.nbd import protocol as nbd
from drsync.adapters.nbd.address import make_uri
from drsync.adapters.nbd.approach import Wanted
from drsync.adapters.nbd.negotiation import Negotiation
from drsync.adapters.nbd.server import Server
from drsync.adapters.nbd.uplink import Uplink
from drsync.ports.volume import Exports

PAGE = 4096
BIG = 16 << 20
MINE, OTHER = bytes(range(16)), bytes(16)


class Answers:
    """Counts the replies of an uplink."""

    reply_need = 16

    def __init__(self) -> None:
        self.count = 0
        self.lost = asyncio.Event()

    def replies(self, data: memoryview, at: int, end: int) -> int:
        del data
        self.count += (end - at) // 16
        return end - (end - at) % 16

    def disconnected(self, reason: str) -> None:
        del reason
        self.lost.set()


async def join(server: Server, claim: bytes) -> tuple[Uplink, Answers]:
    uplink, _ = await Uplink.dial(make_uri("disk", server.path), Wanted("disk", claim=claim), 5.0)
    answers = Answers()
    uplink.begin(answers)
    return uplink, answers


def write(number: int, offset: int, data: bytes) -> bytes:
    head = nbd.REQUEST.pack(nbd.REQUEST_MAGIC, nbd.CMD_WRITE, number.to_bytes(8), offset, len(data))
    return head + data


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
def disk() -> MemoryDevice:
    return MemoryDevice(BIG)


@pytest.mark.parametrize("claim", [MINE, OTHER], ids=["the same session", "another session"])
async def test_late_requests_of_a_session_that_went_on_are_not_executed(
    server: Server, disk: MemoryDevice, claim: bytes
) -> None:
    """The server has stopped reading the first connection; its last write still lies in a buffer."""
    disk.is_holding = True
    first, _ = await join(server, MINE)
    first.send([write(n, 0, bytes([n]) * BIG) for n in (1, 2)] + [write(4, 0, b"\4" * PAGE)])
    await until(lambda: disk.held >= 2)
    second, answers = await join(server, claim)
    second.send([write(1, 0, b"\7" * PAGE)])
    await until(lambda: disk.held >= 3)
    disk.is_holding = False
    disk.release()
    await until(lambda: answers.count)
    third, answers = await join(server, bytes(15) + b"\1")  # one more round of the server's loop
    third.send([write(1, PAGE, b"\1" * PAGE)])
    await until(lambda: answers.count)
    assert disk.data[0] == (7 if claim == MINE else 4), "the control shows that the late write does come"
    for uplink in (first, second, third):
        uplink.cut()


async def test_the_older_connection_is_closed(server: Server) -> None:
    first, lost = await join(server, MINE)
    second, answers = await join(server, MINE)
    async with asyncio.timeout(10):
        await lost.lost.wait()
    assert server.connections("disk") == 1
    second.send([write(1, 0, bytes(PAGE))])
    await until(lambda: answers.count)
    first.cut()
    second.cut()


def test_a_claim_of_another_length_is_refused(exports: Exports) -> None:
    negotiation = Negotiation(exports, lambda _: True)
    negotiation.receive(nbd.CLIENT_FLAGS.pack(3))
    reply = negotiation.receive(nbd.OPTION.pack(nbd.OPTION_MAGIC, nbd.OPT_CLAIM, 3) + b"abc")
    assert nbd.OPTION_REPLY.unpack_from(reply)[2] == nbd.REP_ERR_INVALID
