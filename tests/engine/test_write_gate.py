"""The owner's gate: what waits is appended in its order when the gate opens, and never in another epoch."""

from pathlib import Path

from drsync.engine.owner import OwnerDevice
from tests.engine.resync_rig import Rig, rig

BLOCK = 4096


class Client:
    """Remembers what was answered."""

    def __init__(self) -> None:
        self.answered: list[int] = []

    def complete(self, cookies: list[bytes], error: int) -> None:
        assert error == 0
        self.answered += [int.from_bytes(cookie, "big") for cookie in cookies]

    def resume(self) -> None:
        """It reads nothing that waits."""


def write(made: Rig, client: Client, number: int, block: int = 0) -> None:
    device = OwnerDevice(made.engine, 0, 1 << 20)
    content = memoryview(number.to_bytes(8, "big") * (BLOCK // 8))
    device.write(block * BLOCK, content, number.to_bytes(8, "big"), fua=False)
    device.submit(client)


def held(made: Rig) -> int:
    content = bytearray(BLOCK)
    assert made.engine.read_into(0, 0, memoryview(content)) == 0
    return int.from_bytes(content[:8], "big")


async def test_what_waits_is_appended_in_its_order_and_reads_go_on(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        client = Client()
        write(made, client, 1)
        made.engine.stall_for(("remote",))
        for number in (2, 3):
            write(made, client, number)
        assert (client.answered, held(made)) == ([1], 1)
        assert made.engine.gate.words.endswith("(remote)")
        made.engine.stall_for(())
        assert (client.answered, held(made)) == ([1, 2, 3], 3)
        assert not made.engine.gate.words


async def test_a_full_journal_holds_whatever_comes_after_the_last_batch_that_fits(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        client = Client()
        made.engine.set_room(BLOCK)
        for number in (1, 2, 3):
            write(made, client, number)
        assert client.answered == [1]
        assert made.engine.is_full
        made.engine.set_room(BLOCK)
        assert client.answered == [1, 2]
        made.engine.set_room(None)
        assert client.answered == [1, 2, 3]


class Leaver(Client):
    """Its connection may end."""

    is_gone = False


async def test_what_waits_goes_with_the_connection(tmp_path: Path) -> None:
    """A client that connects anew asks for all of it again: after an hour of that there is one copy of it."""
    async with rig(tmp_path) as made:
        made.engine.stall_for(("remote",))
        for _ in range(20):
            client = Leaver()
            for number in range(1, 51):
                write(made, client, number, block=number)
            client.is_gone = True
        last = Leaver()
        for number in range(1, 51):
            write(made, last, number, block=number)
        assert len(made.engine.gate._waiting) <= 250
        before = made.copy.journal.tip.seq
        made.engine.stall_for(())
        assert made.copy.journal.tip.seq == before + 50
        assert last.answered == list(range(1, 51))


async def test_what_waits_goes_with_the_epoch(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        client = Client()
        made.engine.stall_for(("remote",))
        write(made, client, 1)
        made.engine.freeze()
        tip = made.copy.journal.tip
        made.engine.stall_for(())
        assert made.copy.journal.tip == tip
        assert not client.answered
