"""A relay between real sockets: owners come and go, the client sees a pause."""

import asyncio
import errno
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from drsync.adapters.memory.volume import Asked, MemoryDevice
from drsync.adapters.nbd.client import NbdClient
from drsync.model import epoch as epochs
from drsync.model.epoch import Epoch
from drsync.model.errors import DrsyncError, TransientError
from drsync.ports.attention import Heard
from drsync.ports.clock import Clock, Random
from drsync.relay.options import RelayOptions
from drsync.relay.pilot import CONNECT_S
from drsync.relay.relay import Relay
from drsync.relay.telling import Event, Tell
from tests.relay.owners import SIZE, AfterLoss, Owner, attached

PAGE = 4096


def page(number: int) -> bytes:
    return bytes([number % 251 + 1]) * PAGE


async def until_asked(device: MemoryDevice, count: int) -> None:
    async with asyncio.timeout(10):
        while len(device.recorded) + device.held < count:
            await asyncio.sleep(0.005)


@pytest.fixture
def production(tmp_path: Path) -> Owner:
    return Owner(tmp_path, "production", MemoryDevice(SIZE))


@pytest.fixture
def mate(tmp_path: Path) -> Owner:
    return Owner(tmp_path, "same_city", MemoryDevice(SIZE))


@pytest.fixture(autouse=True)
async def ended(production: Owner, mate: Owner) -> AsyncIterator[None]:
    yield
    await production.end()
    await mate.end()


def device(owner: Owner) -> MemoryDevice:
    assert isinstance(owner.device, MemoryDevice)
    return owner.device


async def test_reads_writes_and_flushes_go_to_the_owner(tmp_path: Path, production: Owner) -> None:
    await production.open(1)
    async with attached(tmp_path, production) as relay:
        client = await NbdClient.connect(relay.uri)
        assert client.size == SIZE
        await client.write(PAGE, page(7))
        await client.flush()
        assert await client.read(0, 3 * PAGE) == bytes(PAGE) + page(7) + bytes(PAGE)
        await client.zero(PAGE, PAGE)
        assert await client.read(PAGE, PAGE) == bytes(PAGE)
        await client.close()
    assert [r.asked for r in device(production).recorded] == [Asked.WRITE, Asked.FLUSH, Asked.ZERO]


async def test_unanswered_requests_are_sent_to_the_next_owner_in_their_order_and_answered_ones_never(
    tmp_path: Path, production: Owner, mate: Owner
) -> None:
    await production.open(1)
    async with attached(tmp_path, production, mate) as relay:
        client = await NbdClient.connect(relay.uri)
        await client.write(0, page(0))
        device(production).is_holding = True
        async with asyncio.TaskGroup() as tasks:
            for number in range(1, 9):
                tasks.create_task(client.write((number % 3) * PAGE, page(number)))
            tasks.create_task(client.flush())
            await until_asked(device(production), 10)
            await production.end()
            await relay.until(Event.WAITING)
            late = tasks.create_task(client.write(5 * PAGE, page(100)))
            reading = tasks.create_task(client.read(2 * PAGE, PAGE))
            await mate.open(2)
        assert late.done()
        assert await reading == page(8)
        await client.close()
    asked = [(r.asked, r.offset // PAGE) for r in device(mate).recorded]
    wanted = [(Asked.WRITE, n % 3) for n in range(1, 9)]
    assert asked == [*wanted, (Asked.FLUSH, 0), (Asked.WRITE, 5)]
    assert bytes(device(mate).data[: 3 * PAGE]) == page(6) + page(7) + page(8)


async def test_a_deposed_owner_that_still_talks_is_cut_first_and_never_attached_again(
    tmp_path: Path, production: Owner, mate: Owner
) -> None:
    """Nobody tells that production is deposed: requests stand still, and its mate says a higher epoch."""
    await production.open(1)
    device(production).is_holding = True
    async with attached(tmp_path, production, mate) as relay:
        client = await NbdClient.connect(relay.uri)
        writing = asyncio.create_task(client.write(0, page(1)))
        await until_asked(device(production), 1)
        await mate.open(2)
        await writing
        assert bytes(device(mate).data[:PAGE]) == page(1)
        await client.write(0, page(3))
        device(production).release()  # a late answer of the old owner, to whom nobody listens
        assert await client.read(0, PAGE) == page(3)
        await mate.end()
        await relay.until(Event.WAITING, 2)
        device(production).is_holding = False
        writing = asyncio.create_task(client.write(PAGE, page(2)))
        await mate.open(3)
        await writing
        assert (await relay.until(Event.ATTACHED, 3)).facts["center"] == "same_city"
        assert bytes(device(production).data[PAGE : 2 * PAGE]) == bytes(PAGE)
        await client.close()


async def test_an_owner_in_trouble_is_asked_again_and_other_clients_go_on(
    tmp_path: Path, production: Owner
) -> None:
    await production.open(1)
    async with attached(tmp_path, production) as relay:
        one = await NbdClient.connect(relay.uri)
        two = await NbdClient.connect(relay.uri)
        await one.write(0, page(1))
        device(production).failing_reads = errno.EIO
        reading = asyncio.create_task(one.read(0, PAGE))
        for number in range(50):
            await two.write(2 * PAGE, page(number))
        assert not reading.done(), "the owner's trouble is no reason for an error yet"
        device(production).failing_reads = 0
        assert await reading == page(1)
        await two.write(0, page(2))
        assert await one.read(0, PAGE) == page(2)
        await one.close()
        await two.close()


async def test_a_forced_change_fails_what_is_attached_until_all_have_left(
    tmp_path: Path, production: Owner, mate: Owner
) -> None:
    forced = epochs.make(0, 1, 0)
    await production.open(1)
    async with attached(tmp_path, production, mate) as relay:
        one = await NbdClient.connect(relay.uri)
        two = await NbdClient.connect(relay.uri)
        await one.write(0, page(1))
        await production.end()
        writing = asyncio.create_task(one.write(0, page(2)))
        await mate.open(forced, lost_in=forced)
        with pytest.raises(TransientError, match="EIO"):
            await writing
        broken = await relay.until(Event.BROKEN)
        assert "acknowledged writes may be lost" in broken.text
        for client in (one, two):
            with pytest.raises(TransientError, match="EIO"):
                await client.read(0, PAGE)
            with pytest.raises(TransientError, match="EIO"):
                await client.flush()
        await one.close()
        with pytest.raises(DrsyncError, match="not served"):
            await NbdClient.connect(relay.uri)
        await two.close()
        await relay.until(Event.MENDED)
        await relay.until(Event.ATTACHED, 2)
        fresh = await NbdClient.connect(relay.uri)
        assert await fresh.read(0, PAGE) == bytes(PAGE)
        await fresh.close()
    assert device(mate).recorded == []


async def test_after_a_forced_change_it_goes_on_if_told_so(
    tmp_path: Path, production: Owner, mate: Owner
) -> None:
    forced = epochs.make(0, 1, 0)
    await production.open(1)
    async with attached(tmp_path, production, mate, after_loss=AfterLoss.CONTINUE) as relay:
        client = await NbdClient.connect(relay.uri)
        await client.write(0, page(1))
        await production.end()
        writing = asyncio.create_task(client.write(PAGE, page(2)))
        await mate.open(forced, lost_in=forced)
        await writing
        assert await client.read(0, 2 * PAGE) == bytes(PAGE) + page(2)
        assert relay.count(Event.LOSS) == 1
        await client.close()


async def test_patience_ends_with_eio_and_begins_anew_with_the_next_owner(
    tmp_path: Path, production: Owner
) -> None:
    await production.open(1)
    async with attached(tmp_path, production, timeout_s=0.6) as relay:
        client = await NbdClient.connect(relay.uri)
        await production.end()
        with pytest.raises(TransientError, match="EIO"):
            await client.write(0, page(1))
        with pytest.raises(TransientError, match="EIO"):
            await client.read(0, PAGE)
        await relay.until(Event.GIVING_UP)
        await production.open(2)
        await relay.until(Event.ATTACHED, 2)
        async with asyncio.timeout(10):
            while True:
                try:
                    await client.write(0, page(3))
                    break
                except TransientError:
                    await asyncio.sleep(0.01)
        assert bytes(device(production).data[:PAGE]) == page(3)
        assert [r.offset for r in device(production).recorded] == [0], "what failed was not sent again"
        await client.close()


async def test_an_owner_that_stands_still_is_not_waited_for_forever(
    tmp_path: Path, production: Owner
) -> None:
    await production.open(1)
    device(production).is_holding = True
    async with attached(tmp_path, production, timeout_s=0.6) as relay:
        client = await NbdClient.connect(relay.uri)
        with pytest.raises(TransientError, match="EIO"):
            await client.write(0, page(1))
        await relay.until(Event.GIVING_UP)
        client.abort()


async def test_held_requests_are_bounded_by_not_reading_the_socket(tmp_path: Path, production: Owner) -> None:
    await production.open(1)
    device(production).is_holding = True
    async with attached(tmp_path, production) as relay:
        client = await NbdClient.connect(relay.uri, request_seconds=60)
        await production.end()
        await relay.until(Event.WAITING)
        big = bytes(1 << 20)
        writing = [asyncio.create_task(client.write(0, big)) for _ in range(128)]
        device(production).is_holding = False
        await production.open(2)
        await asyncio.gather(*writing)
        assert len(device(production).recorded) == 128
        await client.close()


async def test_a_read_only_owner_makes_a_read_only_relay(tmp_path: Path) -> None:
    owner = Owner(tmp_path, "remote", MemoryDevice(SIZE, is_read_only=True))
    await owner.open(1)
    async with attached(tmp_path, owner) as relay:
        client = await NbdClient.connect(relay.uri)
        assert client.is_read_only
        with pytest.raises(DrsyncError):
            await client.write(0, page(1))
        await client.close()
    await owner.end()


async def test_no_owner_in_time_ends_the_start(tmp_path: Path, production: Owner) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with attached(tmp_path, production, timeout_s=0.3):
            pass
    (error,) = caught.value.exceptions
    assert isinstance(error, TransientError)
    assert "no owner of orders/data in 0.3 s" in str(error)
    assert "production" in str(error)


async def test_a_place_that_says_nothing_does_not_delay_the_others(
    tmp_path: Path, production: Owner, mate: Owner
) -> None:
    """A stopped process: its socket takes connections, and nobody answers on them."""
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(production.path))
        mute.listen()
        await mate.open(2)
        began = time.monotonic()
        async with attached(tmp_path, production, mate) as relay:
            assert time.monotonic() - began < CONNECT_S
            client = await NbdClient.connect(relay.uri)
            assert await client.read(0, PAGE) == bytes(PAGE)
            await client.close()


async def test_while_it_waits_it_says_for_what(
    tmp_path: Path, production: Owner, mate: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drsync.relay.relay.REMIND_S", 0.3)
    await mate.open(2)
    async with attached(tmp_path, production, mate) as relay:
        await mate.end()
        await production.open(1)
        await relay.until(Event.WAITING)
        reminded = await relay.until(Event.WAITING, 2)
        assert "production: still serves epoch 1, which is deposed; same_city: " in reminded.text


async def test_another_volume_is_not_taken_for_ours(tmp_path: Path, production: Owner) -> None:
    """A mistake in --center."""
    await production.open(1)
    production.group = "others"
    with pytest.raises(ExceptionGroup) as caught:
        async with attached(tmp_path, production, timeout_s=0.3):
            pass
    assert "is not orders/data at an owner" in str(caught.value.exceptions[0])


async def test_tcp_is_served_on_loopback(tmp_path: Path, production: Owner) -> None:
    await production.open(1)
    async with attached(tmp_path, production, listen=("127.0.0.1", 0)) as relay:
        uris = (await relay.until(Event.SERVING)).facts["uris"]
        assert isinstance(uris, list)
        client = await NbdClient.connect(uris[1])
        await client.write(0, page(1))
        await client.close()
    assert bytes(device(production).data[:PAGE]) == page(1)


async def test_told_to_stop_it_answers_nothing_and_closes(tmp_path: Path, production: Owner) -> None:
    """The outcome of what is unanswered is open; an error would promise that it never happens."""
    await production.open(1)
    async with attached(tmp_path, production) as relay:
        client = await NbdClient.connect(relay.uri)
        await production.end()
        await relay.until(Event.WAITING)
        writing = asyncio.create_task(client.write(0, page(1)))
        await asyncio.sleep(0)
    with pytest.raises(TransientError) as caught:
        await writing
    assert caught.value.code == "nbd_lost"
    assert relay.said[-1].event is Event.STOPPING
    assert not relay.socket.exists()


async def test_one_relay_leads_several_clients_and_a_flush_of_one_covers_all(
    tmp_path: Path, production: Owner, mate: Owner
) -> None:
    await production.open(1)
    async with attached(tmp_path, production, mate) as relay:
        clients = [await NbdClient.connect(relay.uri) for _ in range(5)]
        async with asyncio.TaskGroup() as tasks:
            for number, client in enumerate(clients):
                tasks.create_task(client.write(number * PAGE, page(number)))
        await clients[0].flush()
        await production.end()
        mate.device = production.device
        async with asyncio.TaskGroup() as tasks:
            reads = [tasks.create_task(client.read(0, 5 * PAGE)) for client in clients]
            await mate.open(2)
        assert {read.result() for read in reads} == {b"".join(map(page, range(5)))}
        for client in clients:
            await client.close()
    assert [r.asked for r in device(production).recorded].count(Asked.FLUSH) == 1


async def test_a_volume_that_grows_under_its_owner_is_told_to_those_who_come(
    tmp_path: Path, production: Owner, mate: Owner
) -> None:
    """Without a coordinator: the relay hears it with the next connection. Who is there goes on."""
    await production.open(1)
    async with attached(tmp_path, production, mate) as relay:
        before = await NbdClient.connect(relay.uri)
        production.device = MemoryDevice(2 * SIZE)
        between = await NbdClient.connect(relay.uri)
        assert (await relay.until(Event.GROWN)).facts["size"] == 2 * SIZE
        after = await NbdClient.connect(relay.uri)
        assert (before.size, between.size, after.size) == (SIZE, SIZE, 2 * SIZE)
        await after.write(2 * SIZE - PAGE, page(7))
        mate.device = production.device
        await production.end()
        await mate.open(2)
        await before.write(0, page(8))
        assert await after.read(2 * SIZE - PAGE, PAGE) == page(7)
        assert relay.count(Event.BROKEN) == 0
        for client in (before, between, after):
            await client.close()


async def test_from_the_moment_a_newer_epoch_is_heard_of_the_old_owner_is_not_heard(
    tmp_path: Path, production: Owner, mate: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer has arrived already, and is thrown away with the connection."""
    made: list[Relay] = []

    class Seen(Relay):
        def __init__(
            self, options: RelayOptions, clock: Clock, dice: Random, tell: Tell, heard: Heard
        ) -> None:
            super().__init__(options, clock, dice, tell, heard)
            made.append(self)

    monkeypatch.setattr("drsync.relay.daemon.Relay", Seen)
    await production.open(1)
    device(production).is_holding = True
    async with attached(tmp_path, production, mate) as relay:
        client = await NbdClient.connect(relay.uri)
        writing = asyncio.create_task(client.write(0, page(1)))
        await until_asked(device(production), 1)
        device(production).release()
        made[0].take(Epoch(2))
        await relay.until(Event.WAITING)
        assert not writing.done()
        await mate.open(2)
        await writing
        assert bytes(device(mate).data[:PAGE]) == page(1)
        await client.close()
